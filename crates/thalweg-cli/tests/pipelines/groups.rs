//! Kernels of one group share a process and hand over within it.

use std::path::Path;

use thalweg::pipeline::config::PipelineConfig;
use thalweg::pipeline::runtime::{NodeHost, Pipeline, PipelineState, WorkerProgram};

use super::support::{Scratch, kill, node, read_after, wait_for_successor, wait_until, write};

/// Declared against the flow on purpose.
const YAML: &str = "
shared_memory:
  - {name: in, shape: [2], dtype: float32}
  - {name: a, shape: [2], dtype: float32}
  - {name: b, shape: [2], dtype: float32}
  - {name: out, shape: [2], dtype: float32}
kernels:
  - {name: third, kind: cpu.scale, input: b, output: out, parameters: {factor: 5}, group: fast, restart: on-failure}
  - {name: second, kind: cpu.scale, input: a, output: b, parameters: {factor: 3}, group: fast, restart: on-failure}
  - {name: first, kind: cpu.scale, input: in, output: a, parameters: {factor: 2}, group: fast, restart: on-failure}
";

const NAMES: [&str; 3] = ["first", "second", "third"];

fn push(pipeline: &Pipeline, value: f32) -> Vec<f32> {
    let out = pipeline.stream("out").unwrap();
    let before = out.count();
    write(&pipeline.stream("in").unwrap(), &[value, 1.0], None);
    read_after(&out, before).0
}

#[test]
fn one_process_runs_them_all() {
    let scratch = Scratch::new();
    let mut pipeline = scratch.pipeline(YAML);
    pipeline.build().unwrap();
    pipeline.start().unwrap();
    for value in [1.0, 2.0, 3.0] {
        assert_eq!(push(&pipeline, value), [30.0 * value, 30.0]);
    }
    let pids = NAMES.map(|name| node(&mut pipeline, name).pid);
    assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
    for name in NAMES {
        // The last one's counters follow its publication.
        wait_until(&mut pipeline, "all counted", |pipeline| {
            node(pipeline, name).frames == 3
        });
    }
    pipeline.pause().unwrap();
    pipeline.resume().unwrap();
    assert_eq!(push(&pipeline, 4.0), [120.0, 30.0]);
    let pid = kill(&mut pipeline, "second");
    for name in NAMES {
        wait_for_successor(&mut pipeline, name, pid);
    }
    assert_eq!(push(&pipeline, 5.0), [150.0, 30.0]);
    pipeline.shutdown(true, false);
    assert_eq!(scratch.leftovers(), Vec::<String>::new());
}

#[test]
fn a_group_fails_as_a_whole_and_is_restarted_as_a_whole() {
    let scratch = Scratch::new();
    let mut pipeline = scratch.pipeline(&YAML.replace(", restart: on-failure", ""));
    pipeline.build().unwrap();
    pipeline.start().unwrap();
    kill(&mut pipeline, "first");
    wait_until(&mut pipeline, "failure of the whole group", |pipeline| {
        pipeline.failures().len() == NAMES.len()
    });
    assert_eq!(pipeline.state(), PipelineState::Failed);
    pipeline.restart().unwrap();
    assert_eq!(push(&pipeline, 1.0), [30.0, 30.0]);
}

#[test]
fn a_member_is_replaced_with_its_group() {
    let scratch = Scratch::new();
    let mut pipeline = scratch.pipeline(YAML);
    pipeline.build().unwrap();
    pipeline.start().unwrap();
    let mut kernel = pipeline.config().kernels[1].clone();
    kernel.parameters.insert("factor".to_owned(), 30.into());
    pipeline.replace_kernel(kernel).unwrap();
    assert_eq!(push(&pipeline, 1.0), [300.0, 300.0]);
    let pids = NAMES.map(|name| node(&mut pipeline, name).pid);
    assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
}

#[test]
fn a_group_is_of_one_program() {
    let scratch = Scratch::new();
    let config = PipelineConfig::from_yaml_str(YAML, Path::new("test.yaml")).unwrap();
    let mut options = scratch.options();
    let host = NodeHost::Program {
        program: WorkerProgram::new("/bin/false"),
        plugin: serde_json::Value::Null,
    };
    options.hosts.insert("second".to_owned(), host);
    let error = Pipeline::new(config, &thalweg::registry(), options).unwrap_err();
    assert!(
        error.to_string().contains("cannot be of a group with"),
        "{error}"
    );
}
