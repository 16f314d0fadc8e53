//! `thalweg stat`: everything about some streams.

use serde_json::json;
use thalweg::shm::segment::header::flags;
use thalweg::{StreamDirectory, StreamStat};
use thalweg_os::process::Liveness;

use super::Failed;
use crate::cli::StatArguments;

pub(crate) fn stat(arguments: &StatArguments) -> Result<(), Failed> {
    let directory = StreamDirectory::default();
    let mut has_failed = false;
    for name in &arguments.names {
        match directory.stat(name) {
            Ok(stat) if arguments.json => println!("{}", to_json(&stat)),
            Ok(stat) => print(&stat),
            Err(error) => {
                eprintln!("error: {error}");
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

fn word(liveness: Liveness) -> &'static str {
    match liveness {
        Liveness::Alive => "alive",
        Liveness::Dead => "exited",
        Liveness::Unknown => "in another pid namespace",
    }
}

fn hexadecimal(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn seconds(time_ns: u64) -> f64 {
    time_ns as f64 * 1e-9
}

fn print(stat: &StreamStat) {
    let (header, newest) = (&stat.header, &stat.newest);
    let geometry = &header.geometry;
    let ends = if header.has(flags::ENDS_WITH_CREATOR) {
        " (the stream ends with it)"
    } else {
        ""
    };
    let pids: Vec<String> = stat.attached_pids.iter().map(u32::to_string).collect();
    let lines = [
        ("name", header.name.clone()),
        ("dtype", geometry.dtype.to_string()),
        ("shape", format!("{:?}", geometry.shape)),
        (
            "size",
            format!("{} bytes per frame", geometry.payload_bytes),
        ),
        (
            "slots",
            format!("{} ({} bytes in all)", geometry.slots, stat.file_bytes),
        ),
        ("count", newest.count.to_string()),
        ("frame id", newest.frame_id.to_string()),
        (
            "written",
            format!("{:.6} (seconds since 1970)", seconds(newest.wall_ns)),
        ),
        (
            "creator",
            format!(
                "process {}, {}{ends}",
                header.creator.pid,
                word(stat.creator)
            ),
        ),
        (
            "attached",
            if pids.is_empty() {
                "nobody".to_owned()
            } else {
                format!("process {}", pids.join(", "))
            },
        ),
        (
            "borrowed",
            format!(
                "{} of {} frames that can be",
                stat.borrowed,
                geometry.slots - 2
            ),
        ),
        (
            "lock",
            stat.lock_holder_pid
                .map_or("free".to_owned(), |pid| format!("held by process {pid}")),
        ),
        ("instance", hexadecimal(&header.instance)),
    ];
    for (label, value) in lines {
        println!("{:<12}{value}", format!("{label}:"));
    }
}

fn to_json(stat: &StreamStat) -> serde_json::Value {
    let (header, newest) = (&stat.header, &stat.newest);
    json!({
        "name": header.name,
        "dtype": header.geometry.dtype.name(),
        "shape": header.geometry.shape,
        "size": header.geometry.payload_bytes,
        "slots": header.geometry.slots,
        "file_bytes": stat.file_bytes,
        "count": newest.count,
        "frame_id": newest.frame_id,
        "write_time": seconds(newest.wall_ns),
        "creator_pid": header.creator.pid,
        "creator_alive": stat.creator == Liveness::Alive,
        "ends_with_creator": header.has(flags::ENDS_WITH_CREATOR),
        "attached_pids": stat.attached_pids,
        "borrowed": stat.borrowed,
        "lock_holder_pid": stat.lock_holder_pid,
        "instance_id": hexadecimal(&header.instance),
    })
}
