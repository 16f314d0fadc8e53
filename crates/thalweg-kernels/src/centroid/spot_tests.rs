//! Spots and what centres them, on images made by hand.

use serde_json::json;
use thalweg_shm::{ArrayRef, DType, Element};

use crate::node::{Kernel, NodeSpec};
use crate::registry::{ArraySpec, NodeBuilder, NodeRole, Registry};
use crate::testing::{compute, spec};

fn kernel(spec: &NodeSpec) -> Box<dyn Kernel> {
    match Registry::builtin()
        .get(NodeRole::Kernel, &spec.kind)
        .unwrap()
        .builder
    {
        NodeBuilder::Kernel(build) => build(spec).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn pair<T: Element>(kernel: &mut dyn Kernel, image: &[T], columns: usize) -> Vec<T> {
    let shape = [image.len() / columns, columns];
    let output = [ArraySpec {
        dtype: T::DTYPE,
        shape: vec![2],
    }];
    let images = [ArrayRef::from_slice(image, &shape)];
    let outputs = compute(kernel, &images, &[], &output).unwrap();
    outputs[0].to_vec().unwrap()
}

#[test]
fn two_pixels_share_by_their_weight() {
    let spec = spec("cpu.spot_centroid")
        .input(DType::Float64, &[3, 3])
        .output(DType::Float64, &[2])
        .parameter("background", json!(1))
        .parameter("threshold", json!(0.5))
        .parameter("weight_power", json!(2))
        .build();
    let mut kernel = kernel(&spec);
    // Without background 1 and 2, squared 1 and 4; 1.5 is not above the threshold.
    let image = [2.0f64, 1.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 3.0];
    let found = pair(&mut *kernel, &image, 3);
    assert!(
        (found[0] - 0.6).abs() < 1e-15 && (found[1] - 0.6).abs() < 1e-15,
        "{found:?}"
    );
}

#[test]
fn every_column_counts_whatever_the_width() {
    for columns in 1..40 {
        let spec = spec("cpu.spot_centroid")
            .input(DType::Float32, &[2, columns])
            .output(DType::Float32, &[2])
            .build();
        let mut kernel = kernel(&spec);
        for column in 0..columns {
            let mut image = vec![0f32; 2 * columns];
            image[columns + column] = 3.0;
            let expected = [0.5, column as f32 - (columns as f32 - 1.0) / 2.0];
            assert_eq!(pair(&mut *kernel, &image, columns), expected);
        }
    }
}

#[test]
fn integers_are_cut_off_and_told_so() {
    let spec = spec("cpu.spot_centroid")
        .input(DType::Int16, &[1, 4])
        .output(DType::Int16, &[2])
        .build();
    let mut built = kernel(&spec);
    assert_eq!(pair(&mut *built, &[9i16, 0, 0, 0], 4), [0, -1]);
    let definition = *Registry::builtin()
        .get(NodeRole::Kernel, &spec.kind)
        .unwrap();
    let warnings = definition.warnings(&spec);
    assert_eq!(warnings[0].path, "output");
    assert!(warnings[0].message.contains("cut off"), "{warnings:?}");
}

#[test]
fn a_tip_tilt_controller_integrates_what_it_sees() {
    let spec = spec("cpu.tip_tilt_controller")
        .input(DType::Float32, &[2, 2])
        .auxiliary("a", DType::Float32, &[2, 2])
        .auxiliary("b", DType::Float32, &[2])
        .output(DType::Float32, &[2])
        .parameter("leak", json!(0.5))
        .parameter("control_gain", json!(4))
        .build();
    let mut kernel = kernel(&spec);
    let (matrix, bias) = ([0f32, 1.0, 10.0, 0.0], [100f32, 0.0]);
    let auxiliary = [
        ArrayRef::from_slice(&matrix, &[2, 2]),
        ArrayRef::from_slice(&bias, &[2]),
    ];
    let output = [ArraySpec {
        dtype: DType::Float32,
        shape: vec![2],
    }];
    let mut commands = |image: [f32; 4]| {
        let images = [ArrayRef::from_slice(&image, &[2, 2])];
        let outputs = compute(&mut *kernel, &images, &auxiliary, &output).unwrap();
        outputs[0].to_vec::<f32>().unwrap()
    };
    // Centroid (0.5, -0.5), state (2, -2).
    assert_eq!(commands([0.0, 0.0, 1.0, 0.0]), [98.0, 20.0]);
    // State (3, -3), then without light it leaks.
    assert_eq!(commands([0.0, 0.0, 7.0, 0.0]), [97.0, 30.0]);
    assert_eq!(commands([0.0; 4]), [98.5, 15.0]);
}
