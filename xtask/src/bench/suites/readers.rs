//! Readers of one stream: what they cost its writer, what waiting costs them, what all occupy.

use super::{Effort, beside, series, unreceived, untouched};
use crate::bench::group::{Group, Program};

pub(super) fn groups(effort: Effort) -> Vec<Group> {
    vec![watched(effort), paced(effort), memory(effort)]
}

fn watched(effort: Effort) -> Group {
    let hand_off = |key, request: &str, count| {
        let request = format!("watched {request} {}", effort.count(count));
        series(key, Program::HandOff, request)
    };
    let row = |what, ours, other, name, goal| {
        unreceived(beside(what, "ns", "ns", (ours, other, name), goal))
    };
    Group {
        name: "writing 64 B while lossy readers watch",
        rounds: effort.rounds(9),
        setup: Vec::new(),
        series: vec![
            hand_off("looking_0", "0 looking", 100_000),
            hand_off("looking_1", "1 looking", 100_000),
            hand_off("looking_8", "8 looking", 100_000),
            hand_off("asleep_0", "0 asleep", 150),
            hand_off("asleep_1", "1 asleep", 150),
            hand_off("asleep_8", "8 asleep", 150),
        ],
        teardown: Vec::new(),
        rows: vec![
            row(
                "1 reader looks at 1 kHz",
                "looking_1",
                "looking_0",
                "no reader",
                "<= 1.05",
            ),
            row(
                "8 readers look at 1 kHz",
                "looking_8",
                "looking_0",
                "no reader",
                "<= 1.05",
            ),
            row(
                "1 reader sleeps until a frame comes, at 1 kHz",
                "asleep_1",
                "asleep_0",
                "no reader, at 1 kHz",
                "",
            ),
            row(
                "8 readers sleep until a frame comes, at 1 kHz",
                "asleep_8",
                "asleep_1",
                "1 reader, at 1 kHz",
                "",
            ),
        ],
    }
}

fn paced(effort: Effort) -> Group {
    let hand_off = |key, policy: &str| {
        let request = format!("cadence {policy} 1000 {}", effort.count(500));
        series(key, Program::HandOff, request)
    };
    let row = |what, unit, field, goal| {
        let names = ("adaptive", "park", "asleep at once");
        untouched(beside(what, unit, field, names, goal))
    };
    Group {
        name: "a frame of 64 B every millisecond, adaptive waiting",
        rounds: effort.rounds(9),
        setup: Vec::new(),
        series: vec![hand_off("adaptive", "adaptive"), hand_off("park", "park")],
        teardown: Vec::new(),
        rows: vec![
            row("publish -> count seen", "us", "p50_us", "<= 0.1"),
            row("the same, 99th percentile", "us", "p99_us", ""),
            row(
                "the reader's processor time",
                "% of one CPU",
                "processor_percent",
                "<= 10 %",
            ),
        ],
    }
}

fn memory(effort: Effort) -> Group {
    let request = |how| format!("memory {} 8 6 {how}", 64 << 20);
    let row = |what, field, how, goal| {
        let names = match how {
            "held" => ("held", "theirs_held", "iceoryx2"),
            _ => ("released", "theirs_released", "iceoryx2"),
        };
        beside(what, "MiB", field, names, goal)
    };
    Group {
        name: "memory of one writer and eight readers, frames of 64 MiB",
        // The figures do not scatter.
        rounds: effort.rounds(2),
        setup: Vec::new(),
        series: vec![
            series("released", Program::HandOff, request("released")),
            series("theirs_released", Program::Iceoryx2, request("released")),
            series("held", Program::HandOff, request("held")),
            series("theirs_held", Program::Iceoryx2, request("held")),
        ],
        teardown: Vec::new(),
        rows: vec![
            row(
                "size of the files, defaults",
                "reserved_mib",
                "released",
                "<= 0.1",
            ),
            row(
                "their pages in memory, frames read and released",
                "occupied_mib",
                "released",
                "",
            ),
            row(
                "pages of all nine processes, frames read and released",
                "pss_mib",
                "released",
                "",
            ),
            row(
                "size of the files, every reader keeps a frame",
                "reserved_mib",
                "held",
                "",
            ),
            row(
                "their pages in memory, every reader keeps a frame",
                "occupied_mib",
                "held",
                "",
            ),
            row(
                "pages of all nine processes, every reader keeps a frame",
                "pss_mib",
                "held",
                "",
            ),
        ],
    }
}
