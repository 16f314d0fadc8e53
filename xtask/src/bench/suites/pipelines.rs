//! Whole pipelines, their start, and the product most of their time goes to.

use super::{Effort, beside, series, unreceived, value};
use crate::bench::group::{Group, Library, Program, Row, Series};

use Library::{Shmpipeline, Thalweg};

fn pipelines(library: Library) -> Program {
    Program::Pipelines {
        library,
        instance: 0,
    }
}

/// `cargo xtask bench pipeline`.
pub(in crate::bench) fn pipeline(effort: Effort) -> Vec<Group> {
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
        chain(
            effort,
            "five scale stages, 120x120 floats",
            "scale5_120x120",
            ["", "", "", ""],
        ),
        group(effort),
        observatory(effort),
        branches(
            effort,
            "two consumers of one stream, 512x512 floats at 400 Hz",
            "fan_out",
        ),
        branches(
            effort,
            "two branches that share a calibration, 512x512 floats at 400 Hz",
            "shared_calibration",
        ),
        watched(effort),
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

/// The same three stages in one process and in three.
fn group(effort: Effort) -> Group {
    let (together, apart) = (
        pipelines(Thalweg),
        Program::Pipelines {
            library: Thalweg,
            instance: 1,
        },
    );
    let mut all = Vec::from(pipeline_series(effort, together, OURS));
    all.extend(pipeline_series(effort, apart, HALF));
    let row = |what, unit, field, index: usize| {
        let names = (OURS[index], HALF[index], "three processes");
        beside(what, unit, field, names, "")
    };
    Group {
        name: "three scale stages in one process, 120x120 floats",
        rounds: effort.rounds(7),
        setup: vec![
            (together, "open group_120x120".to_owned()),
            (apart, "open scale_120x120".to_owned()),
        ],
        series: all,
        teardown: [together, apart]
            .map(|program| (program, "close".to_owned()))
            .into(),
        rows: vec![
            row(WHATS[0], "us", "p50_us", 0),
            row(WHATS[1], "us", "p99_us", 0),
            row(WHATS[2], "frames/s", "results_per_s", 1),
            row(WHATS[3], "frames/s", "results_per_s", 2),
        ],
    }
}

/// Two kernels side by side: what comes out of the one that gets less.
fn branches(effort: Effort, name: &'static str, pipeline: &'static str) -> Group {
    let (ours, theirs) = (pipelines(Thalweg), pipelines(Shmpipeline));
    let request = format!("paced 400 {}", effort.seconds(1.0));
    Group {
        name,
        rounds: effort.rounds(7),
        setup: [ours, theirs]
            .map(|program| (program, format!("open {pipeline}")))
            .into(),
        series: vec![
            series("ours", ours, request.clone()),
            series("theirs", theirs, request),
        ],
        teardown: [ours, theirs]
            .map(|program| (program, "close".to_owned()))
            .into(),
        rows: vec![beside(
            "share of the frames that comes out, slower branch",
            "",
            "share",
            ("ours", "theirs", "shmpipeline"),
            "",
        )],
    }
}

/// What looking at a pipeline ten times a second costs it, and what its workers weigh.
fn watched(effort: Effort) -> Group {
    let (ours, theirs) = (pipelines(Thalweg), pipelines(Shmpipeline));
    let count = effort.count(2_000);
    let row = |what, field, goal| {
        let names = ("watched", "alone", "nobody looks");
        beside(what, "us", field, names, goal)
    };
    Group {
        name: "a pipeline that is looked at ten times a second, 120x120 floats",
        rounds: effort.rounds(9),
        setup: vec![
            (ours, "open copy_120x120".to_owned()),
            (theirs, "open copy_120x120".to_owned()),
        ],
        series: vec![
            series("watched", ours, format!("watched {count}")),
            series("alone", ours, format!("lock_step {count}")),
            series("memory", ours, "memory".to_owned()),
            series("their_memory", theirs, "memory".to_owned()),
        ],
        teardown: [ours, theirs]
            .map(|program| (program, "close".to_owned()))
            .into(),
        rows: vec![
            row("write -> result", "p50_us", "<= 1.03"),
            row("write -> result, 99th percentile", "p99_us", "<= 1.1"),
            beside(
                "memory of a worker",
                "MiB",
                "mib_each",
                ("memory", "their_memory", "shmpipeline"),
                "",
            ),
        ],
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
