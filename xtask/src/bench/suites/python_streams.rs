//! Streams used from Python, beside pyshmem through the same calls.

use super::{Effort, beside, series, unreceived};
use crate::bench::group::{Group, Library, Program};

use Library::{Pyshmem, Thalweg};

const PINNED: &str = "pinned";
const FREE: &str = "free";

fn python_streams(library: Library, place: &'static str) -> Program {
    Program::Streams { library, place }
}

pub(super) fn groups(effort: Effort) -> Vec<Group> {
    let mut groups = vec![
        python_calls(effort),
        python_round_trips(
            effort,
            PINNED,
            "Python round trips, asleep while waiting",
            PINNED_GOALS,
        ),
        python_round_trips(effort, FREE, "Python round trips, free to spin", FREE_GOALS),
        watched(effort),
    ];
    groups.extend(one_process(effort));
    groups
}

fn python_calls(effort: Effort) -> Group {
    let count = effort.count(50_000);
    let row =
        |what, ours, other, goal| beside(what, "us", "p50_us", (ours, other, "pyshmem"), goal);
    let ours = python_streams(Thalweg, FREE);
    let theirs = python_streams(Pyshmem, FREE);
    Group {
        name: "Python calls, 100 floats",
        rounds: effort.rounds(9),
        setup: Vec::new(),
        series: vec![
            series("write", ours, format!("write {count}")),
            series("their_write", theirs, format!("write {count}")),
            series("read", ours, format!("read {count}")),
            series("their_read", theirs, format!("read {count}")),
        ],
        teardown: Vec::new(),
        rows: vec![
            row("write(frame)", "write", "their_write", "<= 0.8 us"),
            row("read(out=frame)", "read", "their_read", "<= 0.6 us"),
        ],
    }
}

/// Goals of the rows of [`python_round_trips`]: 64 B, 64 KiB, 4 MB, 4 MB written back from a view.
type RoundTripGoals = [&'static str; 4];

const PINNED_GOALS: RoundTripGoals = ["<= 0.286, <= 20 us", "<= 0.4, <= 37 us", "<= 1", "<= 0.5"];
const FREE_GOALS: RoundTripGoals = ["<= 4 us", "", "<= 1", "<= 0.5"];

fn python_round_trips(
    effort: Effort,
    place: &'static str,
    name: &'static str,
    goals: RoundTripGoals,
) -> Group {
    let ours = python_streams(Thalweg, place);
    let theirs = python_streams(Pyshmem, place);
    let request = |elements: usize, count: usize, use_of_frames: &str| {
        let count = effort.count(count);
        format!("round_trip {elements} {count} {use_of_frames}")
    };
    let small = |use_of_frames| request(16, 2_000, use_of_frames);
    let medium = |use_of_frames| request(16 << 10, 1_000, use_of_frames);
    let large = |use_of_frames| request(1_000_000, 30, use_of_frames);
    let row =
        |what, ours, other, name, goal| beside(what, "us", "p50_us", (ours, other, name), goal);
    const NOTIFY: &str = "pyshmem, notify=True";
    const POLL: &str = "pyshmem, default";
    Group {
        name,
        rounds: effort.rounds(9),
        setup: Vec::new(),
        series: vec![
            series("small", ours, small("copy")),
            series("small_notify", theirs, small("copy")),
            series("small_poll", theirs, small("poll")),
            series("medium", ours, medium("copy")),
            series("medium_notify", theirs, medium("copy")),
            series("medium_poll", theirs, medium("poll")),
            series("large", ours, large("copy")),
            series("large_notify", theirs, large("copy")),
            series("large_poll", theirs, large("poll")),
            series("view", ours, large("view")),
        ],
        teardown: Vec::new(),
        rows: vec![
            row("64 B", "small", "small_notify", NOTIFY, goals[0]),
            row("64 B", "small", "small_poll", POLL, goals[0]),
            row("64 KiB", "medium", "medium_notify", NOTIFY, goals[1]),
            row("64 KiB", "medium", "medium_poll", POLL, goals[1]),
            row("4 MB", "large", "large_notify", NOTIFY, goals[2]),
            row("4 MB", "large", "large_poll", POLL, goals[2]),
            row(
                "4 MB, the borrowed view written back",
                "view",
                "large_notify",
                NOTIFY,
                goals[3],
            ),
            row(
                "4 MB, the borrowed view written back",
                "view",
                "large_poll",
                POLL,
                goals[3],
            ),
        ],
    }
}

/// The squares of the tables on pyshmem's page, and how often they are measured in a round.
const SQUARES: [(usize, usize); 3] = [(100, 2_000), (1_000, 40), (10_000, 2)];

fn one_process(effort: Effort) -> Vec<Group> {
    let [small, medium, large] = SQUARES;
    vec![
        table(effort, "one Python process, 100x100 float32", small, 9),
        table(effort, "one Python process, 1000x1000 float32", medium, 9),
        table(effort, "one Python process, 10000x10000 float32", large, 3),
    ]
}

fn table(
    effort: Effort,
    name: &'static str,
    (side, count): (usize, usize),
    rounds: usize,
) -> Group {
    let (ours, theirs) = (
        Program::Tables { library: Thalweg },
        Program::Tables { library: Pyshmem },
    );
    let count = if side == 10_000 {
        count
    } else {
        effort.count(count)
    };
    let request = |verb: &str, rest: &str| format!("{verb} {side} {count} {rest}");
    let row = |what, unit, field, ours, other, goal| {
        beside(what, unit, field, (ours, other, "pyshmem"), goal)
    };
    Group {
        name,
        rounds: effort.rounds(rounds),
        setup: Vec::new(),
        series: vec![
            series("new", ours, request("round_trip", "new")),
            series("their_new", theirs, request("round_trip", "new")),
            series("out", ours, request("round_trip", "out")),
            series("their_out", theirs, request("round_trip", "out")),
            series("in_place", ours, request("product", "in_place")),
            series("their_in_place", theirs, request("product", "in_place")),
            series("copied", ours, request("product", "copied")),
            series("their_copied", theirs, request("product", "copied")),
        ],
        teardown: Vec::new(),
        rows: vec![
            row("write, read()", "us", "p50_us", "new", "their_new", "<= 1"),
            row(
                "write, read(out=)",
                "us",
                "p50_us",
                "out",
                "their_out",
                "<= 1",
            ),
            row(
                "product, the matrix in its stream",
                "us",
                "p50_us",
                "in_place",
                "their_in_place",
                "<= 1",
            ),
            row(
                "product, the matrix read by the same calls",
                "us",
                "p50_us",
                "copied",
                "their_copied",
                "<= 1",
            ),
        ],
    }
}

fn watched(effort: Effort) -> Group {
    let (ours, theirs) = (
        Program::Watched { library: Thalweg },
        Program::Watched { library: Pyshmem },
    );
    let looking = |readers| format!("write {readers} looking {}", effort.count(10_000));
    let asleep = |readers| format!("write {readers} asleep {}", effort.count(150));
    let in_place = format!("in_place {}", effort.count(30));
    let row = |what, ours, other, name, goal| {
        unreceived(beside(what, "us", "p50_us", (ours, other, name), goal))
    };
    Group {
        name: "Python writers and those who watch them, 100 floats",
        rounds: effort.rounds(7),
        setup: Vec::new(),
        series: vec![
            series("looking_0", ours, looking(0)),
            series("looking_1", ours, looking(1)),
            series("looking_8", ours, looking(8)),
            series("their_looking_8", theirs, looking(8)),
            series("asleep_0", ours, asleep(0)),
            series("asleep_1", ours, asleep(1)),
            series("asleep_8", ours, asleep(8)),
            series("their_asleep_8", theirs, asleep(8)),
            series("in_place", ours, &in_place),
            series("their_in_place", theirs, &in_place),
        ],
        teardown: Vec::new(),
        rows: vec![
            row(
                "write, 1 reader looks at 1 kHz",
                "looking_1",
                "looking_0",
                "no reader",
                "<= 1.05",
            ),
            row(
                "write, 8 readers look at 1 kHz",
                "looking_8",
                "looking_0",
                "no reader",
                "<= 1.05",
            ),
            row(
                "write, 8 readers look at 1 kHz",
                "looking_8",
                "their_looking_8",
                "pyshmem",
                "",
            ),
            row(
                "write, 1 reader sleeps until a frame comes",
                "asleep_1",
                "asleep_0",
                "no reader, at 1 kHz",
                "",
            ),
            row(
                "write, 8 readers sleep until a frame comes",
                "asleep_8",
                "their_asleep_8",
                "pyshmem, notify=True",
                "",
            ),
            beside(
                "filled in place for 10 ms each: frames seen",
                "%",
                "seen_percent",
                ("in_place", "their_in_place", "pyshmem"),
                ">= 100 %",
            ),
        ],
    }
}
