//! Nodes that run elsewhere than in a worker with a built-in kind.

use std::path::Path;
use std::time::Duration;

use thalweg::pipeline::config::PipelineConfig;
use thalweg::pipeline::runtime::{
    EndpointFrame, Health, NodeHost, Pipeline, PipelineError, PipelineState, RunOptions, Wanted,
    WorkerProgram,
};
use thalweg::{ArrayRef, Patience, PublishOptions, StreamDirectory, WaitPolicy};
use thalweg_os::clock::deadline_after;

const YAML: &str = "
shared_memory:
  - {name: in, shape: [2], dtype: float32}
  - {name: out, shape: [2], dtype: float32}
kernels:
  - {name: copy, kind: cpu.copy, input: in, output: out}
sinks:
  - {name: display, kind: example.display, stream: out}
";

const SOON: Duration = Duration::from_secs(60);

fn pipeline(folder: &Path, host: NodeHost) -> Result<Pipeline, PipelineError> {
    let config = PipelineConfig::from_yaml_str(YAML, Path::new("test.yaml")).unwrap();
    let mut options = RunOptions {
        directory: StreamDirectory::new(folder),
        start_timeout: SOON,
        ..RunOptions::new(WorkerProgram::new(env!("CARGO_BIN_EXE_thalweg")))
    };
    options.hosts.insert("display".to_owned(), host);
    Pipeline::new(config, &thalweg::registry(), options)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

#[test]
fn an_endpoint_is_a_node_like_any_other() {
    let folder = folder();
    let mut pipeline = pipeline(folder.path(), NodeHost::Caller).unwrap();
    assert!(pipeline.endpoint("display").is_none(), "not built yet");
    pipeline.build().unwrap();
    let endpoint = pipeline.endpoint("display").unwrap();
    assert!(pipeline.endpoint("copy").is_none(), "has a worker");
    let out = pipeline.stream("out").unwrap();
    endpoint.ready(Vec::new());
    pipeline.start().unwrap();
    let patience = Patience::until(deadline_after(SOON));
    let frame = ArrayRef::from_slice(&[1.0f32, 2.0], &[2]);
    let input = pipeline.stream("in").unwrap();
    input
        .write(frame, PublishOptions::default(), patience)
        .unwrap();
    let count = out.wait_after(0, WaitPolicy::Adaptive, patience).unwrap();
    endpoint.count(EndpointFrame {
        execution_ns: 5,
        latency_ns: Some(1000),
        input_count: Some(count),
        ..EndpointFrame::default()
    });
    let status = pipeline.status();
    let node = status
        .nodes
        .iter()
        .find(|node| node.name == "display")
        .unwrap();
    assert_eq!((node.frames, node.input_count), (1, count));
    assert_eq!(node.health, Health::Active);

    pipeline.pause().unwrap();
    assert_eq!(endpoint.wanted(), Wanted::Pause);
    pipeline.resume().unwrap();
    let waiting = endpoint.clone();
    let thread = std::thread::spawn(move || {
        let wanted = waiting.wait_while(Wanted::Run, deadline_after(SOON));
        waiting.stopped();
        wanted
    });
    pipeline.stop(SOON).unwrap();
    assert_eq!(thread.join().unwrap(), Wanted::Stop);
    assert!(pipeline.failures().is_empty());
    pipeline.shutdown(true, false);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn an_endpoint_that_fails_fails_the_pipeline() {
    let folder = folder();
    let mut pipeline = pipeline(folder.path(), NodeHost::Caller).unwrap();
    pipeline.build().unwrap();
    let endpoint = pipeline.endpoint("display").unwrap();
    endpoint.ready(Vec::new());
    pipeline.start().unwrap();
    endpoint.failed("ValueError: no screen", Some("Traceback ...".to_owned()));
    assert_eq!(pipeline.state(), PipelineState::Failed);
    let failure = &pipeline.failures()[0];
    assert_eq!(
        failure.to_string(),
        "sink 'display' failed: ValueError: no screen"
    );
    assert_eq!(failure.traceback.as_deref(), Some("Traceback ..."));
}

#[test]
fn the_program_of_a_host_gets_the_order() {
    let folder = folder();
    let order = folder.path().join("order");
    // A worker that keeps its order and ends: enough to see what it was told.
    let host = NodeHost::Program {
        program: WorkerProgram {
            program: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), format!("head -n 1 > {}", order.display())],
        },
        plugin: serde_json::json!({"module": "plugins", "qualname": "Display"}),
    };
    let mut pipeline = pipeline(folder.path(), host).unwrap();
    pipeline.build().unwrap();
    let error = pipeline.start().unwrap_err();
    assert!(
        error.to_string().contains("sink 'display' failed"),
        "{error}"
    );
    let text = std::fs::read_to_string(&order).unwrap();
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(told["nodes"][0]["plugin"]["qualname"], "Display");
    assert_eq!(told["nodes"][0]["spec"]["kind"], "example.display");
    assert_eq!(pipeline.state(), PipelineState::Built);
}
