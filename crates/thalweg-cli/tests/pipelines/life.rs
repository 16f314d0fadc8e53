//! The life of a pipeline, from build to shutdown.

use std::path::Path;
use std::time::{Duration, Instant};

use thalweg::pipeline::config::PipelineConfig;
use thalweg::pipeline::runtime::{
    Health, Pipeline, PipelineError, PipelineState, RunOptions, StreamsError, WorkerProgram,
};

use super::support::{Scratch, TWO_STAGES, read_after, write};

#[test]
fn frames_go_through_every_stage_with_their_ids_and_origins() {
    let scratch = Scratch::new();
    let mut pipeline = scratch.pipeline(TWO_STAGES);
    assert_eq!(pipeline.state(), PipelineState::Initialized);
    pipeline.build().unwrap();
    pipeline.start().unwrap();
    let raw = pipeline.stream("raw").unwrap();
    let shifted = pipeline.stream("shifted").unwrap();
    for frame in 1..=500u16 {
        let value = f32::from(frame);
        let before = shifted.count();
        write(&raw, &[value; 4], Some(u64::from(frame)));
        let (elements, frame_id) = read_after(&shifted, before);
        assert_eq!(elements, [2.0 * value + 1.0; 4]);
        assert_eq!(frame_id, u64::from(frame));
        assert_eq!(shifted.newest().origin_ns, raw.newest().origin_ns);
    }
    // A worker counts its frame after publishing it: ending it makes the count final.
    pipeline.stop(Duration::from_secs(60)).unwrap();
    assert_eq!(pipeline.state(), PipelineState::Built);
    let status = pipeline.status();
    assert_eq!(status.completed_frames(), 500);
    assert!(status.nodes.iter().all(|node| node.missed == 0));
    assert_eq!(status.nodes[1].latency.count, 500);
    assert!(pipeline.failures().is_empty());
    pipeline.shutdown(true, false);
    assert_eq!(scratch.leftovers(), Vec::<String>::new());
}

#[test]
fn a_pipeline_starts_again_with_fresh_workers() {
    let scratch = Scratch::new();
    let mut pipeline = scratch.pipeline(TWO_STAGES);
    pipeline.build().unwrap();
    let raw = pipeline.stream("raw").unwrap();
    let shifted = pipeline.stream("shifted").unwrap();
    for _ in 0..3 {
        pipeline.start().unwrap();
        let before = shifted.count();
        write(&raw, &[1.0; 4], None);
        assert_eq!(read_after(&shifted, before).0, [3.0; 4]);
        pipeline.stop(Duration::from_secs(60)).unwrap();
    }
}

#[test]
fn pausing_holds_frames_and_resuming_takes_the_newest() {
    let scratch = Scratch::new();
    let mut pipeline = scratch.pipeline(TWO_STAGES);
    pipeline.build().unwrap();
    pipeline.start().unwrap();
    let raw = pipeline.stream("raw").unwrap();
    let shifted = pipeline.stream("shifted").unwrap();
    write(&raw, &[1.0; 4], None);
    read_after(&shifted, 0);
    pipeline.pause().unwrap();
    let health: Vec<Health> = pipeline
        .status()
        .nodes
        .iter()
        .map(|node| node.health)
        .collect();
    assert_eq!(health, [Health::Paused; 2]);
    write(&raw, &[5.0; 4], None);
    pipeline.resume().unwrap();
    assert_eq!(read_after(&shifted, 1).0, [11.0; 4]);
}

#[test]
fn actions_out_of_turn_are_refused_and_change_nothing() {
    let scratch = Scratch::new();
    let mut pipeline = scratch.pipeline(TWO_STAGES);
    let refused = pipeline.start().unwrap_err().to_string();
    assert!(refused.contains("BUILT") && refused.contains("initialized"));
    pipeline.build().unwrap();
    assert!(matches!(pipeline.build(), Err(PipelineError::State { .. })));
    assert!(matches!(pipeline.pause(), Err(PipelineError::State { .. })));
    pipeline.stop(Duration::ZERO).unwrap();
    pipeline.shutdown(true, false);
    pipeline.shutdown(true, false);
    assert_eq!(pipeline.state(), PipelineState::Stopped);
    assert_eq!(scratch.leftovers(), Vec::<String>::new());
}

#[test]
fn a_killed_worker_fails_the_pipeline_and_leaves_its_neighbours_alone() {
    let scratch = Scratch::new();
    let mut pipeline = scratch.pipeline(TWO_STAGES);
    pipeline.build().unwrap();
    pipeline.start().unwrap();
    let victim = pipeline.status().nodes[1].pid.unwrap();
    let killed = std::process::Command::new("kill")
        .args(["-9", &victim.to_string()])
        .status();
    assert!(killed.unwrap().success());
    let deadline = Instant::now() + Duration::from_secs(60);
    while pipeline.state() != PipelineState::Failed {
        assert!(Instant::now() < deadline, "the death was not noticed");
        pipeline.wait_for_change(Duration::from_millis(100));
    }
    assert!(pipeline.failures()[0].error.contains("signal 9"));
    write(&pipeline.stream("raw").unwrap(), &[4.0; 4], None);
    assert_eq!(
        read_after(&pipeline.stream("doubled").unwrap(), 0).0,
        [8.0; 4]
    );
    pipeline.shutdown(true, false);
    assert_eq!(scratch.leftovers(), Vec::<String>::new());
}

#[test]
fn streams_of_a_live_run_are_refused_naming_its_process() {
    let scratch = Scratch::new();
    let mut first = scratch.pipeline(TWO_STAGES);
    first.build().unwrap();
    let mut second = scratch.pipeline(TWO_STAGES);
    let Err(PipelineError::Streams(StreamsError::InUse { pid, .. })) = second.build() else {
        panic!("built over a live run");
    };
    assert_eq!(pid, std::process::id());
    first.shutdown(true, false);
    second.build().unwrap();
}

#[test]
fn a_failed_build_leaves_nothing() {
    let scratch = Scratch::new();
    let text = TWO_STAGES.replace("{name: shifted,", "{name: shifted, mode: attach,");
    let mut pipeline = scratch.pipeline(&text);
    let error = pipeline.build().unwrap_err().to_string();
    assert!(error.contains("shifted") && error.contains("does not exist"));
    assert_eq!(pipeline.state(), PipelineState::Initialized);
    assert_eq!(scratch.leftovers(), Vec::<String>::new());
}

#[test]
fn a_worker_program_that_does_not_exist_is_named() {
    let scratch = Scratch::new();
    let config = PipelineConfig::from_yaml_str(TWO_STAGES, Path::new("test.yaml")).unwrap();
    let options = RunOptions {
        worker_program: WorkerProgram::new("/nowhere/thalweg"),
        ..scratch.options()
    };
    let mut pipeline = Pipeline::new(config, &thalweg::registry(), options).unwrap();
    pipeline.build().unwrap();
    let error = pipeline.start().unwrap_err().to_string();
    assert!(error.contains("/nowhere/thalweg"));
    assert_eq!(pipeline.state(), PipelineState::Built);
}
