//! Frames that go from one Rust process to another, beside the least that can carry them and beside
//! iceoryx2.

use super::{Effort, beside, series, unreceived, untouched, value};
use crate::bench::group::{Group, Program, Row};

const ICEORYX2: &str = "iceoryx2";

pub(super) fn groups(effort: Effort) -> Vec<Group> {
    vec![
        writing(effort),
        spinning(effort),
        sleeping(effort),
        large_frames(effort),
        progressive_frames(effort),
    ]
}

fn writing(effort: Effort) -> Group {
    let hand_off = |key, request: &str, count| {
        let request = format!("{request} {}", effort.count(count));
        series(key, Program::HandOff, request)
    };
    let peer = |key, request: &str| {
        let request = format!("{request} {}", effort.count(200_000));
        series(key, Program::Iceoryx2, request)
    };
    Group {
        name: "writing, nobody waits",
        rounds: effort.rounds(9),
        setup: Vec::new(),
        series: vec![
            hand_off("clock", "clock", 200_000),
            hand_off("publish", "publish", 200_000),
            hand_off("publish_locked", "publish_locked", 200_000),
            peer("their_publish", "publish 1"),
            peer("their_publish_alone", "publish 0"),
            hand_off("syscalls", "syscalls", 2_000),
            hand_off("syscalls_locked", "syscalls_locked", 2_000),
            hand_off("memcpy", "memcpy 4194304", 50),
            hand_off("write", "write 4194304", 50),
        ],
        teardown: Vec::new(),
        rows: vec![
            unreceived(beside(
                "publish 64 B, lock held",
                "ns",
                "ns",
                ("publish_locked", "clock", "one clock read"),
                "<= 60 ns",
            )),
            unreceived(beside(
                "publish 64 B, plain write",
                "ns",
                "ns",
                ("publish", "clock", "one clock read"),
                "<= 60 ns",
            )),
            unreceived(beside(
                "publish 64 B, plain write",
                "ns",
                "ns",
                ("publish", "their_publish", "iceoryx2, one subscriber"),
                "",
            )),
            unreceived(beside(
                "publish 64 B, plain write",
                "ns",
                "ns",
                ("publish", "their_publish_alone", "iceoryx2, no subscriber"),
                "",
            )),
            Row {
                what: "system calls per publication, lock held",
                is_payload_touched: None,
                unit: "",
                ours: value("syscalls_locked", "per_publication"),
                other: None,
                goal: "<= 0",
            },
            Row {
                what: "system calls per publication, plain write",
                is_payload_touched: None,
                unit: "",
                ours: value("syscalls", "per_publication"),
                other: None,
                goal: "<= 0",
            },
            unreceived(beside(
                "write 4 MiB",
                "GB/s",
                "gb_per_s",
                ("write", "memcpy", "memcpy"),
                ">= 0.95",
            )),
        ],
    }
}

fn spinning(effort: Effort) -> Group {
    let count = effort.count(40_000);
    let hand_off = |key, request: &str| {
        let (verb, scope) = request.split_once('|').unwrap_or((request, ""));
        series(key, Program::HandOff, format!("{verb} 64 {count}{scope}"))
    };
    let peer = |key, use_of_frames: &str| {
        let request = format!("samples spin {use_of_frames} 64 {count}");
        series(key, Program::Iceoryx2, request)
    };
    let row =
        |what, ours, other, name, goal| beside(what, "ns", "one_way_ns", (ours, other, name), goal);
    const FLAGS: &str = "two words";
    const COPIES: &str = "two words and the copies";
    Group {
        name: "hand-off of 64 B, spinning, one way",
        rounds: effort.rounds(9),
        setup: Vec::new(),
        series: vec![
            hand_off("raw", "raw spin observe"),
            hand_off("locked", "stream spin observe| locked"),
            hand_off("plain", "stream spin observe"),
            hand_off("raw_copy", "raw spin copy"),
            hand_off("locked_copy", "stream spin copy| locked"),
            hand_off("plain_copy", "stream spin copy"),
            peer("theirs", "observe"),
            peer("theirs_copy", "copy"),
        ],
        teardown: Vec::new(),
        rows: vec![
            untouched(row(
                "publish -> count seen, lock held",
                "locked",
                "raw",
                FLAGS,
                "<= 1.3",
            )),
            untouched(row(
                "publish -> count seen, plain write",
                "plain",
                "raw",
                FLAGS,
                "<= 1.3",
            )),
            untouched(row(
                "publish -> count seen, plain write",
                "plain",
                "theirs",
                ICEORYX2,
                "<= 0.5",
            )),
            row(
                "publish -> frame and record read, lock held",
                "locked_copy",
                "raw_copy",
                COPIES,
                "<= 1.3",
            ),
            row(
                "publish -> frame and record read, plain write",
                "plain_copy",
                "raw_copy",
                COPIES,
                "<= 1.3",
            ),
            row(
                "publish -> frame and record read, plain write",
                "plain_copy",
                "theirs_copy",
                ICEORYX2,
                "",
            ),
        ],
    }
}

fn sleeping(effort: Effort) -> Group {
    let hand_off = |key, request: &str| {
        let request = format!("{request} 64 {}", effort.count(2_000));
        series(key, Program::HandOff, request)
    };
    let peer = |key, request: &str| {
        let request = format!("{request} 64 {}", effort.count(2_000));
        series(key, Program::Iceoryx2, request)
    };
    let row = |what, field, ours| {
        let names = (ours, "raw", "futex alone");
        beside(what, "ns", field, names, "<= 1.15")
    };
    let beside_peer = |what, ours, other, name| {
        let names = (ours, other, name);
        beside(what, "ns", "one_way_ns", names, "<= 0.7")
    };
    Group {
        name: "hand-off of 64 B, asleep while waiting",
        rounds: effort.rounds(9),
        setup: Vec::new(),
        series: vec![
            hand_off("raw", "raw park observe"),
            hand_off("observe", "stream park observe"),
            hand_off("copy", "stream park copy"),
            peer("events", "events park observe"),
            peer("samples", "samples park copy"),
        ],
        teardown: Vec::new(),
        rows: vec![
            untouched(row(
                "publish -> count seen, one way",
                "one_way_ns",
                "observe",
            )),
            row(
                "publish -> frame and record read, one way",
                "one_way_ns",
                "copy",
            ),
            row(
                "the same, round trip, 99th percentile",
                "round_trip_p99_ns",
                "copy",
            ),
            untouched(beside_peer(
                "publish -> count seen, one way",
                "observe",
                "events",
                "iceoryx2, an event alone",
            )),
            beside_peer(
                "publish -> frame and record read, one way",
                "copy",
                "samples",
                "iceoryx2, a sample and an event",
            ),
        ],
    }
}

fn large_frames(effort: Effort) -> Group {
    let hand_off = |key, carrier: &str, bytes: usize, count| {
        let count = effort.count(count);
        let request = format!("{carrier} spin copy {bytes} {count}");
        series(key, Program::HandOff, request)
    };
    let row = |what, ours, other, goal| {
        let names = (ours, other, "the copies alone");
        beside(what, "ns", "round_trip_ns", names, goal)
    };
    Group {
        name: "large frames there and back, spinning",
        rounds: effort.rounds(9),
        setup: Vec::new(),
        series: vec![
            hand_off("raw_64k", "raw", 64 << 10, 500),
            hand_off("ours_64k", "stream", 64 << 10, 500),
            series(
                "theirs_64k",
                Program::Iceoryx2,
                format!("samples spin copy {} {}", 64 << 10, effort.count(500)),
            ),
            hand_off("raw_4m", "raw", 4 << 20, 30),
            hand_off("ours_4m", "stream", 4 << 20, 30),
        ],
        teardown: Vec::new(),
        rows: vec![
            row("64 KiB, four copies", "ours_64k", "raw_64k", "<= 1.15"),
            beside(
                "64 KiB, four copies",
                "ns",
                "round_trip_ns",
                ("ours_64k", "theirs_64k", ICEORYX2),
                "",
            ),
            row("4 MiB, four copies", "ours_4m", "raw_4m", "<= 1.15"),
        ],
    }
}

fn progressive_frames(effort: Effort) -> Group {
    let hand_off = |key, carrier: &str, bytes: usize, count| {
        let count = effort.count(count);
        let request = format!("{carrier} spin copy {bytes} {count}");
        series(key, Program::HandOff, request)
    };
    let row = |what, ours, other| {
        let names = (ours, other, "the whole frame");
        beside(what, "ns", "one_way_ns", names, "<= 0.65")
    };
    Group {
        name: "frames handed over row by row, spinning, one way",
        rounds: effort.rounds(9),
        setup: Vec::new(),
        series: vec![
            hand_off("rows_256k", "rows", 256 << 10, 200),
            hand_off("whole_256k", "stream", 256 << 10, 200),
            hand_off("rows_1m", "rows", 1 << 20, 60),
            hand_off("whole_1m", "stream", 1 << 20, 60),
        ],
        teardown: Vec::new(),
        rows: vec![
            row("256 KiB in rows of 32 KiB", "rows_256k", "whole_256k"),
            row("1 MiB in rows of 32 KiB", "rows_1m", "whole_1m"),
        ],
    }
}
