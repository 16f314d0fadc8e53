//! The default pipeline, run frame by frame inside the test, closes its loop.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod in_process;

use in_process::{Payload, Pipeline};
use thalweg_kernels::{Produced, Registry};

const DEFAULT_PIPELINE: &str = include_str!("../../thalweg-cli/assets/default.yaml");

fn default_pipeline() -> Pipeline {
    let registry = Registry::builtin().with(thalweg_ao::DEFINITIONS);
    Pipeline::from_yaml(DEFAULT_PIPELINE, &registry)
}

fn run_frame(pipeline: &mut Pipeline, frame: u64) {
    let produced = pipeline.produce("telescope").unwrap();
    let frame_id = Some(frame);
    assert_eq!(produced, Produced::Frame { frame_id });
    pipeline.compute();
    let commands = &pipeline.streams["commands"];
    assert_eq!(commands.frame.unwrap().frame_id, frame);
}

#[test]
fn the_closed_loop_leaves_a_fraction_of_the_open_one() {
    const FRAMES: u64 = 2000;
    let mut pipeline = default_pipeline();
    let calibrated = pipeline.produce("calibration").unwrap();
    assert!(matches!(calibrated, Produced::Frame { .. }));
    let sums = |pipeline: &Pipeline| {
        [
            "frames",
            "open_loop_variance_rad2_sum",
            "residual_variance_rad2_sum",
        ]
        .map(|figure| pipeline.figure("telescope", figure))
    };
    let mut middle = [0.0; 3];
    for frame in 1..=FRAMES {
        run_frame(&mut pipeline, frame);
        if frame == FRAMES / 2 {
            middle = sums(&pipeline);
        }
    }
    let end = sums(&pipeline);
    let frames = end[0] - middle[0];
    assert_eq!(frames, (FRAMES / 2) as f64);
    let open_rad = ((end[1] - middle[1]) / frames).sqrt();
    let closed_rad = ((end[2] - middle[2]) / frames).sqrt();
    println!(
        "second half: open {open_rad:.3}, closed {closed_rad:.3} rad rms, ratio {:.3}",
        closed_rad / open_rad
    );
    assert!(open_rad > 3.0, "there is turbulence to correct: {open_rad}");
    assert!(closed_rad < 0.3 * open_rad, "{closed_rad} of {open_rad}");

    let commands = pipeline.streams["commands"].floats();
    let largest = commands.iter().fold(0.0f32, |most, um| most.max(um.abs()));
    assert!(
        largest < 2.9,
        "the mirror is not at its limit: {largest} um"
    );
}

#[test]
fn calibration_ends_after_one_publication_and_holds_the_telescope_back_until_then() {
    let mut pipeline = default_pipeline();
    let error = pipeline.produce("telescope").unwrap_err().to_string();
    assert!(error.contains("calibration_timeout_s"), "{error}");
    pipeline.produce("calibration").unwrap();
    assert_eq!(pipeline.produce("calibration").unwrap(), Produced::Finished);
    run_frame(&mut pipeline, 1);
}

#[test]
fn two_runs_are_identical_to_the_last_bit() {
    let run = || -> Vec<Payload> {
        let mut pipeline = default_pipeline();
        pipeline.produce("calibration").unwrap();
        (1..=20).for_each(|frame| run_frame(&mut pipeline, frame));
        pipeline
            .streams
            .into_values()
            .map(|stream| stream.payload)
            .collect()
    };
    assert!(run() == run());
}
