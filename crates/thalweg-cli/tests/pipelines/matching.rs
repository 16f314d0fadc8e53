//! Kernels whose triggers have to be of one frame.

use thalweg::pipeline::runtime::Pipeline;

use super::support::{Scratch, node, read_after, wait_until, write};

fn yaml(synchronization: &str) -> String {
    format!(
        "
shared_memory:
  - {{name: left, shape: [2], dtype: float32}}
  - {{name: right, shape: [2], dtype: float32}}
  - {{name: out, shape: [4], dtype: float32}}
kernels:
  - name: join
    kind: cpu.concatenate
    inputs: [left, right]
    output: out
    propagate_frame_id: true
    {synchronization}
"
    )
}

fn running(scratch: &Scratch, synchronization: &str) -> Pipeline {
    let mut pipeline = scratch.pipeline(&yaml(synchronization));
    pipeline.build().unwrap();
    pipeline.start().unwrap();
    pipeline
}

fn put(pipeline: &Pipeline, stream: &str, frame_id: u64) {
    let value = frame_id as f32;
    write(
        &pipeline.stream(stream).unwrap(),
        &[value, value],
        Some(frame_id),
    );
}

#[test]
fn frames_wait_for_their_partners() {
    let scratch = Scratch::new();
    let mut pipeline = running(&scratch, "synchronization: {mode: matching_frame_id}");
    let out = pipeline.stream("out").unwrap();
    put(&pipeline, "left", 1);
    put(&pipeline, "right", 1);
    assert_eq!(read_after(&out, 0), (vec![1.0; 4], 1));
    // The right one is late, and the left one has gone on meanwhile: its slot still holds frame 2.
    for frame_id in [2, 3] {
        put(&pipeline, "left", frame_id);
    }
    put(&pipeline, "right", 2);
    assert_eq!(read_after(&out, 1), (vec![2.0; 4], 2));
    put(&pipeline, "right", 3);
    assert_eq!(read_after(&out, 2), (vec![3.0; 4], 3));
    assert_eq!(node(&mut pipeline, "join").skew_timeouts, 0);
}

#[test]
fn frames_without_partners_are_given_up_and_counted() {
    let scratch = Scratch::new();
    let mut pipeline = running(&scratch, "synchronization: {mode: matching_frame_id}");
    let out = pipeline.stream("out").unwrap();
    put(&pipeline, "left", 1);
    put(&pipeline, "right", 2);
    wait_until(&mut pipeline, "given up", |pipeline| {
        node(pipeline, "join").skew_skipped == 1
    });
    put(&pipeline, "left", 2);
    assert_eq!(read_after(&out, 0), (vec![2.0; 4], 2));
    let join = node(&mut pipeline, "join");
    assert_eq!((join.skew_events, join.skew_timeouts), (1, 0));
}

#[test]
fn too_far_apart_is_given_up() {
    let scratch = Scratch::new();
    let synchronization = "synchronization: {mode: matching_frame_id, max_skew_generations: 3}";
    let mut pipeline = running(&scratch, synchronization);
    let out = pipeline.stream("out").unwrap();
    put(&pipeline, "left", 1);
    put(&pipeline, "right", 9);
    wait_until(&mut pipeline, "given up", |pipeline| {
        node(pipeline, "join").skew_timeouts == 1
    });
    put(&pipeline, "left", 10);
    put(&pipeline, "right", 10);
    assert_eq!(read_after(&out, 0), (vec![10.0; 4], 10));
}

#[test]
fn a_partner_that_never_comes_is_not_waited_for_longer_than_said() {
    let scratch = Scratch::new();
    let synchronization = "synchronization: {mode: matching_frame_id, max_wait_s: 0.05}";
    let mut pipeline = running(&scratch, synchronization);
    for count in 1..=3 {
        put(&pipeline, "left", count);
        // Nothing else is ever published: the time alone has to do it.
        wait_until(&mut pipeline, "given up", |pipeline| {
            node(pipeline, "join").skew_timeouts == count
        });
    }
    assert_eq!(node(&mut pipeline, "join").frames, 0);
}
