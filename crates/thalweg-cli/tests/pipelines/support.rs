//! What the tests of pipelines share.

use std::path::Path;
use std::time::Duration;

use thalweg::pipeline::config::PipelineConfig;
use thalweg::pipeline::runtime::{Health, NodeStatus, Pipeline, RunOptions, WorkerProgram};
use thalweg::{ArrayRef, Patience, PublishOptions, Stream, StreamDirectory, WaitPolicy};
use thalweg_os::clock::{deadline_after, monotonic_ns};

/// A folder of its own per test; at its end the folder must be empty.
pub(super) struct Scratch {
    folder: tempfile::TempDir,
}

impl Scratch {
    pub(super) fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("thalweg-test-")
            .tempdir_in("/dev/shm")
            .unwrap();
        Self { folder }
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn directory(&self) -> StreamDirectory {
        StreamDirectory::new(self.folder.path())
    }

    pub(super) fn options(&self) -> RunOptions {
        RunOptions {
            directory: self.directory(),
            // Far more than a worker needs, however busy the machine is.
            start_timeout: Duration::from_secs(60),
            ..RunOptions::new(WorkerProgram::new(env!("CARGO_BIN_EXE_thalweg")))
        }
    }

    pub(super) fn pipeline(&self, yaml: &str) -> Pipeline {
        let config = PipelineConfig::from_yaml_str(yaml, Path::new("test.yaml")).unwrap();
        Pipeline::new(config, &thalweg::registry(), self.options()).unwrap()
    }

    pub(super) fn leftovers(&self) -> Vec<String> {
        std::fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

pub(super) fn soon() -> Patience<'static> {
    Patience::until(deadline_after(Duration::from_secs(60)))
}

pub(super) fn write(stream: &Stream, elements: &[f32], frame_id: Option<u64>) {
    let options = PublishOptions {
        frame_id,
        ..PublishOptions::default()
    };
    stream
        .write(
            ArrayRef::from_slice(elements, stream.shape()),
            options,
            soon(),
        )
        .unwrap();
}

pub(super) fn read_after(stream: &Stream, after: u64) -> (Vec<f32>, u64) {
    stream
        .wait_after(after, WaitPolicy::Adaptive, soon())
        .unwrap();
    let frame = stream.borrow().unwrap();
    let frame_id = frame.publication().frame_id;
    (frame.array().to_vec().unwrap(), frame_id)
}

pub(super) const TWO_STAGES: &str = "
shared_memory:
  - {name: raw, shape: [4], dtype: float32}
  - {name: doubled, shape: [4], dtype: float32}
  - {name: shifted, shape: [4], dtype: float32}
kernels:
  - {name: double, kind: cpu.scale, input: raw, output: doubled, parameters: {factor: 2.0}, propagate_frame_id: true}
  - {name: shift, kind: cpu.add_constant, input: doubled, output: shifted, parameters: {constant: 1.0}, propagate_frame_id: true}
";

/// Far more than anything here takes, however busy the machine is.
pub(super) const WATCHDOG: Duration = Duration::from_secs(60);

/// The status of the node `name`.
pub(super) fn node(pipeline: &mut Pipeline, name: &str) -> NodeStatus {
    let status = pipeline.status();
    let node = status.nodes.into_iter().find(|node| node.name == name);
    node.unwrap()
}

/// Waits until `is_so`, looking whenever something happens to a worker.
pub(super) fn wait_until(
    pipeline: &mut Pipeline,
    what: &str,
    mut is_so: impl FnMut(&mut Pipeline) -> bool,
) {
    let end_ns = deadline_after(WATCHDOG);
    while !is_so(pipeline) {
        assert!(monotonic_ns() < end_ns, "never happened: {what}");
        pipeline.wait_for_change(Duration::from_millis(10));
    }
}

/// Kills the worker of `name` with SIGKILL.
pub(super) fn kill(pipeline: &mut Pipeline, name: &str) -> u32 {
    let pid = node(pipeline, name).pid.unwrap();
    let target = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(target, rustix::process::Signal::KILL).unwrap();
    pid
}

/// Waits until the worker of `name` is another process than `old_pid`, and at work.
pub(super) fn wait_for_successor(pipeline: &mut Pipeline, name: &str, old_pid: u32) {
    wait_until(pipeline, "another worker", |pipeline| {
        let node = node(pipeline, name);
        node.pid.is_some_and(|pid| pid != old_pid)
            && !matches!(node.health, Health::Starting | Health::Failed)
    });
}
