//! The product on every instruction set against sums in higher precision, and the kernel around it.

#![expect(
    unsafe_code,
    reason = "views of complex and boolean arrays, which have no element type"
)]

use std::ptr::NonNull;

use half::{bf16, f16};
use proptest::prelude::*;
use serde_json::json;
use thalweg_shm::{ArrayMut, ArrayRef, DType, Element};

use super::affine_transform::{AFFINE_TRANSFORM, AffineTransform};
use super::half_matrix::{HalfFormat, HalfMatrix};
use super::lanes::Stored;
use super::level::SimdLevel;
use super::product::{multiply, multiply_walking};
use super::walk::Walk;
use crate::node::{FrameInputs, Kernel, NodeSpec};
use crate::registry::{NodeBuilder, NodeRole, Registry};
use crate::testing::{SpecBuilder, spec};

/// Rows and columns around everything that changes the walk: register and line widths, group sizes.
fn shape() -> impl Strategy<Value = (usize, usize)> {
    let rows = prop_oneof![1usize..40, Just(12), Just(48)];
    let columns = prop_oneof![1usize..80, 1usize..700, Just(64), Just(256)];
    (rows, columns)
}

/// Entries whose products and sums stay far inside the range of single precision.
fn numbers(count: usize) -> impl Strategy<Value = Vec<f32>> {
    let number = prop_oneof![
        4 => -1.0f32..1.0,
        1 => Just(0.0),
        1 => -1e6f32..1e6,
        1 => -1e-6f32..1e-6,
    ];
    prop::collection::vec(number, count)
}

#[derive(Clone, Debug)]
struct Problem {
    columns: usize,
    matrix: Vec<f32>,
    vector: Vec<f32>,
    bias: Vec<f32>,
}

fn problem() -> impl Strategy<Value = Problem> {
    shape().prop_flat_map(|(rows, columns)| {
        (numbers(rows * columns), numbers(columns), numbers(rows)).prop_map(
            move |(matrix, vector, bias)| Problem {
                columns,
                matrix,
                vector,
                bias,
            },
        )
    })
}

/// The sums of one row in double precision: of the products, and of their magnitudes.
fn exact_row<'a>(
    row: impl Iterator<Item = f64> + 'a,
    vector: impl Iterator<Item = f64> + 'a,
) -> (f64, f64) {
    row.zip(vector)
        .fold((0.0, 0.0), |(sum, magnitude), (entry, component)| {
            let product = entry * component;
            (sum + product, magnitude + product.abs())
        })
}

/// Every product of `matrix` (as `S`) with `vector`, on every level and every walk, stays within the
/// rounding error of summation: `columns` units in the last place `unit` of the sum of magnitudes.
/// What is asked for in advance does not change a bit, nor how many rows are walked side by side.
fn check_levels<S: Stored>(
    problem: &Problem,
    store: impl Fn(f32) -> S,
    value: impl Fn(S) -> f64,
    real: impl Fn(f32) -> S::Real,
    wide: impl Fn(S::Real) -> f64,
    unit: f64,
) -> Result<(), TestCaseError> {
    let matrix: Vec<S> = problem.matrix.iter().map(|&entry| store(entry)).collect();
    let vector: Vec<S::Real> = problem.vector.iter().map(|&entry| real(entry)).collect();
    for level in SimdLevel::available() {
        let mut side_by_side = None;
        let mut one_by_one = None;
        for walk in Walk::all() {
            let mut out = vec![S::Real::default(); problem.bias.len()];
            multiply_walking(level, walk, &matrix, problem.columns, &vector, &mut out);
            let out: Vec<f64> = out.into_iter().map(&wide).collect();
            for (row, found) in matrix.chunks(problem.columns).zip(&out) {
                let row = row.iter().map(|&entry| value(entry));
                let (sum, magnitude) = exact_row(row, vector.iter().map(|&entry| wide(entry)));
                let bound =
                    (problem.columns + 1) as f64 * unit * magnitude + f64::from(f32::MIN_POSITIVE);
                let error = (found - sum).abs();
                prop_assert!(error <= bound, "{level} {walk:?}: {error} above {bound}");
            }
            let same = match walk.rows {
                1 => one_by_one.get_or_insert_with(|| out.clone()),
                _ => side_by_side.get_or_insert_with(|| out.clone()),
            };
            prop_assert_eq!(same, &out, "{} {:?}", level, walk);
        }
    }
    Ok(())
}

const SINGLE: f64 = f32::EPSILON as f64;

proptest! {
    #[test]
    fn every_level_multiplies_float32(problem in problem()) {
        check_levels(&problem, |entry| entry, f64::from, |entry| entry, f64::from, SINGLE)?;
    }

    #[test]
    fn every_level_multiplies_float64(problem in problem()) {
        // The reference itself is no more precise than that.
        let unit = 2.0 * f64::EPSILON;
        check_levels(&problem, f64::from, |entry| entry, f64::from, |entry| entry, unit)?;
    }

    #[test]
    fn every_level_multiplies_half_precision(problem in problem()) {
        let small = Problem {
            matrix: problem.matrix.iter().map(|entry| entry.clamp(-1e4, 1e4)).collect(),
            ..problem
        };
        check_levels(&small, f16::from_f32, f64::from, |entry| entry, f64::from, SINGLE)?;
        check_levels(&small, bf16::from_f32, f64::from, |entry| entry, f64::from, SINGLE)?;
    }

    #[test]
    fn a_half_matrix_is_off_by_its_rounding_only(problem in problem()) {
        for (format, bits) in [(HalfFormat::Float16, 11), (HalfFormat::Bfloat16, 8)] {
            let packed = HalfMatrix::pack(&problem.matrix, problem.columns, format);
            let bound = 2f64.powi(-bits);
            prop_assert!(packed.relative_error() <= bound);
            for level in SimdLevel::available() {
                let mut out = vec![0.0; problem.bias.len()];
                packed.multiply(level, &problem.vector, &mut out);
                for (row, &found) in problem.matrix.chunks(problem.columns).zip(&out) {
                    let largest = row.iter().fold(0.0f32, |largest, entry| largest.max(entry.abs()));
                    let row = row.iter().map(|&entry| f64::from(entry));
                    let vector = || problem.vector.iter().map(|&entry| f64::from(entry));
                    let (sum, magnitude) = exact_row(row, vector());
                    // Entries far below the row's largest are rounded to a step of its own.
                    let steps: f64 = vector().map(f64::abs).sum();
                    let bound = magnitude * (bound + (problem.columns + 2) as f64 * SINGLE)
                        + steps * f64::from(largest) * 2f64.powi(-32)
                        + f64::from(f32::MIN_POSITIVE);
                    let error = (f64::from(found) - sum).abs();
                    prop_assert!(error <= bound, "{format:?} {level}: {error} above {bound}");
                }
            }
        }
    }

    #[test]
    fn the_kernel_adds_the_bias_wherever_the_arrays_lie(problem in problem(), offset in 0usize..16) {
        let (rows, columns) = (problem.bias.len(), problem.columns);
        let specification = affine(DType::Float32, rows, columns).build();
        // Nothing is aligned to more than one element.
        let shifted = |numbers: &[f32]| [&vec![0.0; offset], numbers].concat();
        let (matrix, vector, bias) =
            (shifted(&problem.matrix), shifted(&problem.vector), shifted(&problem.bias));
        for level in SimdLevel::available() {
            let mut kernel = AffineTransform::build(&specification, level).unwrap();
            let mut out = vec![0.0f32; rows + offset];
            transform_into(
                &mut kernel,
                &matrix[offset..],
                &vector[offset..],
                &bias[offset..],
                &mut out[offset..],
            );
            let mut plain = vec![0.0f32; rows];
            multiply(level, &problem.matrix, columns, &problem.vector, &mut plain);
            for ((sum, bias), found) in plain.into_iter().zip(&problem.bias).zip(&out[offset..]) {
                prop_assert_eq!(sum + bias, *found);
            }
            prop_assert!(out[..offset].iter().all(|&untouched| untouched == 0.0));
        }
    }
}

/// A specification with all streams in place.
fn affine(dtype: DType, rows: usize, columns: usize) -> SpecBuilder {
    spec("cpu.affine_transform")
        .input(dtype, &[columns])
        .auxiliary("matrix", dtype, &[rows, columns])
        .auxiliary("bias", dtype, &[rows])
        .output(dtype, &[rows])
}

fn transform_into<T: Element>(
    kernel: &mut dyn Kernel,
    matrix: &[T],
    vector: &[T],
    bias: &[T],
    out: &mut [T],
) {
    let (rows, columns) = ([bias.len()], [vector.len()]);
    let shape = [bias.len(), vector.len()];
    let inputs = FrameInputs {
        triggers: &[ArrayRef::from_slice(vector, &columns)],
        auxiliary: &[
            ArrayRef::from_slice(matrix, &shape),
            ArrayRef::from_slice(bias, &rows),
        ],
        frame_id: 1,
    };
    kernel
        .compute(&inputs, &mut [ArrayMut::from_slice(out, &rows)])
        .unwrap();
}

fn transform<T: Element>(
    kernel: &mut dyn Kernel,
    matrix: &[T],
    vector: &[T],
    bias: &[T],
) -> Vec<T> {
    let mut out = vec![T::default(); bias.len()];
    transform_into(kernel, matrix, vector, bias, &mut out);
    out
}

fn built(specification: &NodeSpec) -> Box<dyn Kernel> {
    match AFFINE_TRANSFORM.builder {
        NodeBuilder::Kernel(build) => build(specification).unwrap(),
        _ => panic!("not a kernel"),
    }
}

fn wave(count: usize, step: f32) -> Vec<f32> {
    (0..count)
        .map(|index| (index as f32 * step).sin())
        .collect()
}

#[test]
fn rows_that_share_cache_sets_are_not_mixed_up() {
    // Row lengths around multiples of 4 KiB, in all element sizes.
    for columns in [512, 1023, 1024, 1025, 2048] {
        let rows = 31;
        let (matrix, vector) = (wave(rows * columns, 0.37), wave(columns, 0.11));
        for level in SimdLevel::available() {
            let mut single = vec![0.0f32; rows];
            multiply(level, &matrix, columns, &vector, &mut single);
            let wide: Vec<f64> = matrix.iter().map(|&entry| entry.into()).collect();
            let wide_vector: Vec<f64> = vector.iter().map(|&entry| entry.into()).collect();
            let mut double = vec![0.0f64; rows];
            multiply(level, &wide, columns, &wide_vector, &mut double);
            for (row, (single, double)) in single.into_iter().zip(double).enumerate() {
                let entries = wide[row * columns..][..columns].iter().copied();
                let (sum, magnitude) = exact_row(entries, wide_vector.iter().copied());
                assert!((double - sum).abs() <= 1e-13 * magnitude);
                assert!((f64::from(single) - sum).abs() <= 1e-6 * magnitude);
            }
        }
    }
}

#[test]
fn threads_do_not_change_a_single_bit() {
    // One in the second-level cache, one beyond: they are walked differently.
    for (rows, columns, frames) in [(251, 777, 50), (1201, 1501, 5)] {
        let matrix = wave(rows * columns, 0.3);
        let (vector, bias) = (wave(columns, 0.7), wave(rows, 1.1));
        for storage in ["source", "float16"] {
            let transformed = |threads: usize| {
                let specification = affine(DType::Float32, rows, columns)
                    .parameter("blas_threads", json!(threads))
                    .parameter("matrix_storage", json!(storage))
                    .build();
                let mut kernel = built(&specification);
                if let Some(mut preparer) = kernel.preparer(0) {
                    let prepared = preparer
                        .prepare(ArrayRef::from_slice(&matrix, &[rows, columns]))
                        .unwrap();
                    kernel.install(0, prepared);
                }
                let first = transform(kernel.as_mut(), &matrix, &vector, &bias);
                for _ in 0..frames {
                    assert_eq!(transform(kernel.as_mut(), &matrix, &vector, &bias), first);
                }
                first
            };
            let alone = transformed(1);
            for threads in [2, 3, 5, 100] {
                assert_eq!(transformed(threads), alone, "{storage}, {threads} threads");
            }
        }
    }
}

#[test]
fn every_dtype_has_its_arithmetic() {
    fn check<T: Element + PartialEq + std::fmt::Debug>(convert: impl Fn(f32) -> T) {
        let mut kernel = built(&affine(T::DTYPE, 2, 3).build());
        let convert_all = |numbers: &[f32]| numbers.iter().map(|&n| convert(n)).collect::<Vec<T>>();
        let out = transform(
            kernel.as_mut(),
            &convert_all(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            &convert_all(&[1.0, 0.0, 2.0]),
            &convert_all(&[10.0, 20.0]),
        );
        assert_eq!(out, convert_all(&[17.0, 36.0]), "{}", T::DTYPE);
    }
    check(|n| n as i8);
    check(|n| n as i16);
    check(|n| n as i32);
    check(|n| n as i64);
    check(|n| n as u8);
    check(|n| n as u16);
    check(|n| n as u32);
    check(|n| n as u64);
    check(f16::from_f32);
    check(|n| n);
    check(f64::from);
}

/// The transform of `matrix` (2, 2) with elements kept as `T`.
fn transform_raw<T: Copy>(
    dtype: DType,
    matrix: [T; 4],
    vector: [T; 2],
    bias: [T; 2],
    mut out: [T; 2],
) -> [T; 2] {
    fn view<'a, T>(elements: &'a [T], dtype: DType, shape: &'a [usize]) -> ArrayRef<'a> {
        assert_eq!(
            size_of_val(elements),
            shape.iter().product::<usize>() * dtype.size_bytes()
        );
        // SAFETY: the slice is as long as the shape, and aligned for the parts of an element.
        unsafe { ArrayRef::from_raw(NonNull::from(elements).cast(), dtype, shape) }
    }
    let mut kernel = built(&affine(dtype, 2, 2).build());
    let inputs = FrameInputs {
        triggers: &[view(&vector, dtype, &[2])],
        auxiliary: &[view(&matrix, dtype, &[2, 2]), view(&bias, dtype, &[2])],
        frame_id: 1,
    };
    let first = NonNull::from(&mut out).cast();
    // SAFETY: `out` holds two elements, borrowed exclusively.
    let output = unsafe { ArrayMut::from_raw(first, dtype, &[2]) };
    kernel.compute(&inputs, &mut [output]).unwrap();
    out
}

#[test]
fn complex_numbers_multiply_and_booleans_combine() {
    // (1+2i)(1+i) + (3)(i) + 1 = 6i; (i)(1+i) + (1)(i) - i = -1 + i.
    let out = transform_raw(
        DType::Complex64,
        [[1.0f32, 2.0], [3.0, 0.0], [0.0, 1.0], [1.0, 0.0]],
        [[1.0, 1.0], [0.0, 1.0]],
        [[1.0, 0.0], [0.0, -1.0]],
        [[0.0; 2]; 2],
    );
    assert_eq!(out, [[0.0, 6.0], [-1.0, 1.0]]);
    let out = transform_raw(
        DType::Complex128,
        [[1.0f64, 2.0], [3.0, 0.0], [0.0, 1.0], [1.0, 0.0]],
        [[1.0, 1.0], [0.0, 1.0]],
        [[1.0, 0.0], [0.0, -1.0]],
        [[0.0; 2]; 2],
    );
    assert_eq!(out, [[0.0, 6.0], [-1.0, 1.0]]);
    let out = transform_raw(DType::Bool, [1u8, 0, 0, 1], [0, 1], [0, 0], [9; 2]);
    assert_eq!(out, [0, 1]);
}

#[test]
fn float16_streams_round_once() {
    // 2048 + 1 needs twelve bits; rounding the sum before the bias is added would lose it.
    let mut kernel = built(&affine(DType::Float16, 1, 2).build());
    let half = f16::from_f32;
    let out = transform(
        kernel.as_mut(),
        &[half(2048.0), half(1.0)],
        &[half(1.0), half(1.0)],
        &[half(-2.0)],
    );
    assert_eq!(out, [half(2047.0)]);
}

#[test]
fn integers_wrap() {
    let mut kernel = built(&affine(DType::Uint8, 1, 2).build());
    assert_eq!(
        transform(kernel.as_mut(), &[200u8, 100], &[2, 3], &[5]),
        [193]
    );
}

#[test]
fn nan_and_infinity_stay_in_their_row() {
    let columns = 40;
    let mut matrix = wave(5 * columns, 0.2);
    matrix[columns + 39] = f32::NAN;
    matrix[3 * columns] = f32::INFINITY;
    let vector = vec![1.0; columns];
    for level in SimdLevel::available() {
        let mut out = [0.0f32; 5];
        multiply(level, &matrix, columns, &vector, &mut out);
        let kinds = out.map(f32::is_finite);
        assert_eq!(kinds, [true, false, true, false, true], "{level}");
        assert!(out[1].is_nan() && out[3] == f32::INFINITY);
    }
}

#[test]
fn a_half_precision_copy_replaces_the_matrix_between_frames() {
    let (rows, columns) = (30, 100);
    let (matrix, vector, bias) = (
        wave(rows * columns, 0.3),
        wave(columns, 0.7),
        wave(rows, 1.1),
    );
    let shape = [rows, columns];
    let specification = affine(DType::Float32, rows, columns)
        .parameter("matrix_storage", json!("float16"))
        .build();
    let mut kernel = built(&specification);
    let exact = transform(kernel.as_mut(), &matrix, &vector, &bias);
    let figures = kernel.figure_definitions();
    assert_eq!(figures.len(), 1);
    assert_eq!(figures[0].name, "matrix_storage_relative_error");
    let mut error = [f64::NAN];
    kernel.figures(&mut error);
    assert_eq!(error, [0.0], "the first frames use the source");

    assert!(
        kernel.preparer(1).is_none(),
        "the bias needs no preparation"
    );
    let mut preparer = kernel.preparer(0).unwrap();
    for sign in [1.0f32, -1.0, 1.0, -1.0] {
        let published: Vec<f32> = matrix.iter().map(|entry| entry * sign).collect();
        let prepared = preparer
            .prepare(ArrayRef::from_slice(&published, &shape))
            .unwrap();
        kernel.install(0, prepared);
        kernel.figures(&mut error);
        assert!(error[0] > 1e-5 && error[0] <= 2f64.powi(-11), "{error:?}");
        // Zeros for the source: the frame path no longer reads it.
        let out = transform(kernel.as_mut(), &vec![0.0; rows * columns], &vector, &bias);
        for ((found, exact), bias) in out.iter().zip(&exact).zip(&bias) {
            let expected = (exact - bias) * sign + bias;
            assert!((found - expected).abs() < 2e-2, "{found} for {expected}");
            assert_ne!(found, bias);
        }
    }
    let refused = preparer.prepare(ArrayRef::from_slice(&matrix, &[columns, rows]));
    assert!(refused.unwrap_err().to_string().contains("[100, 30]"));
    let double = vec![0.0f64; rows * columns];
    let refused = preparer.prepare(ArrayRef::from_slice(&double, &shape));
    assert!(refused.unwrap_err().to_string().contains("float64"));
}

#[test]
fn a_frame_of_another_shape_is_an_error() {
    let mut kernel = built(&affine(DType::Float32, 2, 2).build());
    let (matrix, vector, bias) = ([0.0f32; 4], [0.0f32; 2], [0.0f32; 2]);
    let inputs = FrameInputs {
        triggers: &[ArrayRef::from_slice(&vector, &[2])],
        auxiliary: &[
            ArrayRef::from_slice(&matrix, &[4, 1]),
            ArrayRef::from_slice(&bias, &[2]),
        ],
        frame_id: 1,
    };
    let mut out = [0.0f32; 2];
    let error = kernel
        .compute(&inputs, &mut [ArrayMut::from_slice(&mut out, &[2])])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "matrix has shape [4, 1], expected [2, 2]"
    );
}

fn problems(specification: &NodeSpec) -> Vec<(String, String)> {
    AffineTransform::build(specification, SimdLevel::Portable)
        .unwrap_err()
        .into_iter()
        .map(|problem| (problem.path, problem.message))
        .collect()
}

#[test]
fn wrong_shapes_are_named() {
    let wrong = spec("cpu.affine_transform")
        .input(DType::Float32, &[3])
        .auxiliary("matrix", DType::Float32, &[2, 4])
        .auxiliary("bias", DType::Float64, &[3])
        .output(DType::Float32, &[2, 1])
        .build();
    let found = problems(&wrong);
    let paths: Vec<_> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        paths,
        ["auxiliary[1]", "auxiliary[0]", "auxiliary[1]", "output"]
    );
    assert!(found[0].1.contains("matching dtypes"), "{found:?}");
    assert!(
        found[1]
            .1
            .contains("matrix columns to match input vector length"),
        "{found:?}"
    );
    assert!(
        found[2]
            .1
            .contains("shape [2], got \"bias_stream\" of shape [3]")
    );
    assert!(
        found[3]
            .1
            .contains("shape [2], got \"output_0\" of shape [2, 1]")
    );

    let flat = spec("cpu.affine_transform")
        .input(DType::Float32, &[3])
        .auxiliary("matrix", DType::Float32, &[6])
        .auxiliary("bias", DType::Float32, &[2])
        .output(DType::Float32, &[2]);
    assert!(
        problems(&flat.build())[0]
            .1
            .contains("2-D matrix of shape [m, 3]")
    );
    let image = spec("cpu.affine_transform")
        .input(DType::Float32, &[3, 3])
        .auxiliary("matrix", DType::Float32, &[2, 9])
        .auxiliary("bias", DType::Float32, &[2])
        .output(DType::Float32, &[2]);
    assert!(problems(&image.build())[0].1.contains("1-D input vector"));
    let lonely = spec("cpu.affine_transform").input(DType::Float32, &[3]);
    let found = problems(&lonely.build());
    assert!(
        found[0]
            .1
            .contains("2 auxiliary streams (matrix, bias), got 0")
    );
}

#[test]
fn wrong_parameters_are_named() {
    for value in [
        json!(0),
        json!(-1),
        json!(true),
        json!(2.0),
        json!("2"),
        json!(null),
    ] {
        let wrong = affine(DType::Float32, 2, 2).parameter("blas_threads", value);
        let found = problems(&wrong.build());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, "parameters.blas_threads");
        assert!(
            found[0]
                .1
                .contains("'blas_threads' to be a positive integer"),
            "{found:?}"
        );
    }
    for value in [json!("float8"), json!(16), json!("Source")] {
        let wrong = affine(DType::Float32, 2, 2).parameter("matrix_storage", value);
        let found = problems(&wrong.build());
        assert!(
            found[0].1.contains("one of source, float16, bfloat16"),
            "{found:?}"
        );
    }
    let double = affine(DType::Float64, 2, 2).parameter("matrix_storage", json!("float16"));
    let found = problems(&double.build());
    assert!(found[0].1.contains("requires float32 streams"), "{found:?}");
    let half = affine(DType::Float16, 2, 2).parameter("matrix_storage", json!("float16"));
    AffineTransform::build(&half.build(), SimdLevel::Portable).unwrap();
}

#[test]
fn the_output_follows_from_the_matrix() {
    let registry = Registry::builtin();
    let definition = registry
        .get(NodeRole::Kernel, "cpu.affine_transform")
        .unwrap();
    let outputs = definition.infer_outputs(&affine(DType::Float64, 5, 3).build());
    assert_eq!(outputs.unwrap()[0].shape, [5]);
    let wrong = spec("cpu.affine_transform").input(DType::Float64, &[3]);
    assert!(definition.infer_outputs(&wrong.build()).is_err());
}
