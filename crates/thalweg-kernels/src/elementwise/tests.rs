//! Every kernel against the definition written out in scalar arithmetic, and the edge cases.

use half::f16;
use proptest::prelude::*;
use serde_json::{Value, json};
use thalweg_shm::{ArrayRef, DType, Element};

use crate::node::{Kernel, NodeSpec, Parameters};
use crate::owned_array::OwnedArray;
use crate::registry::{ArraySpec, NodeBuilder, NodeRole, Registry};
use crate::run::{RunError, run};
use crate::testing::{compute, spec};

fn evaluate(
    kind: &str,
    inputs: &[ArrayRef<'_>],
    auxiliary: &[(String, ArrayRef<'_>)],
    parameters: &[(&str, Value)],
) -> Result<OwnedArray, RunError> {
    let parameters = parameters
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect::<Parameters>();
    run(
        &Registry::builtin(),
        kind,
        inputs,
        auxiliary,
        None,
        &parameters,
        None,
    )
    .map(|mut outputs| outputs.remove(0))
}

fn scaled<T: Element>(elements: &[T], factor: f64) -> Vec<T> {
    let shape = [elements.len()];
    let input = ArrayRef::from_slice(elements, &shape);
    evaluate("cpu.scale", &[input], &[], &[("factor", json!(factor))])
        .unwrap()
        .to_vec()
        .unwrap()
}

#[test]
fn integers_truncate_and_wrap() {
    assert_eq!(scaled(&[200u8, 100, 3], 2.0), [144, 200, 6]);
    assert_eq!(scaled(&[3u8, 1, 255], -1.5), [252, 255, 130]);
    assert_eq!(scaled(&[3i8, -3], 0.5), [1, -1]);
    assert_eq!(scaled(&[1i32, -1, 0], 3e9), [i32::MIN, i32::MIN, 0]);
    assert_eq!(scaled(&[1u32 << 31], 2.0), [0]);
    // 2^53 + 1 is no double: the arithmetic is in double precision.
    assert_eq!(scaled(&[(1i64 << 53) + 1], 1.0), [1 << 53]);
}

#[test]
fn not_a_number_becomes_the_smallest_integer() {
    let input = [1i32, 0];
    let offset = [0i32, 0];
    // No finite parameter makes an integer NaN, so the store is tested through infinity as well.
    let output = evaluate(
        "cpu.scale_offset",
        &[ArrayRef::from_slice(&input, &[2])],
        &[("offset".to_owned(), ArrayRef::from_slice(&offset, &[2]))],
        &[("gain", json!(1e300))],
    )
    .unwrap();
    assert_eq!(output.to_vec::<i32>().unwrap(), [i32::MIN, 0]);
}

#[test]
fn half_precision_rounds_once() {
    let input = [1.0, -2.0, 65504.0, 5.960_464_5e-8, f32::NAN].map(f16::from_f32);
    let output = scaled(&input, 1.0 / 3.0);
    let expected = input.map(|element| f16::from_f64(element.to_f64() / 3.0));
    for (output, expected) in output.iter().zip(expected) {
        assert!(*output == expected || output.is_nan() && expected.is_nan());
    }
    assert_eq!(scaled(&[f16::from_f32(65504.0)], 1.001), [f16::INFINITY]);
}

#[test]
fn single_precision_rounds_the_double_product() {
    let elements: Vec<f32> = (1..100u8).map(f32::from).collect();
    let doubles: Vec<f32> = elements
        .iter()
        .map(|element| (f64::from(*element) * 0.1) as f32)
        .collect();
    let singles: Vec<f32> = elements.iter().map(|element| element * 0.1).collect();
    assert_eq!(scaled(&elements, 0.1), doubles);
    assert_ne!(
        doubles, singles,
        "the test would not notice single precision"
    );
}

#[test]
fn booleans_are_nought_or_one() {
    let input = [0u8, 1, 1];
    let shape = [3];
    let mut array = OwnedArray::zeros(DType::Bool, &shape).unwrap();
    array.as_array_mut().copy_from(&input).unwrap();
    let output = evaluate(
        "cpu.scale",
        &[array.as_array()],
        &[],
        &[("factor", json!(-0.25))],
    );
    let output = output.unwrap();
    assert_eq!(output.dtype(), DType::Bool);
    assert_eq!(output.to_vec::<u8>().unwrap(), [0, 1, 1]);
}

#[test]
fn copies_take_every_dtype() {
    for dtype in DType::ALL {
        let mut array = OwnedArray::zeros(dtype, &[2, 3]).unwrap();
        for (index, byte) in array.bytes_mut().iter_mut().enumerate() {
            *byte = index as u8;
        }
        let mut copied = evaluate("cpu.copy", &[array.as_array()], &[], &[]).unwrap();
        let mut flat = evaluate("cpu.flatten", &[array.as_array()], &[], &[]).unwrap();
        assert_eq!(copied.shape(), [2, 3]);
        assert_eq!(flat.shape(), [6]);
        assert_eq!((copied.dtype(), flat.dtype()), (dtype, dtype));
        assert_eq!(copied.bytes_mut(), array.bytes_mut());
        assert_eq!(flat.bytes_mut(), array.bytes_mut());
    }
}

#[test]
fn complex_numbers_are_refused_where_they_have_no_meaning() {
    let array = OwnedArray::zeros(DType::Complex64, &[2]).unwrap();
    let error = evaluate(
        "cpu.scale",
        &[array.as_array()],
        &[],
        &[("factor", json!(1))],
    );
    let message = error.unwrap_err().to_string();
    assert!(message.contains("complex64"), "{message}");
}

fn integrator(parameters: &[(&str, Value)], aliases: &[&str]) -> (NodeSpec, Box<dyn Kernel>) {
    let mut builder = spec("cpu.leaky_integrator")
        .input(DType::Float32, &[2])
        .output(DType::Float32, &[2]);
    for (name, value) in parameters {
        builder = builder.parameter(name, value.clone());
    }
    for alias in aliases {
        builder = builder.auxiliary(alias, DType::Float32, &[1]);
    }
    let spec = builder.build();
    let registry = Registry::builtin();
    let definition = registry.get(NodeRole::Kernel, &spec.kind).unwrap();
    let NodeBuilder::Kernel(build) = definition.builder else {
        panic!("a kernel")
    };
    let kernel = build(&spec).unwrap();
    (spec, kernel)
}

fn integrate(kernel: &mut dyn Kernel, input: [f32; 2], auxiliary: &[f32]) -> Vec<f32> {
    let auxiliary: Vec<_> = auxiliary
        .iter()
        .map(|value| ArrayRef::from_slice(std::slice::from_ref(value), &[1]))
        .collect();
    let input = ArrayRef::from_slice(&input, &[2]);
    let outputs = [ArraySpec {
        dtype: DType::Float32,
        shape: vec![2],
    }];
    compute(kernel, &[input], &auxiliary, &outputs).unwrap()[0]
        .to_vec()
        .unwrap()
}

#[test]
fn the_integrator_keeps_its_state() {
    let (_, mut kernel) = integrator(&[("leak", json!(0.5)), ("gain", json!(2))], &[]);
    assert_eq!(integrate(&mut *kernel, [1.0, -1.0], &[]), [2.0, -2.0]);
    assert_eq!(integrate(&mut *kernel, [1.0, 0.0], &[]), [3.0, -1.0]);
    assert_eq!(integrate(&mut *kernel, [0.0, 0.0], &[]), [1.5, -0.5]);
}

#[test]
fn auxiliary_values_override_while_enabled() {
    let parameters = [("leak", json!(1)), ("gain", json!(1))];
    let (_, mut always) = integrator(&parameters, &["gain"]);
    assert_eq!(integrate(&mut *always, [1.0, 2.0], &[10.0]), [10.0, 20.0]);

    let (_, mut switched) = integrator(&parameters, &["override_enabled", "leak", "gain"]);
    assert_eq!(
        integrate(&mut *switched, [1.0, 2.0], &[0.0, 9.0, 9.0]),
        [1.0, 2.0]
    );
    assert_eq!(
        integrate(&mut *switched, [1.0, 2.0], &[-1.0, 0.0, 5.0]),
        [5.0, 10.0]
    );

    // A bound stream makes the parameter optional; while overriding is off it counts as zero.
    let (_, mut unset) = integrator(&[("leak", json!(1))], &["gain", "override_enabled"]);
    assert_eq!(integrate(&mut *unset, [1.0, 2.0], &[3.0, 0.0]), [0.0, 0.0]);
    assert_eq!(integrate(&mut *unset, [1.0, 2.0], &[3.0, 1.0]), [3.0, 6.0]);
}

#[test]
fn the_integrator_names_all_that_is_wrong() {
    let spec = spec("cpu.leaky_integrator")
        .input(DType::Float32, &[2, 2])
        .output(DType::Float32, &[2, 2])
        .auxiliary("gain", DType::Float32, &[2])
        .auxiliary("offset", DType::Float32, &[1])
        .build();
    let registry = Registry::builtin();
    let NodeBuilder::Kernel(build) = registry.get(NodeRole::Kernel, &spec.kind).unwrap().builder
    else {
        panic!("a kernel")
    };
    let problems = build(&spec).err().unwrap();
    let paths: Vec<_> = problems
        .iter()
        .map(|problem| problem.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "input",
            "auxiliary.gain",
            "auxiliary.offset",
            "parameters.leak"
        ]
    );
    assert!(problems[1].message.contains("scalar"));
}

macro_rules! against_scalar_arithmetic {
    ($($name:ident: $type:ty, $strategy:expr, $store:expr;)*) => {
        $(
            proptest! {
                #![proptest_config(ProptestConfig::with_cases(64))]
                #[test]
                fn $name(
                    pairs in prop::collection::vec(($strategy, $strategy), 1..200),
                    gain in -1e3..1e3f64,
                ) {
                    let (input, offset): (Vec<$type>, Vec<$type>) = pairs.into_iter().unzip();
                    let store: fn(f64) -> $type = $store;
                    let shape = [input.len()];
                    let view = ArrayRef::from_slice(&input, &shape);
                    let auxiliary = [("o".to_owned(), ArrayRef::from_slice(&offset, &shape))];

                    let expected: Vec<u64> = input.iter().zip(&offset)
                        .map(|(a, b)| bits(store(gain * (*a as f64) - (*b as f64)) as f64))
                        .collect();
                    let output = evaluate("cpu.scale_offset", &[view], &auxiliary, &[("gain", json!(gain))]);
                    let output = output.unwrap().to_vec::<$type>().unwrap();
                    prop_assert_eq!(output.iter().map(|o| bits(*o as f64)).collect::<Vec<_>>(), expected);

                    let expected: Vec<u64> = input.iter()
                        .map(|a| bits(store((*a as f64) + gain) as f64))
                        .collect();
                    let output = evaluate("cpu.add_constant", &[view], &[], &[("constant", json!(gain))]);
                    let output = output.unwrap().to_vec::<$type>().unwrap();
                    prop_assert_eq!(output.iter().map(|o| bits(*o as f64)).collect::<Vec<_>>(), expected);
                }
            }
        )*
    };
}

/// The bits of a float, with one NaN.
fn bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN } else { value }.to_bits()
}

/// C's conversion written with wide integers: exact for everything these tests produce.
fn wrapped(value: f64) -> i128 {
    value as i128
}

against_scalar_arithmetic! {
    float32: f32, any::<f32>(), |value| value as f32;
    float64: f64, any::<f64>(), |value| value;
    uint8: u8, any::<u8>(), |value| wrapped(value) as u8;
    int16: i16, any::<i16>(), |value| wrapped(value) as i16;
    uint16: u16, any::<u16>(), |value| wrapped(value) as u16;
    uint32: u32, any::<u32>(), |value| wrapped(value) as u32;
    int32: i32, any::<i32>(), |value| i32::try_from(wrapped(value)).unwrap_or(i32::MIN);
    int64: i64, -(1i64 << 40)..1 << 40, |value| wrapped(value) as i64;
}

#[test]
fn fractions_on_integers_are_told_before_the_start() {
    let definition = *Registry::builtin()
        .get(NodeRole::Kernel, "cpu.scale")
        .unwrap();
    let told = |dtype, factor: Value| {
        let spec = spec("cpu.scale")
            .input(dtype, &[3])
            .output(dtype, &[3])
            .parameter("factor", factor)
            .build();
        let warnings = definition.warnings(&spec);
        warnings
            .iter()
            .map(|one| one.message.clone())
            .collect::<String>()
    };
    assert!(told(DType::Uint8, json!(0.5)).contains("'factor' 0.5 are cut off"));
    assert_eq!(told(DType::Uint8, json!(2)), "");
    assert_eq!(told(DType::Float16, json!(0.5)), "");
    assert_eq!(
        told(DType::Uint8, json!("half")),
        "",
        "an error, not a warning"
    );
}

#[test]
fn joining_needs_one_new_frame_of_each_input() {
    let mut joined = spec("cpu.concatenate")
        .input(DType::Int8, &[1, 2])
        .input(DType::Int8, &[1, 3])
        .output(DType::Int8, &[1, 5])
        .parameter("axis", json!(-1))
        .build();
    let registry = Registry::builtin();
    let NodeBuilder::Kernel(build) = registry
        .get(NodeRole::Kernel, "cpu.concatenate")
        .unwrap()
        .builder
    else {
        panic!("a kernel");
    };
    let mut kernel = build(&joined).unwrap();
    let output = [ArraySpec {
        dtype: DType::Int8,
        shape: vec![1, 5],
    }];
    let (two, three) = ([1i8, 2], [3i8, 4, 5]);
    let inputs = [
        ArrayRef::from_slice(&two, &[1, 2]),
        ArrayRef::from_slice(&three, &[1, 3]),
    ];
    let outputs = compute(&mut *kernel, &inputs, &[], &output).unwrap();
    assert_eq!(outputs[0].to_vec::<i8>().unwrap(), [1, 2, 3, 4, 5]);
    assert!(compute(&mut *kernel, &inputs[..1], &[], &output).is_err());
    joined.any_trigger = true;
    joined.outputs[0].shape = vec![2, 5];
    let problems = build(&joined).err().unwrap();
    assert_eq!(problems[0].path, "trigger_policy");
    assert!(problems[0].message.contains("all_new"), "{problems:?}");
    assert!(
        problems[1]
            .message
            .contains("output stream of shape [1, 5]"),
        "{problems:?}"
    );
}
