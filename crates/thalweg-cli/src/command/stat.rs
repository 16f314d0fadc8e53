//! `thalweg stat`: everything about some streams.

use thalweg::StreamDirectory;
use thalweg::shm::segment::header::flags;
use thalweg::shm::stream::observe::{Observation, ObservedProcess, ObservedSlot};
use thalweg_os::file::FileFacts;
use thalweg_os::process::Liveness;

use super::facts::{Facts, explain, hexadecimal, liveness_word, process_word, utc};
use super::{Failed, tell};
use crate::cli::StatArguments;
use crate::table::{age, bytes, duration};

pub(crate) fn stat(arguments: &StatArguments) -> Result<(), Failed> {
    let directory = StreamDirectory::default();
    let mut has_failed = false;
    for (index, name) in arguments.names.iter().enumerate() {
        match Facts::of(&directory, name) {
            Ok(facts) if arguments.json => tell(facts.to_json())?,
            Ok(facts) => {
                let separator = if index == 0 { "" } else { "\n" };
                tell(format_args!("{separator}{}", describe(&facts)))?;
            }
            Err(error) => {
                eprintln!("error: {}", explain(&error, &directory));
                has_failed = true;
            }
        }
    }
    if has_failed {
        Err(Failed::silently(1))
    } else {
        Ok(())
    }
}

fn describe(facts: &Facts) -> String {
    let (header, seen) = (facts.observer.header(), &facts.seen);
    let (geometry, newest) = (&header.geometry, &seen.newest);
    let path = facts.observer.path();
    let mode = FileFacts::of_path(path).map_or_else(
        |_| String::new(),
        |facts| format!(" (mode {:o})", facts.mode),
    );
    let ends = if header.has(flags::ENDS_WITH_CREATOR) {
        " (the stream ends with it)"
    } else {
        ""
    };
    let strict = if header.has(flags::STRICT) {
        "strict: an abandoned frame gives readers an error until the next"
    } else {
        "lenient: after an abandoned frame the last good one stays"
    };
    let mut lines = vec![
        ("name", header.name.clone()),
        ("file", format!("{}{mode}", path.display())),
        ("dtype", geometry.dtype.to_string()),
        ("shape", format!("{:?}", geometry.shape)),
        (
            "size",
            format!("{} bytes per frame", geometry.payload_bytes),
        ),
        (
            "slots",
            format!(
                "{} ({} in all)",
                geometry.slots,
                bytes(geometry.file_bytes as f64)
            ),
        ),
        ("count", newest.count.to_string()),
        ("frame id", newest.frame_id.to_string()),
        ("written", written(seen)),
        ("latency", duration(seen.latency_ns())),
        (
            "created",
            format!(
                "{} UTC by process {}, {}{ends}",
                utc(header.created_wall_ns),
                header.creator.pid,
                liveness_word(seen.creator)
            ),
        ),
        ("writer", writer(seen)),
        ("lock", lock(seen)),
        ("attached", attached(seen)),
        ("borrowed", borrowed(seen)),
        ("lossless", lossless(seen)),
        ("aborts", format!("{} ({strict})", seen.abandoned_frames)),
        ("state", state(seen)),
        ("instance", hexadecimal(&header.instance)),
    ];
    lines.extend(seen.slots.iter().enumerate().map(|(index, slot)| {
        let label = if index == 0 { "in slots" } else { "" };
        (label, describe_slot(index, slot, seen))
    }));
    let lines: Vec<String> = lines
        .into_iter()
        .map(|(label, value)| {
            let colon = if label.is_empty() { "" } else { ":" };
            format!("{:<12}{value}", format!("{label}{colon}"))
        })
        .collect();
    lines.join("\n")
}

fn written(seen: &Observation) -> String {
    match seen.age_ns() {
        None => "never".to_owned(),
        Some(age_ns) => format!(
            "{} UTC, {} ago",
            utc(seen.newest.wall_ns),
            age(Some(age_ns))
        ),
    }
}

fn writer(seen: &Observation) -> String {
    seen.last_writer.as_ref().map_or_else(
        || "nobody yet".to_owned(),
        |process| match process.pid {
            Some(_) => format!("process {} wrote or locked last", process_word(process)),
            None => "the process that wrote or locked last has left or ended".to_owned(),
        },
    )
}

fn lock(seen: &Observation) -> String {
    let waiters = if seen.lock_is_contended {
        ", others wait for it"
    } else {
        ""
    };
    match &seen.lock_holder {
        None => "free".to_owned(),
        Some(holder) => format!(
            "held by process {}{waiters}{}",
            process_word(holder),
            remedy(holder, ": the next writer takes it over")
        ),
    }
}

fn remedy(holder: &ObservedProcess, text: &'static str) -> &'static str {
    if holder.liveness == Liveness::Dead {
        text
    } else {
        ""
    }
}

fn attached(seen: &Observation) -> String {
    let words: Vec<String> = seen.attached.iter().map(process_word).collect();
    if words.is_empty() {
        "nobody (those that only copy frames need not attach)".to_owned()
    } else {
        format!("process {}", words.join(", "))
    }
}

fn borrowed(seen: &Observation) -> String {
    if seen.pin_limit == 0 {
        return "nothing can be (it needs 3 slots or more)".to_owned();
    }
    let mut text = format!(
        "{} of {} frames that can be",
        seen.pins.len(),
        seen.pin_limit
    );
    if seen.reserved_pins > 0 {
        text.push_str(&format!(
            ", {} more kept for lossless readers",
            seen.reserved_pins
        ));
    }
    let holders: Vec<String> = seen
        .pins
        .iter()
        .map(|pin| process_word(&pin.holder))
        .collect();
    if !holders.is_empty() {
        text.push_str(&format!(", by process {}", holders.join(", ")));
    }
    if let Some(dead) = seen
        .pins
        .iter()
        .find(|pin| pin.holder.liveness == Liveness::Dead)
    {
        text.push_str(remedy(
            &dead.holder,
            "; whoever needs it takes it back from the exited",
        ));
    }
    text
}

fn lossless(seen: &Observation) -> String {
    let words: Vec<String> = seen
        .lossless
        .iter()
        .map(|reader| {
            let holds_up = if reader.lag >= reader.budget as u64 {
                ": the writer waits for it before the next frame"
            } else {
                ""
            };
            format!(
                "process {} is {} frames behind, of {} it may{holds_up}",
                process_word(&reader.process),
                reader.lag,
                reader.budget
            )
        })
        .collect();
    if words.is_empty() {
        "nobody, so the writer waits for no reader".to_owned()
    } else {
        words.join("; ")
    }
}

fn state(seen: &Observation) -> String {
    match seen.stale {
        Some(reason) => format!("nothing new will come: {reason}"),
        None if seen.is_inconsistent => {
            "the last write was given up; readers get an error until the next complete frame"
                .to_owned()
        }
        None => "ok".to_owned(),
    }
}

fn describe_slot(index: usize, slot: &ObservedSlot, seen: &Observation) -> String {
    let what = match slot {
        ObservedSlot::Empty => "empty".to_owned(),
        ObservedSlot::Writing { count } => match &seen.lock_holder {
            Some(holder) if holder.liveness != Liveness::Dead => {
                format!("frame {count} is being written")
            }
            _ => format!("frame {count} was being written when its writer exited"),
        },
        ObservedSlot::Frame(publication) if publication.count == seen.newest.count => {
            format!("frame {}, the newest", publication.count)
        }
        ObservedSlot::Frame(publication) => format!("frame {}", publication.count),
    };
    let holders: Vec<String> = seen
        .pins
        .iter()
        .filter(|pin| pin.slot == index)
        .map(|pin| process_word(&pin.holder))
        .collect();
    if holders.is_empty() {
        format!("{index}: {what}")
    } else {
        format!(
            "{index}: {what}, borrowed by process {}",
            holders.join(", ")
        )
    }
}
