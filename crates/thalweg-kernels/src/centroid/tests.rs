//! Centroids on every instruction set against plain loops in double precision.

use half::f16;
use proptest::prelude::*;
use serde_json::json;
use thalweg_shm::{ArrayMut, ArrayRef, DType, Element};

use super::build;
use crate::matrix_vector::SimdLevel;
use crate::node::{FrameInputs, NodeSpec};
use crate::registry::{NodeRole, Registry};
use crate::simd::number::Number;
use crate::testing::{SpecBuilder, spec};

/// The definition, word by word.
fn reference<T: Number>(image: &[T], columns: usize, tile_size: usize) -> Vec<f64> {
    let centre = (tile_size as f64 - 1.0) / 2.0;
    let rows = image.len() / columns;
    let mut centroids = Vec::new();
    for tile_row in 0..rows / tile_size {
        for tile_column in 0..columns / tile_size {
            let (mut flux, mut row_sum, mut column_sum) = (0.0, 0.0, 0.0);
            for row in 0..tile_size {
                for column in 0..tile_size {
                    let index =
                        (tile_row * tile_size + row) * columns + tile_column * tile_size + column;
                    let pixel = image[index].to_f64();
                    flux += pixel;
                    row_sum += pixel * row as f64;
                    column_sum += pixel * column as f64;
                }
            }
            if flux <= 0.0 {
                centroids.extend([0.0, 0.0]);
            } else {
                centroids.extend([row_sum / flux - centre, column_sum / flux - centre]);
            }
        }
    }
    centroids
}

fn image_spec(
    dtype: DType,
    tile_rows: usize,
    tile_columns: usize,
    tile_size: usize,
) -> SpecBuilder {
    spec("cpu.shack_hartmann_centroid")
        .input(dtype, &[tile_rows * tile_size, tile_columns * tile_size])
        .output(dtype, &[tile_rows, tile_columns, 2])
        .parameter("tile_size", json!(tile_size))
}

/// The centroids of an image that does not start on a cache line, on `level`.
fn centroids<T: Element>(
    level: SimdLevel,
    image: &[T],
    tile_columns: usize,
    tile_size: usize,
) -> Vec<T> {
    let columns = tile_columns * tile_size;
    let rows = image.len() / columns;
    let tile_rows = rows / tile_size;
    let specification = image_spec(T::DTYPE, tile_rows, tile_columns, tile_size).build();
    let mut kernel = build(&specification, level).unwrap();
    let shifted = [&[T::default()], image].concat();
    let (image_shape, shape) = ([rows, columns], [tile_rows, tile_columns, 2]);
    let mut out = vec![T::default(); tile_rows * tile_columns * 2];
    let inputs = FrameInputs {
        triggers: &[ArrayRef::from_slice(&shifted[1..], &image_shape)],
        auxiliary: &[],
        frame_id: 1,
    };
    kernel
        .compute(&inputs, &mut [ArrayMut::from_slice(&mut out, &shape)])
        .unwrap();
    out
}

/// Tile rows, tile columns and tile size, around block and register sizes.
fn geometry() -> impl Strategy<Value = (usize, usize, usize)> {
    let size = prop_oneof![1usize..20, Just(4), Just(8), Just(16)];
    (1usize..4, 1usize..20, size)
}

fn image<T: std::fmt::Debug + Clone>(
    pixel: impl Strategy<Value = T> + Clone,
) -> impl Strategy<Value = (Vec<T>, usize, usize)> {
    geometry().prop_flat_map(move |(tile_rows, tile_columns, tile_size)| {
        let pixels = tile_rows * tile_columns * tile_size * tile_size;
        let image = prop::collection::vec(pixel.clone(), pixels);
        (image, Just(tile_columns), Just(tile_size))
    })
}

/// What the order of summation may change: a few roundings of the largest term, over the flux.
fn bounds<T: Number>(image: &[T], columns: usize, tile_size: usize) -> Vec<f64> {
    let magnitudes: Vec<f64> = image.iter().map(|pixel| pixel.to_f64().abs()).collect();
    let total = |values: &[f64], corner: usize| -> f64 {
        (0..tile_size)
            .flat_map(|row| &values[corner + row * columns..][..tile_size])
            .sum()
    };
    let signed: Vec<f64> = image.iter().map(|pixel| pixel.to_f64()).collect();
    let rows = image.len() / columns;
    (0..rows / tile_size)
        .flat_map(|row| (0..columns / tile_size).map(move |column| (row, column)))
        .map(|(row, column)| {
            let corner = row * tile_size * columns + column * tile_size;
            let (magnitude, flux) = (total(&magnitudes, corner), total(&signed, corner));
            let cancelled = magnitude / flux.abs();
            let roundings = (tile_size * tile_size + 10) as f64 * f64::EPSILON;
            roundings * cancelled * (1.0 + cancelled) * tile_size as f64
        })
        .collect()
}

fn check<T: Number + Element>(
    image: &[T],
    tile_columns: usize,
    tile_size: usize,
    unit: f64,
) -> Result<(), TestCaseError> {
    let columns = tile_columns * tile_size;
    let expected = reference(image, columns, tile_size);
    let bounds = bounds(image, columns, tile_size);
    for level in SimdLevel::available() {
        let found = centroids(level, image, tile_columns, tile_size);
        for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let bound = bounds[index / 2];
            // Rounding may move a flux of practically nothing across zero.
            if bound.is_nan() || bound > 1e-3 {
                continue;
            }
            let error = (found.to_f64() - expected).abs();
            let bound = bound + unit * (1.0 + expected.abs());
            prop_assert!(
                error <= bound,
                "{level} [{index}]: {} instead of {expected}",
                found.to_f64()
            );
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn float32_images_of_any_flux((image, tile_columns, tile_size) in image(0.0f32..1.0), exponent in -120i32..120) {
        // Far below the 1e-5 that users rely on, at a flux of 1e-36 as at one of 1e36.
        let scaled: Vec<f32> = image.iter().map(|pixel| pixel * 2f32.powi(exponent)).collect();
        check(&scaled, tile_columns, tile_size, 1e-6)?;
    }

    #[test]
    fn float32_images_with_noise_below_zero((image, tile_columns, tile_size) in image(-0.5f32..1.0)) {
        check(&image, tile_columns, tile_size, 1e-6)?;
    }

    #[test]
    fn float64_images((image, tile_columns, tile_size) in image(-1e-3f64..1.0)) {
        check(&image, tile_columns, tile_size, 1e-14)?;
    }

    #[test]
    fn float16_images((image, tile_columns, tile_size) in image(0u16..0x5000)) {
        let image: Vec<f16> = image.into_iter().map(f16::from_bits).collect();
        check(&image, tile_columns, tile_size, 1e-3)?;
    }

    #[test]
    fn integer_images_truncate((image, tile_columns, tile_size) in image(0u16..4096)) {
        fn check<T: Number + Element>(image: &[u16], tile_columns: usize, tile_size: usize)
        -> Result<(), TestCaseError> {
            let image: Vec<T> = image.iter().map(|&pixel| T::from_f64(pixel.into())).collect();
            let expected = reference(&image, tile_columns * tile_size, tile_size);
            for level in SimdLevel::available() {
                let found = centroids(level, &image, tile_columns, tile_size);
                for (found, expected) in found.iter().zip(&expected) {
                    // The sums of integers are exact, the quotients off by a rounding: next to a
                    // whole number both truncations are right.
                    let whole = (expected - expected.round()).abs() < 1e-9;
                    let truncated = T::from_f64(*expected).to_f64();
                    let other = T::from_f64(expected.round()).to_f64();
                    let inner = T::from_f64(expected.round() - expected.signum()).to_f64();
                    let found = found.to_f64();
                    prop_assert!(
                        found == truncated || whole && (found == other || found == inner),
                        "{level}: {found}, expected {expected}"
                    );
                }
            }
            Ok(())
        }
        check::<u16>(&image, tile_columns, tile_size)?;
        check::<i16>(&image, tile_columns, tile_size)?;
        check::<i32>(&image, tile_columns, tile_size)?;
        check::<u32>(&image, tile_columns, tile_size)?;
        check::<i64>(&image, tile_columns, tile_size)?;
        check::<u64>(&image, tile_columns, tile_size)?;
        check::<u8>(&image, tile_columns, tile_size)?;
    }
}

#[test]
fn one_bright_pixel_is_where_it_is() {
    let (tile_columns, tile_size) = (9, 8);
    let columns = tile_columns * tile_size;
    for level in SimdLevel::available() {
        let mut image = vec![0.0f32; columns * tile_size * 2];
        for tile in 0..tile_columns {
            image[(tile % tile_size) * columns + tile * tile_size + 5] = 7.0;
        }
        let found = centroids(level, &image, tile_columns, tile_size);
        for tile in 0..tile_columns {
            let row = (tile % tile_size) as f32 - 3.5;
            assert_eq!(found[tile * 2..][..2], [row, 1.5], "{level}");
        }
        // No light in the second row of tiles.
        assert!(
            found[tile_columns * 2..]
                .iter()
                .all(|&centroid| centroid == 0.0)
        );
    }
}

#[test]
fn dark_negative_and_undefined_tiles_keep_to_themselves() {
    for tile_size in [3, 4, 8, 11] {
        let tile_columns = 10;
        let columns = tile_columns * tile_size;
        let mut image = vec![1.0f32; columns * tile_size];
        let mut fill = |tile: usize, pixel: f32| {
            for row in 0..tile_size {
                image[row * columns + tile * tile_size..][..tile_size].fill(pixel);
            }
        };
        fill(1, 0.0);
        fill(3, -2.0);
        fill(8, f32::NEG_INFINITY);
        image[5 * tile_size] = f32::NAN;
        image[7 * tile_size] = f32::INFINITY;
        for level in SimdLevel::available() {
            let found = centroids(level, &image, tile_columns, tile_size);
            for (tile, centroid) in found.chunks(2).enumerate() {
                if tile == 5 || tile == 7 {
                    assert!(
                        centroid[0].is_nan() && centroid[1].is_nan(),
                        "{level} {tile}"
                    );
                } else {
                    assert_eq!(centroid, [0.0, 0.0], "{level} {tile}");
                }
            }
        }
    }
}

#[test]
fn what_cancels_is_exact() {
    // In single precision the flux of this tile, 1, would drown in the roundings of 1e8.
    let mut image = [0.0f32; 64];
    (image[0], image[1], image[2]) = (1e8, -1e8, 1.0);
    for level in SimdLevel::available() {
        let found = centroids(level, &image, 1, 8);
        assert_eq!(found, [-3.5, 2.0 - 1e8 - 3.5], "{level}");
    }
}

fn problems(specification: &NodeSpec) -> Vec<(String, String)> {
    build(specification, SimdLevel::Portable)
        .err()
        .unwrap()
        .into_iter()
        .map(|problem| (problem.path, problem.message))
        .collect()
}

#[test]
fn wrong_specifications_are_named() {
    let missing = spec("cpu.centroid")
        .input(DType::Float32, &[8, 8])
        .output(DType::Float32, &[1, 1, 2]);
    assert!(
        problems(&missing.build())[0]
            .1
            .contains("'tile_size', which is missing")
    );
    for value in [json!(0), json!(-8), json!(8.0), json!(true), json!("8")] {
        let wrong = spec("cpu.centroid")
            .input(DType::Float32, &[8, 8])
            .output(DType::Float32, &[1, 1, 2])
            .parameter("tile_size", value);
        let found = problems(&wrong.build());
        assert_eq!(found[0].0, "parameters.tile_size");
        assert!(
            found[0].1.contains("'tile_size' to be a positive integer"),
            "{found:?}"
        );
    }
    let indivisible = spec("cpu.centroid")
        .input(DType::Float32, &[16, 20])
        .output(DType::Float32, &[2, 2, 2])
        .parameter("tile_size", json!(8));
    let found = problems(&indivisible.build());
    assert_eq!(found.len(), 1);
    assert!(
        found[0].1.contains("multiples of 'tile_size' 8"),
        "{found:?}"
    );
    let transposed = spec("cpu.centroid")
        .input(DType::Float32, &[16, 24])
        .output(DType::Float64, &[2, 2, 3])
        .parameter("tile_size", json!(8));
    let found = problems(&transposed.build());
    assert_eq!(found.len(), 2);
    assert!(found[1].1.contains("shape [2, 3, 2]"), "{found:?}");
    let cube = spec("cpu.centroid")
        .input(DType::Float32, &[8, 8, 8])
        .output(DType::Float32, &[1, 1, 2])
        .parameter("tile_size", json!(8));
    assert!(problems(&cube.build())[0].1.contains("2-D image"));
    let complex = image_spec(DType::Complex64, 1, 1, 8);
    assert!(problems(&complex.build())[0].1.contains("real numbers"));
    let extra = image_spec(DType::Float32, 1, 1, 8).auxiliary("dark", DType::Float32, &[8, 8]);
    assert!(
        problems(&extra.build())[0]
            .1
            .contains("0 auxiliary streams, got 1")
    );
}

#[test]
fn a_frame_of_another_shape_is_an_error() {
    let specification = image_spec(DType::Float32, 2, 1, 4).build();
    let mut kernel = build(&specification, SimdLevel::Portable).unwrap();
    let image = [0.0f32; 32];
    let inputs = FrameInputs {
        triggers: &[ArrayRef::from_slice(&image, &[4, 8])],
        auxiliary: &[],
        frame_id: 1,
    };
    let mut out = [0.0f32; 4];
    let error = kernel
        .compute(&inputs, &mut [ArrayMut::from_slice(&mut out, &[2, 1, 2])])
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("shape [4, 8], expected float32 of shape [8, 4]")
    );
}

#[test]
fn both_names_infer_the_output() {
    let registry = Registry::builtin();
    for kind in ["cpu.shack_hartmann_centroid", "cpu.centroid"] {
        let definition = registry.get(NodeRole::Kernel, kind).unwrap();
        let outputs = definition
            .infer_outputs(&image_spec(DType::Float32, 3, 5, 4).build())
            .unwrap();
        assert_eq!(outputs[0].shape, [3, 5, 2]);
        assert_eq!(outputs[0].dtype, DType::Float32);
    }
}
