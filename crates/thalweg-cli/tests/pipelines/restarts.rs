//! Workers that end are started again as their configuration says.

use thalweg::kernels::files::RecordingReader;
use thalweg::pipeline::runtime::{EventKind, Health, Pipeline, PipelineState};

use super::support::{Scratch, kill, node, read_after, wait_for_successor, wait_until, write};

fn yaml(restart: &str) -> String {
    format!(
        "
shared_memory:
  - {{name: in, shape: [2], dtype: float32}}
  - {{name: out, shape: [2], dtype: float32}}
kernels:
  - {{name: scale, kind: cpu.scale, input: in, output: out, parameters: {{factor: 2}}{restart}}}
"
    )
}

#[test]
fn a_killed_worker_is_started_again_and_goes_on() {
    let scratch = Scratch::new();
    let mut pipeline = scratch.pipeline(&yaml(", restart: on-failure"));
    pipeline.build().unwrap();
    pipeline.start().unwrap();
    let (input, output) = (
        pipeline.stream("in").unwrap(),
        pipeline.stream("out").unwrap(),
    );
    for round in 1..=3u32 {
        let before = output.count();
        write(&input, &[round as f32, 1.0], None);
        assert_eq!(read_after(&output, before).0, [2.0 * round as f32, 2.0]);
        // Counters follow the publication.
        wait_until(&mut pipeline, "counted", |pipeline| {
            node(pipeline, "scale").frames == u64::from(round)
        });
        let pid = kill(&mut pipeline, "scale");
        wait_for_successor(&mut pipeline, "scale", pid);
        assert_eq!(pipeline.state(), PipelineState::Running);
        assert_eq!(node(&mut pipeline, "scale").restarts, round);
    }
    assert!(pipeline.failures().is_empty());
    let status = node(&mut pipeline, "scale");
    assert_eq!(
        status.last_error.as_deref(),
        Some("worker was killed by signal 9")
    );
    let restarting = pipeline.events_after(0).into_iter().filter(|event| {
        event.node == "scale" && matches!(event.kind, EventKind::Restarting { .. })
    });
    assert_eq!(restarting.count(), 3);
    pipeline.shutdown(true, false);
    assert_eq!(scratch.leftovers(), Vec::<String>::new());
}

#[test]
fn the_limit_of_attempts_ends_in_failure() {
    let scratch = Scratch::new();
    let restart = ", restart: {policy: on-failure, backoff_s: 0.01, limit: 2}";
    let mut pipeline = scratch.pipeline(&yaml(restart));
    pipeline.build().unwrap();
    pipeline.start().unwrap();
    for _ in 0..2 {
        let pid = kill(&mut pipeline, "scale");
        wait_for_successor(&mut pipeline, "scale", pid);
    }
    kill(&mut pipeline, "scale");
    wait_until(&mut pipeline, "failure", |pipeline| {
        pipeline.state() == PipelineState::Failed
    });
    let failure = &pipeline.failures()[0];
    assert_eq!(
        failure.to_string(),
        "worker 'scale' failed: worker was killed by signal 9"
    );
}

#[test]
fn without_a_policy_the_pipeline_fails_and_can_be_restarted() {
    let scratch = Scratch::new();
    let mut pipeline = scratch.pipeline(&yaml(""));
    pipeline.build().unwrap();
    pipeline.start().unwrap();
    kill(&mut pipeline, "scale");
    wait_until(&mut pipeline, "failure", |pipeline| {
        pipeline.state() == PipelineState::Failed
    });
    pipeline.restart().unwrap();
    assert_eq!(pipeline.state(), PipelineState::Running);
    assert!(pipeline.failures().is_empty());
    let (input, output) = (
        pipeline.stream("in").unwrap(),
        pipeline.stream("out").unwrap(),
    );
    write(&input, &[1.0, 2.0], None);
    assert_eq!(read_after(&output, 0).0, [2.0, 4.0]);
}

#[test]
fn a_failure_while_paused_is_restarted_into_a_pause() {
    let scratch = Scratch::new();
    let mut pipeline = scratch.pipeline(&yaml(""));
    pipeline.build().unwrap();
    pipeline.start().unwrap();
    pipeline.pause().unwrap();
    kill(&mut pipeline, "scale");
    wait_until(&mut pipeline, "failure", |pipeline| {
        pipeline.state() == PipelineState::Failed
    });
    pipeline.restart().unwrap();
    assert_eq!(pipeline.state(), PipelineState::Paused);
    assert_eq!(node(&mut pipeline, "scale").health, Health::Paused);
    pipeline.resume().unwrap();
    let (input, output) = (
        pipeline.stream("in").unwrap(),
        pipeline.stream("out").unwrap(),
    );
    write(&input, &[1.0, 2.0], None);
    assert_eq!(read_after(&output, 0).0, [2.0, 4.0]);
}

#[test]
fn a_source_that_is_started_again_needs_no_word() {
    let scratch = Scratch::new();
    let mut pipeline = scratch.pipeline(
        "
shared_memory:
  - {name: out, shape: [2], dtype: float32}
sources:
  - {name: ramp, kind: synthetic.array, stream: out, restart: on-failure,
     parameters: {pattern: ramp, rate_hz: 1000}}
",
    );
    pipeline.build().unwrap();
    pipeline.start().unwrap();
    let output = pipeline.stream("out").unwrap();
    read_after(&output, 0);
    let pid = kill(&mut pipeline, "ramp");
    wait_for_successor(&mut pipeline, "ramp", pid);
    let count = output.count();
    read_after(&output, count);
}

#[test]
fn stopping_ends_the_waiting_for_another_start() {
    let scratch = Scratch::new();
    let restart = ", restart: {policy: always, backoff_s: 3600, backoff_max_s: 3600}";
    let mut pipeline = scratch.pipeline(&yaml(restart));
    pipeline.build().unwrap();
    pipeline.start().unwrap();
    kill(&mut pipeline, "scale");
    wait_until(&mut pipeline, "waiting", |pipeline| {
        node(pipeline, "scale").last_error.is_some()
    });
    assert_eq!(pipeline.state(), PipelineState::Running);
    assert_eq!(node(&mut pipeline, "scale").health, Health::Starting);
    pipeline.stop(super::support::WATCHDOG).unwrap();
    assert_eq!(node(&mut pipeline, "scale").health, Health::Stopped);
    pipeline.start().unwrap();
}

#[test]
fn a_recording_goes_on_when_its_sink_is_started_again() {
    for parameters in ["overwrite: true", "overwrite: false"] {
        let scratch = Scratch::new();
        let files = tempfile::tempdir().unwrap();
        let path = files.path().join("frames.npy");
        let mut pipeline = scratch.pipeline(&format!(
            "
shared_memory:
  - {{name: in, shape: [2], dtype: float32}}
sinks:
  - {{name: keep, kind: file.sink, stream: in, parameters: {{path: {}, {parameters}}}, restart: {{policy: on-failure, limit: 1}}}}
",
            path.display()
        ));
        pipeline.build().unwrap();
        pipeline.start().unwrap();
        let input = pipeline.stream("in").unwrap();
        let record = |pipeline: &mut Pipeline, frame: u64| {
            write(&input, &[frame as f32, 1.0], None);
            wait_until(pipeline, "recorded", |pipeline| {
                node(pipeline, "keep").input_count == frame
            });
        };
        record(&mut pipeline, 1);
        // By its policy, then, that being used up, on request.
        let pid = kill(&mut pipeline, "keep");
        wait_for_successor(&mut pipeline, "keep", pid);
        record(&mut pipeline, 2);
        kill(&mut pipeline, "keep");
        wait_until(&mut pipeline, "failure", |pipeline| {
            pipeline.state() == PipelineState::Failed
        });
        pipeline.restart().unwrap();
        record(&mut pipeline, 3);
        pipeline.stop(super::support::WATCHDOG).unwrap();
        let mut reader = RecordingReader::open(&path).unwrap();
        assert_eq!(reader.frames(), 3, "{parameters}");
        for frame in 0..3 {
            let found = reader.read(frame).unwrap().to_vec::<f32>().unwrap();
            assert_eq!(found, [frame as f32 + 1.0, 1.0]);
        }
    }
}
