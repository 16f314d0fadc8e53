//! How workers end whatever they are at, by themselves.

use std::path::Path;

use thalweg::pipeline::config::PipelineConfig;
use thalweg::pipeline::runtime::{NodeHost, ObservedRun, Pipeline, WorkerProgram};
use thalweg::{LosslessReader, WaitPolicy};
use thalweg_os::clock::{deadline_after, monotonic_ns};

use super::support::{Scratch, WATCHDOG, node, read_after, soon, wait_until, write};

const YAML: &str = "
shared_memory:
  - {name: in, shape: [2], dtype: float32}
  - {name: copied, shape: [2], dtype: float32}
  - {name: ramp, shape: [2], dtype: float32}
  - {name: left, shape: [2], dtype: float32}
  - {name: right, shape: [2], dtype: float32}
sources:
  - {name: lent, kind: synthetic.array, stream: ramp, parameters: {pattern: ramp, rate_hz: 1000}}
  - {name: writing, kind: synthetic.frame_set, streams: [left, right], parameters: {pattern: ramp, rate_hz: 1000}}
kernels:
  - {name: copy, kind: cpu.copy, input: in, output: copied}
";

fn next(reader: &mut LosslessReader) -> f32 {
    let frame = reader.next(WaitPolicy::Park, soon()).unwrap();
    frame.array().to_vec::<f32>().unwrap()[0]
}

#[test]
fn a_lossless_reader_that_stopped_reading_keeps_no_worker_from_its_end() {
    let scratch = Scratch::new();
    let mut pipeline = scratch.pipeline(YAML);
    pipeline.build().unwrap();
    let subscribe = |name: &str| pipeline.stream(name).unwrap().subscribe(1).unwrap();
    let mut copied = subscribe("copied");
    let idle = ["ramp", "right"].map(subscribe);
    pipeline.start().unwrap();
    let input = pipeline.stream("in").unwrap();
    let output = pipeline.stream("copied").unwrap();
    for stream in ["ramp", "right"] {
        read_after(&pipeline.stream(stream).unwrap(), 0);
    }
    write(&input, &[1.0; 2], None);
    read_after(&output, 0);
    write(&input, &[2.0; 2], None);
    // The triggers of the second frame are taken, or will be; a pause does not lose it.
    pipeline.pause().unwrap();
    pipeline.resume().unwrap();
    assert_eq!([next(&mut copied), next(&mut copied)], [1.0, 2.0]);
    copied.advance().unwrap();
    write(&input, &[3.0; 2], None);
    read_after(&output, 2);
    write(&input, &[4.0; 2], None);
    wait_until(&mut pipeline, "the kernel asleep", |pipeline| {
        node(pipeline, "copy").output_count == 3
    });
    pipeline.stop(WATCHDOG).unwrap();
    for name in ["lent", "writing", "copy"] {
        assert_eq!(node(&mut pipeline, name).exit_code, Some(0), "{name}");
    }
    assert!(pipeline.failures().is_empty());
    assert_eq!(output.count(), 3, "no room for the fourth");
    drop(idle);
}

#[test]
fn a_source_that_was_ready_ends_by_itself_when_the_start_fails() {
    let scratch = Scratch::new();
    let yaml = "
shared_memory:
  - {name: ramp, shape: [2], dtype: float32}
sources:
  - {name: lent, kind: synthetic.array, stream: ramp, parameters: {pattern: ramp, rate_hz: 1000}}
sinks:
  - {name: display, kind: example.display, stream: ramp}
";
    let config = PipelineConfig::from_yaml_str(yaml, Path::new("test.yaml")).unwrap();
    let files = tempfile::tempdir().unwrap();
    let word = files.path().join("word");
    // Never ready, and failed as soon as it gets the word.
    let wait = format!(
        "until [ -e {} ]; do sleep 0.01; done; exit 3",
        word.display()
    );
    let host = NodeHost::Program {
        program: WorkerProgram {
            program: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), wait],
        },
        plugin: serde_json::json!({"module": "plugins", "qualname": "Display"}),
    };
    let mut options = scratch.options();
    options.hosts.insert("display".to_owned(), host);
    let mut pipeline = Pipeline::new(config, &thalweg::registry(), options).unwrap();
    pipeline.build().unwrap();
    let mut run = ObservedRun::all(&scratch.directory()).unwrap().remove(0);
    let watching = std::thread::spawn(move || {
        let end_ns = deadline_after(WATCHDOG);
        while run.look().nodes[0].ready_ns == 0 && monotonic_ns() < end_ns {
            std::thread::yield_now();
        }
        std::fs::write(word, "").unwrap();
    });
    let error = pipeline.start().unwrap_err().to_string();
    watching.join().unwrap();
    assert!(error.contains("exited with code 3"), "{error}");
    // It closed what it had opened.
    assert_eq!(node(&mut pipeline, "lent").exit_code, Some(0));
}
