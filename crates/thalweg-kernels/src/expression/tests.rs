//! Whole expressions: against an independent evaluator, and the cases that went wrong elsewhere.

use half::f16;
use proptest::prelude::*;
use thalweg_shm::{ArrayRef, DType};

use super::evaluate::Evaluator;
use super::graph::{Graph, Name};
use super::parser::{BinaryOperator, Syntax, SyntaxKind, parse};
use super::plan::{Plan, Stage};
use super::promotion::promote;
use super::scalar::{Constant, Scalar};
use crate::node::FrameInputs;
use crate::owned_array::OwnedArray;
use crate::registry::{ArraySpec, NodeBuilder, NodeRole, Registry};
use crate::run::run;
use crate::simd::isa::Isa;
use crate::testing::spec;

/// Evaluates `operation` through the public door, on `input` and `auxiliary`.
fn evaluate(
    operation: &str,
    input: ArrayRef<'_>,
    auxiliary: &[(&str, ArrayRef<'_>)],
) -> Result<OwnedArray, String> {
    let auxiliary: Vec<_> = auxiliary
        .iter()
        .map(|(alias, array)| ((*alias).to_owned(), *array))
        .collect();
    let kind = "cpu.custom_operation";
    let parameters = serde_json::Map::new();
    run(
        &Registry::builtin(),
        kind,
        &[input],
        &auxiliary,
        None,
        &parameters,
        Some(operation),
    )
    .map(|mut outputs| outputs.remove(0))
    .map_err(|error| error.to_string())
}

/// A product of two vectors depends on the frame. Taken on samples of ones it would be 2.
#[test]
fn a_dot_product_is_no_constant() {
    let w = [10.0f32, 100.0];
    let w = ArrayRef::from_slice(&w, &[2]);
    for (input, expected) in [
        ([2.0f32, 3.0], [640.0f32, 960.0]),
        ([0.0, 1.0], [0.0, 100.0]),
    ] {
        let output = evaluate(
            "input * (input @ w)",
            ArrayRef::from_slice(&input, &[2]),
            &[("w", w)],
        );
        assert_eq!(output.unwrap().to_vec::<f32>().unwrap(), expected);
    }
}

#[test]
fn calibration_of_a_camera_frame() {
    let image = [100u16, 200, 300, 65535];
    let dark = [10.0f32, 20.0, 30.0, 40.0];
    let flat = [1.0f32, 0.5, 2.0, 4.0];
    let output = evaluate(
        "clip((input - dark) / flat, 0, 1000)",
        ArrayRef::from_slice(&image, &[2, 2]),
        &[
            ("dark", ArrayRef::from_slice(&dark, &[2, 2])),
            ("flat", ArrayRef::from_slice(&flat, &[2, 2])),
        ],
    )
    .unwrap();
    assert_eq!(output.shape(), [2, 2]);
    assert_eq!(
        output.to_vec::<f32>().unwrap(),
        [90.0, 360.0, 135.0, 1000.0]
    );
}

#[test]
fn integers_wrap_divide_to_doubles_and_bounds_cross() {
    let input = [200u8, 7, 0];
    let input = ArrayRef::from_slice(&input, &[3]);
    let bytes = |operation| {
        evaluate(operation, input, &[])
            .unwrap()
            .to_vec::<u8>()
            .unwrap()
    };
    assert_eq!(bytes("input * 2"), [144, 14, 0]);
    assert_eq!(bytes("-input"), [56, 249, 0]);
    assert_eq!(bytes("input - 8"), [192, 255, 248]);
    assert_eq!(bytes("clip(input, -1, 300)"), [200, 7, 0]);
    assert_eq!(bytes("clip(input, 100, 50)"), [50, 50, 50]);
    assert_eq!(bytes("input"), [200, 7, 0]);
    assert_eq!(bytes("+input"), [200, 7, 0]);
    let quotients = evaluate("input / input", input, &[])
        .unwrap()
        .to_vec::<f64>()
        .unwrap();
    assert_eq!(quotients[..2], [1.0, 1.0]);
    assert!(quotients[2].is_nan());
    let scaled = evaluate("input * (1 / 0)", input, &[])
        .unwrap()
        .to_vec::<f64>()
        .unwrap();
    assert_eq!(scaled[..2], [f64::INFINITY; 2]);
}

#[test]
fn not_a_number_propagates_through_extremes() {
    let input = [f32::NAN, 1.0, 2.0];
    let other = [0.0f32, f32::NAN, 1.0];
    let input = ArrayRef::from_slice(&input, &[3]);
    let other = [("b", ArrayRef::from_slice(&other, &[3]))];
    for operation in [
        "min(input, b)",
        "maximum(input, b)",
        "clip(input, b, 5)",
        "clip(b, 0, input)",
    ] {
        let output = evaluate(operation, input, &other)
            .unwrap()
            .to_vec::<f32>()
            .unwrap();
        assert!(
            output[0].is_nan() && output[1].is_nan() && !output[2].is_nan(),
            "{operation}"
        );
    }
}

#[test]
fn matrix_products_of_all_ranks() {
    let matrix: Vec<f64> = (0..6).map(f64::from).collect();
    let matrix = ArrayRef::from_slice(&matrix, &[2, 3]);
    let vector = [1.0f32, 10.0, 100.0];
    let vector = ("v", ArrayRef::from_slice(&vector, &[3]));
    let batch: Vec<f64> = (0..12).map(f64::from).collect();
    let batch = ("b", ArrayRef::from_slice(&batch, &[2, 3, 2]));
    let product = |operation, auxiliary: &[_]| {
        let output = evaluate(operation, matrix, auxiliary).unwrap();
        (output.shape().to_vec(), output.to_vec::<f64>().unwrap())
    };
    assert_eq!(
        product("input @ v", &[vector]),
        (vec![2], vec![210.0, 543.0])
    );
    // The vector is doubled in a stage of its own, and the product is an operand of the next.
    let scaled = product("abs(input @ (v * -2)) + 1", &[vector]);
    assert_eq!(scaled, (vec![2], vec![421.0, 1087.0]));
    let (shape, elements) = product("input @ b", &[batch]);
    assert_eq!(shape, [2, 2, 2]);
    assert_eq!(elements, [10.0, 13.0, 28.0, 40.0, 28.0, 31.0, 100.0, 112.0]);
    let (shape, elements) = product("v @ b", &[vector, batch]);
    assert_eq!(shape, [2, 2]);
    assert_eq!(elements, [420.0, 531.0, 1086.0, 1197.0]);
}

#[test]
fn the_result_must_fit_the_output_exactly() {
    let base = || {
        let mut spec = spec("cpu.custom_operation")
            .input(DType::Float32, &[2, 3])
            .auxiliary("dark", DType::Float64, &[3])
            .output(DType::Float32, &[3])
            .build();
        spec.operation = Some("input - dark".to_owned());
        spec
    };
    let registry = Registry::builtin();
    let definition = registry
        .get(NodeRole::Kernel, "cpu.custom_operation")
        .unwrap();
    let NodeBuilder::Kernel(build) = definition.builder else {
        panic!("a kernel")
    };
    let problems = build(&base()).err().unwrap();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(
        problems[0]
            .message
            .contains("[2, 3] does not match shape [3] of output stream")
    );
    assert!(
        problems[1]
            .message
            .contains("float64 does not match dtype float32")
    );

    let mut missing = base();
    missing.operation = None;
    assert!(
        build(&missing).err().unwrap()[0]
            .message
            .contains("requires an 'operation'")
    );

    let mut taken = base();
    taken.auxiliary[0].alias = "input".to_owned();
    taken.operation = Some("sqrt(input)".to_owned());
    let problems = build(&taken).err().unwrap();
    assert_eq!(problems[0].path, "auxiliary.input");
    assert!(
        problems[1]
            .message
            .contains("column 1: unsupported function 'sqrt'"),
        "{problems:?}"
    );

    let mut scalar = base();
    scalar.operation = Some("dark @ dark".to_owned());
    let problems = build(&scalar).err().unwrap();
    assert!(
        problems[0].message.contains("shape [] does not match"),
        "{problems:?}"
    );
}

#[test]
fn a_broadcast_value_is_computed_once_and_short_rows_are_one_loop() {
    let name = |name: &str, dtype, shape: &[usize]| Name {
        name: name.to_owned(),
        array: ArraySpec {
            dtype,
            shape: shape.to_vec(),
        },
    };
    let stages = |operation: &str, names: &[Name]| {
        let graph = Graph::build(&parse(operation).unwrap(), names).unwrap();
        Plan::new(&graph, names).unwrap().stages
    };
    let names = [
        name("input", DType::Float32, &[500, 400]),
        name("row", DType::Float32, &[400]),
        name("pixel", DType::Float32, &[500, 1]),
    ];
    assert_eq!(stages("(input - row) * pixel + 1", &names).len(), 1);
    let row_first = stages("input * (row * 2 + 1)", &names);
    assert_eq!(row_first.len(), 2);
    let Stage::Blocks(first) = &row_first[0] else {
        panic!("{row_first:?}")
    };
    assert_eq!(first.layout.extents, [400]);

    let names = [
        name("input", DType::Float32, &[5000, 3]),
        name("colour", DType::Float32, &[3]),
    ];
    let short = stages("input * colour", &names);
    assert_eq!(short.len(), 2);
    let Stage::Blocks(whole) = &short[1] else {
        panic!("{short:?}")
    };
    assert_eq!(whole.layout.extents, [15000]);
}

// --- the independent evaluator -------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq)]
enum Element {
    Integer(i128),
    Float(f64),
}

#[derive(Clone, Debug)]
struct Array {
    dtype: DType,
    shape: Vec<usize>,
    elements: Vec<Element>,
}

#[derive(Clone, Debug)]
enum Value {
    Constant(Constant),
    Array(Array),
}

/// The number as an element of `dtype`: floats round, integers wrap.
fn stored(element: Element, dtype: DType) -> Element {
    let float = match element {
        Element::Integer(value) => value as f64,
        Element::Float(value) => value,
    };
    let Element::Integer(integer) = element else {
        return Element::Float(rounded(float, dtype));
    };
    Element::Integer(match dtype {
        DType::Bool => i128::from(integer != 0),
        DType::Int8 => (integer as i8).into(),
        DType::Int16 => (integer as i16).into(),
        DType::Int32 => (integer as i32).into(),
        DType::Int64 => (integer as i64).into(),
        DType::Uint8 => (integer as u8).into(),
        DType::Uint16 => (integer as u16).into(),
        DType::Uint32 => (integer as u32).into(),
        DType::Uint64 => (integer as u64).into(),
        _ => return Element::Float(rounded(float, dtype)),
    })
}

fn rounded(value: f64, dtype: DType) -> f64 {
    match dtype {
        DType::Float16 => f16::from_f64(value).into(),
        DType::Float32 => (value as f32).into(),
        _ => value,
    }
}

fn reference(syntax: &Syntax, id: usize, names: &[(&str, Array)]) -> Value {
    let part = |id: usize| reference(syntax, id, names);
    match &syntax.nodes[id].kind {
        SyntaxKind::Integer(value) => Value::Constant(Constant::Integer(*value)),
        SyntaxKind::Float(value) => Value::Constant(Constant::Float(*value)),
        SyntaxKind::Name(name) => Value::Array(
            names
                .iter()
                .find(|(known, _)| known == name)
                .unwrap()
                .1
                .clone(),
        ),
        SyntaxKind::Positive(a) => part(*a),
        SyntaxKind::Negative(a) => match part(*a) {
            Value::Constant(constant) => Value::Constant(constant.negative().unwrap()),
            Value::Array(array) => Value::Array(each(&array, |element| match element {
                Element::Integer(value) => Element::Integer(-value),
                Element::Float(value) => Element::Float(-value),
            })),
        },
        SyntaxKind::Absolute(a) => match part(*a) {
            Value::Constant(constant) => Value::Constant(constant.absolute().unwrap()),
            Value::Array(array) => Value::Array(each(&array, |element| match element {
                Element::Integer(value) => Element::Integer(value.abs()),
                Element::Float(value) => Element::Float(value.abs()),
            })),
        },
        SyntaxKind::Binary(operator, a, b) => combine(*operator, part(*a), part(*b)),
        SyntaxKind::Clip(a, low, high) => {
            let [a, low, high] = [part(*a), part(*low), part(*high)];
            let dtype = common(&[&a, &low, &high]);
            let [a, low, high] = [a, low, high].map(|value| match value {
                Value::Array(array) => Value::Array(in_dtype(&array, dtype)),
                constant => constant,
            });
            // A bound that bounds nothing need not fit the dtype.
            let (least, most) = Scalar::integer_range(dtype).unwrap_or((i128::MIN, i128::MAX));
            let raised = match low {
                Value::Constant(Constant::Integer(bound)) if bound <= least => a,
                low => combine(BinaryOperator::Maximum, a, low),
            };
            match high {
                Value::Constant(Constant::Integer(bound)) if bound >= most => raised,
                high => combine(BinaryOperator::Minimum, raised, high),
            }
        }
        SyntaxKind::MatMul(..) => unreachable!("not generated"),
    }
}

fn each(array: &Array, function: impl Fn(Element) -> Element) -> Array {
    Array {
        elements: array
            .elements
            .iter()
            .map(|element| stored(function(*element), array.dtype))
            .collect(),
        ..array.clone()
    }
}

fn in_dtype(array: &Array, dtype: DType) -> Array {
    Array {
        dtype,
        shape: array.shape.clone(),
        elements: array
            .elements
            .iter()
            .map(|element| match element {
                Element::Integer(value) if dtype.is_float() => {
                    Element::Float(rounded(*value as f64, dtype))
                }
                other => stored(*other, dtype),
            })
            .collect(),
    }
}

fn common(values: &[&Value]) -> DType {
    let mut strong = None;
    let mut weak = None;
    for value in values {
        match value {
            Value::Array(array) => {
                strong = Some(strong.map_or(array.dtype, |found| promote(found, array.dtype)));
            }
            Value::Constant(Constant::Float(_)) => weak = Some(DType::Float64),
            Value::Constant(Constant::Integer(_)) => weak = weak.or(Some(DType::Int64)),
        }
    }
    match (strong, weak) {
        (Some(strong), None) => strong,
        (Some(strong), Some(_)) if strong.is_float() => strong,
        (Some(_) | None, Some(DType::Float64)) => DType::Float64,
        (Some(DType::Bool) | None, Some(weak)) => weak,
        (Some(strong), Some(_)) => strong,
        (None, None) => unreachable!(),
    }
}

fn combine(operator: BinaryOperator, a: Value, b: Value) -> Value {
    if let (Value::Constant(a), Value::Constant(b)) = (&a, &b) {
        return Value::Constant(Constant::combine(operator, *a, *b).unwrap());
    }
    let mut dtype = common(&[&a, &b]);
    if operator == BinaryOperator::Divide && !dtype.is_float() {
        dtype = DType::Float64;
    }
    let array = |value: Value| match value {
        Value::Array(array) => in_dtype(&array, dtype),
        Value::Constant(constant) => in_dtype(
            &Array {
                dtype,
                shape: vec![],
                elements: vec![match constant {
                    Constant::Integer(value) => Element::Integer(value),
                    Constant::Float(value) => Element::Float(value),
                }],
            },
            dtype,
        ),
    };
    let (a, b) = (array(a), array(b));
    let rank = a.shape.len().max(b.shape.len());
    let extent = |array: &Array, axis: usize| {
        let missing = rank - array.shape.len();
        if axis < missing {
            1
        } else {
            array.shape[axis - missing]
        }
    };
    let shape: Vec<usize> = (0..rank)
        .map(|axis| match extent(&a, axis) {
            1 => extent(&b, axis),
            own => own,
        })
        .collect();
    let at = |array: &Array, index: usize| {
        let (mut rest, mut stride, mut place) = (index, 1, 0);
        for axis in (0..rank).rev() {
            let own = extent(array, axis);
            place += if own == 1 {
                0
            } else {
                rest % shape[axis] * stride
            };
            stride *= own;
            rest /= shape[axis];
        }
        array.elements[place]
    };
    let elements = (0..shape.iter().product())
        .map(|index| {
            let result = match (at(&a, index), at(&b, index)) {
                (Element::Integer(a), Element::Integer(b)) => Element::Integer(match operator {
                    BinaryOperator::Add => a + b,
                    BinaryOperator::Subtract => a - b,
                    BinaryOperator::Multiply => a.wrapping_mul(b),
                    BinaryOperator::Minimum => a.min(b),
                    BinaryOperator::Maximum => a.max(b),
                    BinaryOperator::Divide => unreachable!(),
                }),
                (Element::Float(a), Element::Float(b)) => Element::Float(match operator {
                    BinaryOperator::Add => a + b,
                    BinaryOperator::Subtract => a - b,
                    BinaryOperator::Multiply => a * b,
                    BinaryOperator::Divide => a / b,
                    BinaryOperator::Minimum if a.is_nan() || a < b => a,
                    BinaryOperator::Maximum if a.is_nan() || a > b => a,
                    _ => b,
                }),
                mixed => unreachable!("{mixed:?}"),
            };
            stored(result, dtype)
        })
        .collect();
    Array {
        dtype,
        shape,
        elements,
    }
    .into()
}

impl From<Array> for Value {
    fn from(array: Array) -> Self {
        Self::Array(array)
    }
}

fn to_owned_array(array: &Array) -> OwnedArray {
    let mut owned = OwnedArray::zeros(array.dtype, &array.shape).unwrap();
    let size = array.dtype.size_bytes();
    for (bytes, element) in owned
        .bytes_mut()
        .chunks_exact_mut(size)
        .zip(&array.elements)
    {
        match (element, array.dtype) {
            (Element::Integer(value), _) => bytes.copy_from_slice(&value.to_le_bytes()[..size]),
            (Element::Float(value), DType::Float16) => {
                bytes.copy_from_slice(&f16::from_f64(*value).to_le_bytes());
            }
            (Element::Float(value), DType::Float32) => {
                bytes.copy_from_slice(&(*value as f32).to_le_bytes());
            }
            (Element::Float(value), _) => bytes.copy_from_slice(&value.to_le_bytes()),
        }
    }
    owned
}

/// The elements' bits, all NaN being one.
fn comparable(array: &Array) -> Vec<u64> {
    array
        .elements
        .iter()
        .map(|element| match element {
            Element::Integer(value) => *value as u64,
            Element::Float(value) if value.is_nan() => f64::NAN.to_bits(),
            Element::Float(value) => value.to_bits(),
        })
        .collect()
}

fn from_owned_array(array: &mut OwnedArray) -> Array {
    let (dtype, shape) = (array.dtype(), array.shape().to_vec());
    let size = dtype.size_bytes();
    let elements = array
        .bytes_mut()
        .chunks_exact(size)
        .take(shape.iter().product())
        .map(|bytes| {
            let mut wide = [0; 8];
            wide[..size].copy_from_slice(bytes);
            let unsigned = u64::from_le_bytes(wide);
            match dtype {
                DType::Float16 => Element::Float(f16::from_bits(unsigned as u16).into()),
                DType::Float32 => Element::Float(f32::from_bits(unsigned as u32).into()),
                DType::Float64 => Element::Float(f64::from_bits(unsigned)),
                DType::Int8 => Element::Integer((unsigned as i8).into()),
                DType::Int16 => Element::Integer((unsigned as i16).into()),
                DType::Int32 => Element::Integer((unsigned as i32).into()),
                DType::Int64 => Element::Integer((unsigned as i64).into()),
                _ => Element::Integer(unsigned.into()),
            }
        })
        .collect();
    Array {
        dtype,
        shape,
        elements,
    }
}

fn any_dtype() -> impl Strategy<Value = DType> {
    prop::sample::select(
        DType::ALL
            .into_iter()
            .filter(|dtype| !dtype.is_complex())
            .collect::<Vec<_>>(),
    )
}

/// An array that broadcasts to `shape`.
fn any_array(shape: Vec<usize>) -> impl Strategy<Value = Array> {
    let rank = shape.len();
    (
        any_dtype(),
        0..rank,
        prop::collection::vec(prop::bool::weighted(0.3), rank),
    )
        .prop_flat_map(move |(dtype, dropped, ones)| {
            let own: Vec<usize> = shape
                .iter()
                .zip(ones)
                .skip(dropped)
                .map(|(extent, one)| if one { 1 } else { *extent })
                .collect();
            let count: usize = own.iter().product();
            let element = if dtype.is_float() {
                prop_oneof![
                    4 => (-100.0..100.0f64).prop_map(Element::Float),
                    1 => prop::sample::select(vec![
                        f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, 65504.0, 1e-7, 3e38,
                    ]).prop_map(Element::Float),
                ]
                .boxed()
            } else {
                any::<i64>()
                    .prop_map(|value| Element::Integer(value.into()))
                    .boxed()
            };
            prop::collection::vec(element, count).prop_map(move |elements| Array {
                dtype,
                shape: own.clone(),
                elements: elements
                    .into_iter()
                    .map(|element| stored(element, dtype))
                    .collect(),
            })
        })
}

fn any_expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        5 => prop::sample::select(vec!["input", "a", "b", "c"]).prop_map(str::to_owned),
        1 => (0..100u8).prop_map(|value| value.to_string()),
        1 => (0.0..3.0f64).prop_map(|value| format!("{value:?}")),
    ];
    leaf.prop_recursive(5, 24, 3, |part| {
        let (p, q, r) = (part.clone(), part.clone(), part.clone());
        prop_oneof![
            6 => (p, prop::sample::select(vec!["+", "-", "*", "/"]), q)
                .prop_map(|(a, operator, b)| format!("({a} {operator} {b})")),
            1 => r.clone().prop_map(|a| format!("-{a}")),
            1 => r.prop_map(|a| format!("abs({a})")),
            2 => (prop::sample::select(vec!["min", "max", "minimum", "maximum"]), part.clone(), part.clone())
                .prop_map(|(function, a, b)| format!("{function}({a}, {b})")),
            1 => (part.clone(), part.clone(), part)
                .prop_map(|(a, low, high)| format!("clip({a}, {low}, {high})")),
        ]
    })
}

/// Shapes with short and long innermost axes, and more than one block.
fn any_case() -> impl Strategy<Value = (String, Vec<Array>)> {
    let shape = prop_oneof![
        2 => prop::collection::vec(1..5usize, 1..4),
        1 => Just(vec![3, 700]),
        1 => Just(vec![2, 3, 70]),
        1 => Just(vec![2500]),
    ];
    (any_expression(), shape).prop_flat_map(|(expression, shape)| {
        let mut full = any_array(shape.clone()).boxed();
        full = full
            .prop_filter("input has the whole shape", {
                let shape = shape.clone();
                move |array| array.shape == shape
            })
            .boxed();
        let arrays = (
            full,
            any_array(shape.clone()),
            any_array(shape.clone()),
            any_array(shape),
        );
        (
            Just(expression),
            arrays.prop_map(|(input, a, b, c)| vec![input, a, b, c]),
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        max_global_rejects: 100_000,
        max_local_rejects: 1_000_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn agrees_with_the_independent_evaluator((text, arrays) in any_case()) {
        let aliases = ["input", "a", "b", "c"];
        let syntax = parse(&text).unwrap();
        let names: Vec<Name> = aliases.iter().zip(&arrays)
            .map(|(name, array)| Name {
                name: (*name).to_owned(),
                array: ArraySpec { dtype: array.dtype, shape: array.shape.clone() },
            })
            .collect();
        // Constants that fit no integer dtype, differences of bool: tested by themselves.
        let graph = Graph::build(&syntax, &names);
        prop_assume!(graph.is_ok());
        let graph = graph.unwrap();
        let named: Vec<(&str, Array)> = aliases.iter().copied().zip(arrays.iter().cloned()).collect();
        let Value::Array(expected) = reference(&syntax, syntax.nodes.len() - 1, &named) else {
            panic!("{text} is a constant");
        };
        prop_assert_eq!(graph.root().dtype, expected.dtype);
        prop_assert_eq!(&graph.root().shape, &expected.shape);

        let plan = Plan::new(&graph, &names).unwrap();
        let owned: Vec<OwnedArray> = arrays.iter().map(to_owned_array).collect();
        let views: Vec<ArrayRef<'_>> = owned.iter().map(OwnedArray::as_array).collect();
        let frame = FrameInputs { triggers: &views[..1], auxiliary: &views[1..], frame_id: 0 };
        for isa in Isa::available() {
            let mut evaluator = Evaluator::new(plan.clone(), &names).unwrap().with_isa(isa);
            let mut output = OwnedArray::zeros(expected.dtype, &expected.shape).unwrap();
            // Twice: nothing may be left over from the frame before.
            for _ in 0..2 {
                evaluator.evaluate(&frame, &mut output.as_array_mut()).unwrap();
            }
            let found = from_owned_array(&mut output);
            prop_assert_eq!(comparable(&found), comparable(&expected), "{} {:?}", text, isa);
        }
    }
}
