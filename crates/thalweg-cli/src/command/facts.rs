//! What there is to say about a stream, in words and as JSON.

use serde_json::{Value, json};
use thalweg::StreamDirectory;
use thalweg::shm::segment::header::flags;
use thalweg::shm::stream::error::OpenError;
use thalweg::shm::stream::observe::{Observation, ObservedProcess, ObservedSlot, StreamObserver};
use thalweg_os::process::Liveness;

/// A stream as of one look.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) observer: StreamObserver,
    pub(crate) seen: Observation,
}

impl Facts {
    /// Looks at the stream `name`, which does not notice.
    pub(crate) fn of(directory: &StreamDirectory, name: &str) -> Result<Self, OpenError> {
        let observer = directory.observe(name)?;
        let seen = observer.look();
        Ok(Self { observer, seen })
    }

    /// Everything as one JSON object. Times are seconds; `alive` is null where nobody can tell.
    pub(crate) fn to_json(&self) -> Value {
        let (header, seen) = (self.observer.header(), &self.seen);
        let (geometry, newest) = (&header.geometry, &seen.newest);
        let attached_pids: Vec<u32> = seen
            .attached
            .iter()
            .filter(|process| process.liveness != Liveness::Dead)
            .filter_map(|process| process.pid)
            .collect();
        let attached: Vec<Value> = seen.attached.iter().map(process_json).collect();
        let pins: Vec<Value> = seen
            .pins
            .iter()
            .map(|pin| {
                let mut holder = process_json(&pin.holder);
                holder["slot"] = pin.slot.into();
                holder
            })
            .collect();
        let lossless: Vec<Value> = seen
            .lossless
            .iter()
            .map(|reader| {
                let mut process = process_json(&reader.process);
                process["lag"] = reader.lag.into();
                process["budget"] = reader.budget.into();
                process
            })
            .collect();
        json!({
            "name": header.name,
            "dtype": geometry.dtype.name(),
            "shape": geometry.shape,
            "size": geometry.payload_bytes,
            "slots": geometry.slots,
            "file": self.observer.path().display().to_string(),
            "file_bytes": geometry.file_bytes,
            "count": newest.count,
            "frame_id": newest.frame_id,
            "write_time": seconds(newest.wall_ns),
            "age_s": seen.age_ns().map(seconds),
            "latency_s": seen.latency_ns().map(seconds),
            "created_time": seconds(header.created_wall_ns),
            "creator_pid": header.creator.pid,
            "creator_alive": alive_json(seen.creator),
            "ends_with_creator": header.has(flags::ENDS_WITH_CREATOR),
            "strict": header.has(flags::STRICT),
            "attached_pids": attached_pids,
            "attached": attached,
            "borrowed": seen.pins.len(),
            "borrow_limit": seen.pin_limit,
            "pins": pins,
            "reserved_pins": seen.reserved_pins,
            "lossless": lossless,
            "writer_waits_for_room": seen.writer_waits_for_room,
            "lock_holder_pid": seen.lock_holder.and_then(|holder| holder.pid),
            "lock_holder": seen.lock_holder.as_ref().map(process_json),
            "lock_is_contended": seen.lock_is_contended,
            "last_writer": seen.last_writer.as_ref().map(process_json),
            "slot_states": seen.slots.iter().map(slot_json).collect::<Vec<Value>>(),
            "progressive": header.has(flags::PROGRESSIVE),
            "unfinished": seen.unfinished.map(|frame| json!({
                "count": frame.count,
                "rows": frame.rows,
                "of_rows": frame.of_rows,
            })),
            "abandoned_frames": seen.abandoned_frames,
            "inconsistent": seen.is_inconsistent,
            "stale": seen.stale.map(|reason| reason.to_string()),
            "instance_id": hexadecimal(&header.instance),
        })
    }
}

fn process_json(process: &ObservedProcess) -> Value {
    // Without a pid it has left or ended, and nobody can tell which.
    let alive = process.pid.map(|_| alive_json(process.liveness));
    json!({"pid": process.pid, "alive": alive})
}

fn alive_json(liveness: Liveness) -> Value {
    match liveness {
        Liveness::Alive => true.into(),
        Liveness::Dead => false.into(),
        Liveness::Unknown => Value::Null,
    }
}

fn slot_json(slot: &ObservedSlot) -> Value {
    match slot {
        ObservedSlot::Empty => json!({"state": "empty"}),
        ObservedSlot::Writing { count } => json!({"state": "writing", "count": count}),
        ObservedSlot::Frame(publication) => json!({
            "state": "frame",
            "count": publication.count,
            "frame_id": publication.frame_id,
            "write_time": seconds(publication.wall_ns),
        }),
    }
}

/// Whether a process runs, in words.
pub(crate) fn liveness_word(liveness: Liveness) -> &'static str {
    match liveness {
        Liveness::Alive => "alive",
        Liveness::Dead => "exited",
        Liveness::Unknown => "in another pid namespace",
    }
}

/// A process in a few words: `4711`, `4711 (exited)`; `gone` when it has left the stream or ended,
/// and its pid with it.
pub(crate) fn process_word(process: &ObservedProcess) -> String {
    match (process.pid, process.liveness) {
        (Some(pid), Liveness::Alive) => pid.to_string(),
        (Some(pid), liveness) => format!("{pid} ({})", liveness_word(liveness)),
        (None, _) => "gone".to_owned(),
    }
}

/// How alike a name has to be to be meant: one letter of five, or two swapped, may differ.
const ALIKE: f64 = 0.75;

/// A hint for somebody who asked for a stream that is not there: the name that was probably meant.
pub(crate) fn did_you_mean(directory: &StreamDirectory, name: &str) -> String {
    let names = directory.list().unwrap_or_default();
    let alikeness = |other: &String| strsim::normalized_damerau_levenshtein(name, other);
    let closest = names
        .iter()
        .max_by(|one, other| alikeness(one).total_cmp(&alikeness(other)));
    match closest {
        Some(closest) if alikeness(closest) >= ALIKE => format!("; did you mean {closest:?}?"),
        Some(_) => "; `thalweg list` shows what there is".to_owned(),
        None => format!(
            "; there is no stream at all in {}",
            directory.path().display()
        ),
    }
}

/// The error of opening a stream, with a hint where the name was wrong.
pub(crate) fn explain(error: &OpenError, directory: &StreamDirectory) -> String {
    match error {
        OpenError::Missing { name } => format!("{error}{}", did_you_mean(directory, name)),
        _ => error.to_string(),
    }
}

/// Nanoseconds as seconds.
pub(crate) fn seconds(time_ns: u64) -> f64 {
    time_ns as f64 * 1e-9
}

/// Bytes as hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A wall time in ns since 1970 as UTC: `2026-01-31T12:34:56.123456789`.
pub(crate) fn utc(wall_ns: u64) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(wall_ns));
    // Nine digits always, so that columns line up; no `Z`, because FITS has none.
    time.map_or_else(
        |_| "-".to_owned(),
        |time| time.strftime("%Y-%m-%dT%H:%M:%S.%9f").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_to_the_nanosecond() {
        assert_eq!(utc(0), "1970-01-01T00:00:00.000000000");
        assert_eq!(
            utc(1_709_210_096_000_000_789),
            "2024-02-29T12:34:56.000000789"
        );
    }

    #[test]
    fn processes_are_named_with_what_is_known() {
        let word = |pid, liveness| process_word(&ObservedProcess { pid, liveness });
        assert_eq!(word(Some(7), Liveness::Alive), "7");
        assert_eq!(word(Some(7), Liveness::Dead), "7 (exited)");
        assert_eq!(word(None, Liveness::Dead), "gone");
    }
}
