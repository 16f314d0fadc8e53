//! Streams whose readers are told when a frame was given up.

use thalweg::{DType, Patience, StreamOptions};

use super::support::{Scratch, node, read_after, wait_until, write};

const YAML: &str = "
shared_memory:
  - {name: in, shape: [2], dtype: float32, mode: attach}
  - {name: out, shape: [2], dtype: float32}
kernels:
  - {name: copy, kind: cpu.copy, input: in, output: out}
sinks:
  - {name: drain, kind: null.sink, stream: in}
";

/// How often the loop of the process `pid` went to sleep so far.
fn sleeps(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

#[test]
fn workers_sleep_until_the_frame_after_one_that_was_given_up() {
    let scratch = Scratch::new();
    let options = StreamOptions {
        strict: true,
        ..StreamOptions::new(DType::Float32, &[2])
    };
    let input = scratch.directory().create("in", &options).unwrap();
    let mut pipeline = scratch.pipeline(YAML);
    pipeline.build().unwrap();
    pipeline.start().unwrap();
    let output = pipeline.stream("out").unwrap();
    write(&input, &[1.0, 2.0], None);
    assert_eq!(read_after(&output, 0).0, [1.0, 2.0]);
    // A frame nobody has looked at before the one after it is given up.
    pipeline.pause().unwrap();
    write(&input, &[3.0, 4.0], None);
    input.loan(Patience::ENDLESS).unwrap().abort();
    pipeline.resume().unwrap();
    for name in ["copy", "drain"] {
        let pid = node(&mut pipeline, name).pid.unwrap();
        let before = sleeps(pid);
        wait_until(&mut pipeline, "some sleeps", |_| sleeps(pid) > before + 5);
    }
    assert_eq!(output.count(), 1);
    write(&input, &[5.0, 6.0], None);
    assert_eq!(read_after(&output, 1).0, [5.0, 6.0]);
    pipeline.shutdown(true, false);
    drop(input);
    scratch.directory().unlink("in").unwrap();
}
