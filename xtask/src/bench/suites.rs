//! What is compared: the figures the design asks for, as data.

use super::group::{Group, Library, Program, Row, Series, Value};

use Library::{Pyshmem, Shmpipeline, Thalweg};

/// How much time is spent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    is_quick: bool,
}

impl Effort {
    pub(super) fn new(is_quick: bool) -> Self {
        Self { is_quick }
    }

    fn rounds(self, thorough: usize) -> usize {
        if self.is_quick { 2 } else { thorough }
    }

    fn count(self, thorough: usize) -> usize {
        if self.is_quick {
            thorough.div_ceil(10)
        } else {
            thorough
        }
    }

    fn seconds(self, thorough: f64) -> f64 {
        if self.is_quick { 0.3 } else { thorough }
    }
}

const PINNED: &str = "pinned";
const FREE: &str = "free";

fn python_streams(library: Library, place: &'static str) -> Program {
    Program::Streams { library, place }
}

fn pipelines(library: Library) -> Program {
    Program::Pipelines {
        library,
        instance: 0,
    }
}

fn series(key: &'static str, program: Program, request: impl Into<String>) -> Series {
    Series {
        key,
        program,
        request: request.into(),
    }
}

fn value(key: &'static str, field: &'static str) -> Value {
    Value { key, field }
}

/// A row that compares the same field of two series.
fn beside(
    what: &'static str,
    unit: &'static str,
    field: &'static str,
    (ours, other, other_name): (&'static str, &'static str, &'static str),
    goal: &'static str,
) -> Row {
    Row {
        what,
        is_payload_touched: Some(true),
        unit,
        ours: value(ours, field),
        other: Some((value(other, field), other_name)),
        goal,
    }
}

fn untouched(row: Row) -> Row {
    Row {
        is_payload_touched: Some(false),
        ..row
    }
}

/// Of something that nobody receives.
fn unreceived(row: Row) -> Row {
    Row {
        is_payload_touched: None,
        ..row
    }
}

/// `cargo xtask bench streams`.
pub(super) fn streams(effort: Effort) -> Vec<Group> {
    vec![
        writing(effort),
        spinning(effort),
        sleeping(effort),
        large_frames(effort),
        python_calls(effort),
        python_round_trips(
            effort,
            PINNED,
            "Python round trips, asleep while waiting",
            &PINNED_ROWS,
        ),
        python_round_trips(effort, FREE, "Python round trips, free to spin", &FREE_ROWS),
    ]
}

fn writing(effort: Effort) -> Group {
    let hand_off = |key, request: &str, count| {
        let request = format!("{request} {}", effort.count(count));
        series(key, Program::HandOff, request)
    };
    Group {
        name: "writing, nobody waits",
        rounds: effort.rounds(9),
        setup: Vec::new(),
        series: vec![
            hand_off("clock", "clock", 200_000),
            hand_off("publish", "publish", 200_000),
            hand_off("publish_locked", "publish_locked", 200_000),
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
            Row {
                what: "system calls per publication, lock held",
                is_payload_touched: None,
                unit: "",
                ours: value("syscalls_locked", "per_publication"),
                other: None,
                goal: "0",
            },
            Row {
                what: "system calls per publication, plain write",
                is_payload_touched: None,
                unit: "",
                ours: value("syscalls", "per_publication"),
                other: None,
                goal: "0",
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
        ],
    }
}

fn sleeping(effort: Effort) -> Group {
    let hand_off = |key, request: &str| {
        let request = format!("{request} 64 {}", effort.count(2_000));
        series(key, Program::HandOff, request)
    };
    let row = |what, field, ours| {
        let names = (ours, "raw", "futex alone");
        beside(what, "ns", field, names, "<= 1.15")
    };
    Group {
        name: "hand-off of 64 B, asleep while waiting",
        rounds: effort.rounds(9),
        setup: Vec::new(),
        series: vec![
            hand_off("raw", "raw park observe"),
            hand_off("observe", "stream park observe"),
            hand_off("copy", "stream park copy"),
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
            hand_off("raw_4m", "raw", 4 << 20, 30),
            hand_off("ours_4m", "stream", 4 << 20, 30),
        ],
        teardown: Vec::new(),
        rows: vec![
            row("64 KiB, four copies", "ours_64k", "raw_64k", "<= 1.15"),
            row("4 MiB, four copies", "ours_4m", "raw_4m", "<= 1.15"),
        ],
    }
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

/// Texts of the rows: 64 B, 64 KiB, 4 MB, 4 MB written back from a view.
type RoundTripRows = [(&'static str, &'static str); 4];

const PINNED_ROWS: RoundTripRows = [
    ("64 B", "<= 20 us"),
    ("64 KiB", "<= 37 us"),
    ("4 MB", "<= 1"),
    ("4 MB, the borrowed view written back", "<= 0.5"),
];
const FREE_ROWS: RoundTripRows = [
    ("64 B", "<= 4 us"),
    ("64 KiB", ""),
    ("4 MB", "<= 1"),
    ("4 MB, the borrowed view written back", "<= 0.5"),
];

fn python_round_trips(
    effort: Effort,
    place: &'static str,
    name: &'static str,
    rows: &RoundTripRows,
) -> Group {
    let ours = python_streams(Thalweg, place);
    let theirs = python_streams(Pyshmem, place);
    let request = |elements: usize, count: usize| {
        let count = effort.count(count);
        format!("round_trip {elements} {count}")
    };
    let (small, medium, large) = (
        request(16, 2_000),
        request(16 << 10, 1_000),
        request(1_000_000, 30),
    );
    let series = vec![
        series("small", ours, &small),
        series("their_small", theirs, &small),
        series("medium", ours, &medium),
        series("their_medium", theirs, &medium),
        series("large", ours, &large),
        series("their_large", theirs, &large),
        series("view", ours, format!("{large} view")),
    ];
    let keys = [
        ("small", "their_small"),
        ("medium", "their_medium"),
        ("large", "their_large"),
        ("view", "their_large"),
    ];
    let rows = rows.iter().zip(keys).map(|(&(what, goal), (ours, other))| {
        beside(what, "us", "p50_us", (ours, other, "pyshmem"), goal)
    });
    Group {
        name,
        rounds: effort.rounds(9),
        setup: Vec::new(),
        series,
        teardown: Vec::new(),
        rows: rows.collect(),
    }
}

/// `cargo xtask bench pipeline`.
pub(super) fn pipeline(effort: Effort) -> Vec<Group> {
    vec![
        chain(
            effort,
            "one copy stage, 64 floats",
            "copy_64",
            ["<= 0.067", "", "", ">= 10"],
        ),
        chain(
            effort,
            "one copy stage, 120x120 floats",
            "copy_120x120",
            ["<= 0.067", "", "", ">= 10"],
        ),
        chain(
            effort,
            "three scale stages, 120x120 floats",
            "scale_120x120",
            ["<= 0.125", "", ">= 10", ">= 10"],
        ),
        observatory(effort),
        products(
            effort,
            "matrix-vector product, 1024x2048",
            [1024, 2048],
            200,
        ),
        products(
            effort,
            "matrix-vector product, out of cache",
            if effort.is_quick {
                [4_000, 4_000]
            } else {
                [10_000, 10_000]
            },
            5,
        ),
        start_up(effort),
    ]
}

/// Requests whose answers the rows of [`pipeline_rows`] are about.
fn pipeline_series(
    effort: Effort,
    program: Program,
    [lock_step, in_flight, flat_out]: [&'static str; 3],
) -> [Series; 3] {
    let seconds = effort.seconds(1.0);
    let count = effort.count(1_000);
    [
        series(lock_step, program, format!("lock_step {count}")),
        series(in_flight, program, format!("in_flight {seconds}")),
        series(flat_out, program, format!("flat_out {seconds}")),
    ]
}

const OURS: [&str; 3] = ["lock_step", "in_flight", "flat_out"];
const THEIRS: [&str; 3] = ["their_lock_step", "their_in_flight", "their_flat_out"];
const HALF: [&str; 3] = ["half_lock_step", "half_in_flight", "half_flat_out"];

/// Latency (median and tail), rate with two frames under way, rate with a producer that waits for
/// nobody.
fn pipeline_rows(
    whats: [&'static str; 4],
    keys: [&'static str; 3],
    goals: [&'static str; 4],
) -> [Row; 4] {
    let row = |what, unit, field, index: usize, goal| {
        let names = (keys[index], THEIRS[index], "shmpipeline");
        beside(what, unit, field, names, goal)
    };
    let [median, tail, in_flight, flat_out] = whats;
    [
        row(median, "us", "p50_us", 0, goals[0]),
        row(tail, "us", "p99_us", 0, goals[1]),
        row(in_flight, "frames/s", "results_per_s", 1, goals[2]),
        row(flat_out, "frames/s", "results_per_s", 2, goals[3]),
    ]
}

const WHATS: [&str; 4] = [
    "write -> result",
    "write -> result, 99th percentile",
    "two frames under way",
    "free-running, lossy",
];

fn chain(
    effort: Effort,
    name: &'static str,
    pipeline: &'static str,
    goals: [&'static str; 4],
) -> Group {
    let programs = [pipelines(Thalweg), pipelines(Shmpipeline)];
    let [ours, theirs] = programs;
    let mut all = Vec::from(pipeline_series(effort, ours, OURS));
    all.extend(pipeline_series(effort, theirs, THEIRS));
    Group {
        name,
        rounds: effort.rounds(7),
        setup: programs
            .map(|program| (program, format!("open {pipeline}")))
            .into(),
        series: all,
        teardown: programs.map(|program| (program, "close".to_owned())).into(),
        rows: pipeline_rows(WHATS, OURS, goals).into(),
    }
}

fn observatory(effort: Effort) -> Group {
    let ours = pipelines(Thalweg);
    let theirs = pipelines(Shmpipeline);
    let half = Program::Pipelines {
        library: Thalweg,
        instance: 1,
    };
    let mut all = Vec::from(pipeline_series(effort, ours, OURS));
    all.extend(pipeline_series(effort, theirs, THEIRS));
    all.extend(pipeline_series(effort, half, HALF));
    let passes = effort.count(50);
    all.push(series(
        "read",
        Program::MatrixVector,
        format!("read {passes}"),
    ));

    let mut rows = Vec::from(pipeline_rows(WHATS, OURS, ["", "", ">= 5", ""]));
    rows.extend(pipeline_rows(
        [
            "float16 matrix: write -> result",
            "float16 matrix: write -> result, 99th percentile",
            "float16 matrix: two frames under way",
            "float16 matrix: free-running, lossy",
        ],
        HALF,
        ["", "", ">= 8", ""],
    ));
    for (what, ours) in [
        ("two frames under way", "in_flight"),
        ("free-running, lossy", "flat_out"),
    ] {
        rows.push(Row {
            what,
            is_payload_touched: Some(true),
            unit: "frames/s",
            ours: value(ours, "results_per_s"),
            other: Some((value("read", "per_s"), "one core reads the matrix")),
            goal: ">= 0.85",
        });
    }
    Group {
        name: "observatory loop, five stages",
        rounds: effort.rounds(7),
        setup: vec![
            (ours, "open observatory".to_owned()),
            (theirs, "open observatory".to_owned()),
            (half, "open observatory_half".to_owned()),
            (Program::MatrixVector, create_matrix([1024, 2048])),
        ],
        series: all,
        teardown: [ours, theirs, half, Program::MatrixVector]
            .map(|program| (program, "close".to_owned()))
            .into(),
        rows,
    }
}

fn matrix_stream() -> String {
    format!("thalweg-bench.{}.matrix", std::process::id())
}

fn create_matrix([rows, columns]: [usize; 2]) -> String {
    format!("create {} {rows} {columns}", matrix_stream())
}

fn products(effort: Effort, name: &'static str, shape: [usize; 2], count: usize) -> Group {
    let (rust, numpy) = (Program::MatrixVector, Program::Products);
    let row = |what, ours, other, other_name, goal| {
        beside(what, "GB/s", "gb_per_s", (ours, other, other_name), goal)
    };
    Group {
        name,
        rounds: effort.rounds(9),
        setup: vec![
            (rust, create_matrix(shape)),
            (numpy, format!("open {}", matrix_stream())),
        ],
        series: vec![
            series("read", rust, "read 3"),
            series("float32", rust, format!("multiply source {count}")),
            series("shared", numpy, format!("shared {count}")),
            series("own", numpy, format!("own {count}")),
            series("float16", rust, format!("multiply float16 {count}")),
            series("bfloat16", rust, format!("multiply bfloat16 {count}")),
        ],
        teardown: vec![(numpy, "close".to_owned()), (rust, "close".to_owned())],
        rows: vec![
            row(
                "float32",
                "float32",
                "shared",
                "OpenBLAS, same memory",
                ">= 1",
            ),
            row(
                "float32",
                "float32",
                "own",
                "OpenBLAS, NumPy's memory",
                ">= 1",
            ),
            row("float32", "float32", "read", "one core reads", ">= 0.9"),
            row(
                "float16 storage, as float32 bytes",
                "float16",
                "float32",
                "float32",
                ">= 1.8",
            ),
            row(
                "bfloat16 storage, as float32 bytes",
                "bfloat16",
                "float32",
                "float32",
                ">= 1.8",
            ),
        ],
    }
}

fn start_up(effort: Effort) -> Group {
    let (ours, theirs) = (pipelines(Thalweg), pipelines(Shmpipeline));
    Group {
        name: "start of a pipeline",
        rounds: effort.rounds(3),
        setup: Vec::new(),
        series: vec![
            series("five", ours, "start_up 5"),
            series("their_five", theirs, "start_up 5"),
            series("fifty", ours, "start_up 50"),
        ],
        teardown: Vec::new(),
        rows: vec![
            unreceived(beside(
                "5 stages ready",
                "ms",
                "start_ms",
                ("five", "their_five", "shmpipeline"),
                "<= 50 ms",
            )),
            Row {
                what: "50 stages ready",
                is_payload_touched: None,
                unit: "ms",
                ours: value("fifty", "start_ms"),
                other: None,
                goal: "<= 1000 ms",
            },
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_refer_to_series_that_exist() {
        let effort = Effort::new(true);
        for group in streams(effort).into_iter().chain(pipeline(effort)) {
            let known: Vec<&str> = group.series.iter().map(|series| series.key).collect();
            for row in &group.rows {
                let keys = [Some(row.ours.key), row.other.map(|(value, _)| value.key)];
                for key in keys.into_iter().flatten() {
                    assert!(known.contains(&key), "{}: {key}", group.name);
                }
            }
            let mut unique = known.clone();
            unique.sort_unstable();
            unique.dedup();
            assert_eq!(unique.len(), known.len(), "{}: keys repeat", group.name);
        }
    }
}
