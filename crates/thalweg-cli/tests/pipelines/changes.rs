//! Running pipelines are changed as a whole or not at all.

use thalweg::pipeline::config::{KernelConfig, PipelineConfig, StreamConfig};
use thalweg::pipeline::runtime::{Pipeline, PipelineError, PipelineState};
use thalweg::shm::DType;

use super::support::{Scratch, node, read_after, wait_until, write};

const YAML: &str = "
shared_memory:
  - {name: in, shape: [2], dtype: float32}
  - {name: middle, shape: [2], dtype: float32}
  - {name: out, shape: [2], dtype: float32}
kernels:
  - {name: first, kind: cpu.scale, input: in, output: middle, parameters: {factor: 2}}
  - {name: second, kind: cpu.scale, input: middle, output: out, parameters: {factor: 3}}
";

fn running(scratch: &Scratch) -> Pipeline {
    let mut pipeline = scratch.pipeline(YAML);
    pipeline.build().unwrap();
    pipeline.start().unwrap();
    pipeline
}

fn pids(pipeline: &mut Pipeline) -> Vec<Option<u32>> {
    pipeline
        .status()
        .nodes
        .iter()
        .map(|node| node.pid)
        .collect()
}

fn push(pipeline: &Pipeline, value: f32, output: &str) -> Vec<f32> {
    let stream = pipeline.stream(output).unwrap();
    let before = stream.count();
    write(&pipeline.stream("in").unwrap(), &[value, 1.0], None);
    read_after(&stream, before).0
}

fn scale(name: &str, input: &str, output: &str, factor: f64) -> KernelConfig {
    let mut kernel = KernelConfig::new(name, "cpu.scale", [input], [output]);
    kernel.parameters.insert("factor".to_owned(), factor.into());
    kernel
}

#[test]
fn a_kernel_and_its_stream_are_added() {
    let scratch = Scratch::new();
    let mut pipeline = running(&scratch);
    let before = pids(&mut pipeline);
    let stream = StreamConfig::new("more", [2], DType::Float32);
    pipeline
        .add_kernel(scale("third", "out", "more", 10.0), vec![stream])
        .unwrap();
    assert_eq!(push(&pipeline, 1.0, "more"), [60.0, 60.0]);
    assert_eq!(pids(&mut pipeline)[..2], before[..], "the others went on");
    pipeline.remove_kernel("third").unwrap();
    assert_eq!(push(&pipeline, 1.0, "out"), [6.0, 6.0]);
    assert!(pipeline.stream("more").is_some(), "streams stay");
    assert_eq!(pids(&mut pipeline), before);
    pipeline.shutdown(true, false);
    assert_eq!(scratch.leftovers(), Vec::<String>::new());
}

#[test]
fn a_kernel_is_replaced_between_two_frames() {
    let scratch = Scratch::new();
    let mut pipeline = running(&scratch);
    assert_eq!(push(&pipeline, 1.0, "out"), [6.0, 6.0]);
    let before = pids(&mut pipeline);
    for factor in 4..30u32 {
        let kernel = scale("second", "middle", "out", f64::from(factor));
        pipeline.replace_kernel(kernel).unwrap();
        let expected = 2.0 * factor as f32;
        let out = pipeline.stream("out").unwrap();
        let count = out.count();
        assert_eq!(push(&pipeline, 1.0, "out"), [expected, expected]);
        assert_eq!(out.count(), count + 1, "no frame was computed twice");
    }
    let after = pids(&mut pipeline);
    assert_eq!(after[0], before[0]);
    assert_ne!(after[1], before[1]);
    wait_until(&mut pipeline, "counted anew", |pipeline| {
        node(pipeline, "second").frames == 1
    });
    pipeline.shutdown(true, false);
    assert_eq!(scratch.leftovers(), Vec::<String>::new());
}

#[test]
fn what_cannot_be_done_changes_nothing() {
    let scratch = Scratch::new();
    let mut pipeline = running(&scratch);
    let before = pids(&mut pipeline);
    let new = || StreamConfig::new("more", [2], DType::Float32);
    let mut wrong = scale("third", "out", "more", 1.0);
    wrong.parameters.clear();
    let error = pipeline.add_kernel(wrong, vec![new()]).unwrap_err();
    assert!(matches!(error, PipelineError::Config(_)), "{error}");
    let error = pipeline
        .add_kernel(scale("third", "in", "out", 1.0), Vec::new())
        .unwrap_err();
    assert!(error.to_string().contains("multiple producer"), "{error}");
    let error = pipeline.remove_kernel("nobody").unwrap_err();
    assert!(error.to_string().contains("first, second"), "{error}");
    let mut config = pipeline.config().clone();
    config.streams[1] = StreamConfig::new("middle", [2], DType::Float64);
    config.kernels.clear();
    config.kernels.push(scale("first", "in", "out", 1.0));
    let error = pipeline.change(config, Default::default()).unwrap_err();
    assert!(
        error.to_string().contains("stream 'middle' is in use"),
        "{error}"
    );
    assert_eq!(pids(&mut pipeline), before);
    assert_eq!(pipeline.state(), PipelineState::Running);
    assert!(pipeline.stream("more").is_none());
    assert_eq!(push(&pipeline, 1.0, "out"), [6.0, 6.0]);
}

#[test]
fn a_worker_that_does_not_come_up_is_taken_back_with_its_streams() {
    let scratch = Scratch::new();
    let mut pipeline = running(&scratch);
    let files = scratch.leftovers().len();
    let host = thalweg::pipeline::runtime::NodeHost::Program {
        program: thalweg::pipeline::runtime::WorkerProgram {
            program: "/bin/false".into(),
            arguments: Vec::new(),
        },
        plugin: serde_json::Value::Null,
    };
    let mut config = pipeline.config().clone();
    config
        .streams
        .push(StreamConfig::new("more", [2], DType::Float32));
    config.kernels.push(KernelConfig::new(
        "third",
        "example.kind",
        ["out"],
        ["more"],
    ));
    let hosts = [("third".to_owned(), host)].into();
    let error = pipeline.change(config, hosts).unwrap_err();
    assert!(
        error.to_string().contains("worker 'third' failed"),
        "{error}"
    );
    assert_eq!(scratch.leftovers().len(), files);
    assert_eq!(pipeline.state(), PipelineState::Running);
    assert!(pipeline.failures().is_empty());
    assert_eq!(push(&pipeline, 1.0, "out"), [6.0, 6.0]);
}

#[test]
fn a_paused_pipeline_stays_paused() {
    let scratch = Scratch::new();
    let mut pipeline = running(&scratch);
    pipeline.pause().unwrap();
    pipeline
        .replace_kernel(scale("first", "in", "middle", 5.0))
        .unwrap();
    assert_eq!(pipeline.state(), PipelineState::Paused);
    write(&pipeline.stream("in").unwrap(), &[1.0, 1.0], None);
    let middle = pipeline.stream("middle").unwrap();
    assert_eq!(middle.count(), 0);
    pipeline.resume().unwrap();
    assert_eq!(read_after(&middle, 0).0, [5.0, 5.0]);
}

#[test]
fn a_frame_that_the_replaced_kernel_did_not_take_is_not_lost() {
    let scratch = Scratch::new();
    let mut pipeline = running(&scratch);
    assert_eq!(push(&pipeline, 1.0, "middle"), [2.0, 2.0]);
    pipeline.pause().unwrap();
    write(&pipeline.stream("in").unwrap(), &[7.0, 7.0], None);
    pipeline
        .replace_kernel(scale("first", "in", "middle", 5.0))
        .unwrap();
    let middle = pipeline.stream("middle").unwrap();
    let before = middle.count();
    pipeline.resume().unwrap();
    assert_eq!(read_after(&middle, before).0, [35.0, 35.0]);
}

#[test]
fn what_was_there_before_the_start_is_not_new_to_a_successor() {
    let scratch = Scratch::new();
    let mut pipeline = scratch.pipeline(YAML);
    pipeline.build().unwrap();
    write(&pipeline.stream("in").unwrap(), &[9.0, 9.0], None);
    pipeline.start().unwrap();
    pipeline
        .replace_kernel(scale("first", "in", "middle", 5.0))
        .unwrap();
    assert_eq!(push(&pipeline, 1.0, "middle"), [5.0, 5.0]);
    assert_eq!(pipeline.stream("middle").unwrap().count(), 1);
}

#[test]
fn changes_need_a_running_pipeline() {
    let scratch = Scratch::new();
    let mut pipeline = scratch.pipeline(YAML);
    pipeline.build().unwrap();
    let error = pipeline.remove_kernel("second").unwrap_err();
    assert!(error.to_string().contains("RUNNING or PAUSED"), "{error}");
}

#[test]
fn another_document_can_take_its_place() {
    let scratch = Scratch::new();
    let mut pipeline = running(&scratch);
    let text = YAML
        .replace("factor: 3", "factor: 7")
        .replace("name: first", "name: renamed");
    let config = PipelineConfig::from_yaml_str(&text, std::path::Path::new("test.yaml")).unwrap();
    pipeline.change(config, Default::default()).unwrap();
    assert_eq!(push(&pipeline, 1.0, "out"), [14.0, 14.0]);
}
