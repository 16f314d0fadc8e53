//! What no single frame shows: the state, the order of the limits, every level and any threads.

use proptest::prelude::*;
use serde_json::json;
use thalweg_shm::{ArrayRef, DType};

use super::*;
use crate::registry::{NodeRole, Registry};
use crate::testing::{SpecBuilder, compute, spec};

const ROWS: usize = 4;
const SLOPES: usize = 8 * 2;

/// A controller of one tile per sensor in cube form.
fn one_tile(actuators: usize) -> SpecBuilder {
    spec("cpu.tomographic_controller")
        .input(DType::Uint16, &[8, ROWS, ROWS])
        .output(DType::Float32, &[actuators])
        .auxiliary("wfs_dark", DType::Float32, &[8, ROWS, ROWS])
        .auxiliary("wfs_inverse_flat", DType::Float32, &[8, ROWS, ROWS])
        .auxiliary("wfs_slope_offset", DType::Float32, &[8, 1, 1, 2])
        .auxiliary("reconstructor", DType::Float32, &[actuators, SLOPES])
        .auxiliary("reconstructor_bias", DType::Float32, &[actuators])
        .auxiliary("command_offset", DType::Float32, &[actuators])
        .auxiliary("command_low", DType::Float32, &[actuators])
        .auxiliary("command_high", DType::Float32, &[actuators])
}

/// Commands of three frames, with light in the corner (row 3, column 0) of every tile of the first
/// sensor and nowhere else: slopes (1.5, -1.5, 0, 0, ...).
fn three_frames(controller: &NodeSpec, bias: f32, offset: f32, limits: [f32; 2]) -> Vec<f32> {
    let mut kernel = build(controller, SimdLevel::best()).unwrap();
    let mut image = vec![0u16; 8 * ROWS * ROWS];
    image[3 * ROWS] = 700;
    let (dark, flat) = ([0f32; 8 * ROWS * ROWS], [1f32; 8 * ROWS * ROWS]);
    let offsets = [0f32; SLOPES];
    let mut matrix = [0f32; SLOPES];
    matrix[0] = 2.0;
    matrix[1] = -4.0;
    let planes = [8, ROWS, ROWS];
    let one = |number: f32| [number];
    let (bias, offset) = (one(bias), one(offset));
    let (low, high) = (one(limits[0]), one(limits[1]));
    let auxiliary = [
        ArrayRef::from_slice(&dark, &planes),
        ArrayRef::from_slice(&flat, &planes),
        ArrayRef::from_slice(&offsets, &[8, 1, 1, 2]),
        ArrayRef::from_slice(&matrix, &[1, SLOPES]),
        ArrayRef::from_slice(&bias, &[1]),
        ArrayRef::from_slice(&offset, &[1]),
        ArrayRef::from_slice(&low, &[1]),
        ArrayRef::from_slice(&high, &[1]),
    ];
    let output = [ArraySpec {
        dtype: DType::Float32,
        shape: vec![1],
    }];
    (0..3)
        .map(|_frame| {
            let images = [ArrayRef::from_slice(&image, &planes)];
            let outputs = compute(&mut *kernel, &images, &auxiliary, &output).unwrap();
            outputs[0].to_vec::<f32>().unwrap()[0]
        })
        .collect()
}

#[test]
fn the_state_leaks_and_limits_do_not_reach_it() {
    let controller = one_tile(1)
        .parameter("leak", json!(0.5))
        .parameter("control_gain", json!(0.25))
        .parameter("command_gain", json!(2))
        .build();
    // r = 2 * 1.5 + 4 * 1.5 + 1 = 10; u = 2.5, 3.75, 4.375; y = 2 u - 1.
    let free = three_frames(&controller, 1.0, 1.0, [-100.0, 100.0]);
    assert_eq!(free, [4.0, 6.5, 7.75]);
    let limited = three_frames(&controller, 1.0, 1.0, [-100.0, 7.0]);
    assert_eq!(limited, [4.0, 6.5, 7.0]);
    // Where the limits are the wrong way round, the upper one comes last.
    let crossed = three_frames(&controller, 1.0, 1.0, [6.0, 5.0]);
    assert_eq!(crossed, [5.0, 5.0, 5.0]);
    let not_a_number = three_frames(&controller, f32::NAN, 0.0, [-1.0, 1.0]);
    assert!(not_a_number.iter().all(|command| command.is_nan()));
}

#[test]
fn streams_nobody_wrote_yet_give_commands_of_zero() {
    let mut kernel = build(&one_tile(3).build(), SimdLevel::best()).unwrap();
    let image = [1u16; 8 * ROWS * ROWS];
    let zeros = [0f32; 3 * SLOPES + 8 * ROWS * ROWS];
    let planes = [8, ROWS, ROWS];
    let shapes: [&[usize]; 8] = [
        &planes,
        &planes,
        &[8, 1, 1, 2],
        &[3, SLOPES],
        &[3],
        &[3],
        &[3],
        &[3],
    ];
    let auxiliary = shapes.map(|shape| {
        let count = shape.iter().product();
        ArrayRef::from_slice(&zeros[..count], shape)
    });
    let output = [ArraySpec {
        dtype: DType::Float32,
        shape: vec![3],
    }];
    let images = [ArrayRef::from_slice(&image, &planes)];
    let outputs = compute(&mut *kernel, &images, &auxiliary, &output).unwrap();
    assert_eq!(outputs[0].to_vec::<f32>().unwrap(), [0.0; 3]);
    // Other arrays than those it was built for are an error and not read.
    let wrong = [ArrayRef::from_slice(&image[..ROWS], &[ROWS])];
    assert!(compute(&mut *kernel, &wrong, &auxiliary, &output).is_err());
    assert!(compute(&mut *kernel, &images, &auxiliary[1..], &output).is_err());
}

#[test]
fn any_new_is_refused_for_one_input_as_well() {
    let mut controller = one_tile(1).build();
    controller.any_trigger = true;
    let problems = build(&controller, SimdLevel::best()).err().unwrap();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].path, "trigger_policy");
    assert!(problems[0].message.contains("all_new"), "{problems:?}");
}

#[test]
fn everything_wrong_is_told_at_once() {
    let controller = spec("cpu.tomographic_controller")
        .input(DType::Float32, &[8, 6, 6])
        .output(DType::Int32, &[2])
        .parameter("tile_size", json!(4))
        .parameter("leak", json!("half"))
        .parameter("blas_threads", json!(0))
        .build();
    let problems = build(&controller, SimdLevel::best()).err().unwrap();
    let paths: Vec<_> = problems.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "auxiliary",
            "input",
            "parameters.leak",
            "parameters.blas_threads"
        ]
    );
    assert!(
        problems[0]
            .message
            .contains("reconstructor_bias, command_offset")
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every level gives the same commands but for rounding.
    #[test]
    fn levels_agree(
        pixels in prop::collection::vec(0u16..1000, 8 * ROWS * ROWS),
        matrix in prop::collection::vec(-1f32..1.0, 5 * SLOPES),
    ) {
        let definition = *Registry::builtin()
            .get(NodeRole::Kernel, "cpu.tomographic_controller")
            .unwrap();
        let controller = one_tile(5).build();
        let inferred = definition.infer_outputs(&controller).unwrap();
        prop_assert_eq!(inferred[0].shape.as_slice(), [5]);
        let planes = [8, ROWS, ROWS];
        let (dark, flat) = ([3f32; 8 * ROWS * ROWS], [1.25f32; 8 * ROWS * ROWS]);
        let (offsets, five) = ([0.1f32; SLOPES], [0.5f32; 5]);
        let (low, high) = ([-1e3f32; 5], [1e3f32; 5]);
        let auxiliary = [
            ArrayRef::from_slice(&dark, &planes),
            ArrayRef::from_slice(&flat, &planes),
            ArrayRef::from_slice(&offsets, &[8, 1, 1, 2]),
            ArrayRef::from_slice(&matrix, &[5, SLOPES]),
            ArrayRef::from_slice(&five, &[5]),
            ArrayRef::from_slice(&five, &[5]),
            ArrayRef::from_slice(&low, &[5]),
            ArrayRef::from_slice(&high, &[5]),
        ];
        let output = [ArraySpec { dtype: DType::Float32, shape: vec![5] }];
        let images = [ArrayRef::from_slice(&pixels, &planes)];
        let mut results = Vec::new();
        for level in SimdLevel::available() {
            let mut kernel = build(&controller, level).unwrap();
            let outputs = compute(&mut *kernel, &images, &auxiliary, &output).unwrap();
            results.push(outputs[0].to_vec::<f32>().unwrap());
        }
        for result in &results {
            for (a, b) in result.iter().zip(&results[0]) {
                prop_assert!((a - b).abs() <= 1e-4, "{:?}", results);
            }
        }
    }
}
