//! `initial`: what a stream holds before anybody writes it.

use serde_json::{Map, Value as Json};
use thalweg_kernels::Parameters;
use thalweg_shm::DType;

use super::Diagnostic;
use super::document::{Value, join_index};
use super::fields::{Fields, Item, Problems};

#[derive(Clone, Copy)]
enum Pattern {
    Constant,
    Normal,
    Values,
    Identity,
}

const PATTERNS: [(&str, Pattern); 4] = [
    ("constant", Pattern::Constant),
    ("normal", Pattern::Normal),
    ("values", Pattern::Values),
    ("identity", Pattern::Identity),
];

/// JSON has no spelling for these numbers, `initial` takes YAML's as text.
const NON_FINITE: [(&str, f64); 3] = [
    (".nan", f64::NAN),
    (".inf", f64::INFINITY),
    ("-.inf", f64::NEG_INFINITY),
];

/// Dtype and shape of the stream the pattern is for; `None` where the entry does not tell.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) dtype: Option<DType>,
    pub(super) shape: Option<&'a [usize]>,
}

/// Reads a pattern in full, so that building the pipeline finds nothing wrong with it any more.
/// Looks only at the document: nothing of the stream's size is allocated.
pub(super) fn read_initial(
    item: Item<'_>,
    target: Target<'_>,
    problems: &mut Problems,
) -> Option<Parameters> {
    let found_before = problems.len();
    let whole = item.clone();
    let mut fields = Fields::open(item, problems)?;
    let pattern = fields.required("pattern", problems)?;
    let pattern = pattern.choice(&PATTERNS, problems)?;
    let mut initial = Map::new();
    let mut keep = |key: &str, value: Option<Json>| {
        if let Some(value) = value {
            initial.insert(key.to_owned(), value);
        }
    };
    match pattern {
        Pattern::Constant => {
            keep("pattern", Some("constant".into()));
            let value = fields.required("value", problems);
            keep(
                "value",
                value.and_then(|value| read_scalar(&value, target.dtype, problems)),
            );
        }
        Pattern::Normal => {
            keep("pattern", Some("normal".into()));
            if let Some(dtype) = target.dtype.filter(|dtype| !dtype.is_float()) {
                problems.push(whole.problem(format!(
                    "{}: the initial pattern 'normal' needs a floating-point dtype, found {dtype}",
                    whole.who()
                )));
            }
            let seed = fields.get("seed").and_then(|seed| {
                let range = 0..=i128::from(u64::MAX);
                seed.integer(range, "an integer of at least 0", problems)
            });
            keep(
                "seed",
                seed.and_then(|seed| u64::try_from(seed).ok())
                    .map(Json::from),
            );
            let mean = fields.get("mean").and_then(|mean| mean.number(problems));
            keep("mean", mean.map(Json::from));
            let std = fields.get("std").and_then(|std| {
                let number = std.number(problems)?;
                if number < 0.0 {
                    problems.push(std.expected("a number of at least 0"));
                }
                Some(number)
            });
            keep("std", std.map(Json::from));
        }
        Pattern::Values => {
            keep("pattern", Some("values".into()));
            let values = fields.required("values", problems);
            keep(
                "values",
                values.and_then(|values| read_values(&values, target, problems)),
            );
        }
        Pattern::Identity => {
            keep("pattern", Some("identity".into()));
            if let Some(shape) = target.shape.filter(|shape| shape.len() != 2) {
                problems.push(whole.problem(format!(
                    "{}: the initial pattern 'identity' needs a 2D stream, found the {}-dimensional shape {shape:?}",
                    whole.who(),
                    shape.len()
                )));
            }
            let scale = fields.get("scale");
            keep(
                "scale",
                scale.and_then(|scale| read_scalar(&scale, target.dtype, problems)),
            );
        }
    }
    fields.finish(problems);
    (problems.len() == found_before).then_some(initial)
}

/// One element, which has to be exactly what the dtype can hold, but for the rounding of fractions.
fn read_scalar(item: &Item<'_>, dtype: Option<DType>, problems: &mut Problems) -> Option<Json> {
    let scalar = scalar(&item.node.value, dtype);
    if scalar.is_none() {
        problems.push(item.expected(&expected_scalar(dtype)));
    }
    scalar
}

fn expected_scalar(dtype: Option<DType>) -> String {
    match dtype {
        Some(dtype) => format!("a number that fits {dtype}"),
        None => "a number".to_owned(),
    }
}

/// Nested lists of exactly the stream's shape. Only the first mistake is reported: a list with one
/// row missing is wrong in every following element.
fn read_values(item: &Item<'_>, target: Target<'_>, problems: &mut Problems) -> Option<Json> {
    match nested_values(&item.node.value, target.dtype, target.shape) {
        Ok(values) => Some(values),
        Err(Mismatch { path, expected }) => {
            let full_path = format!("{}{path}", item.path);
            let node = item.node.find(&path).unwrap_or(item.node);
            let message = format!(
                "'values{path}' of the initial pattern of {} must be {expected}, found {}",
                item.who(),
                node.value
            );
            problems.push(Diagnostic::new(full_path, message).at(node.span));
            None
        }
    }
}

struct Mismatch {
    /// Within `values`.
    path: String,
    expected: String,
}

fn nested_values(
    value: &Value,
    dtype: Option<DType>,
    shape: Option<&[usize]>,
) -> Result<Json, Mismatch> {
    let mismatch = |expected: String| Mismatch {
        path: String::new(),
        expected,
    };
    let (elements, inner_shape) = match (value, shape) {
        (Value::Sequence(elements), None) => (elements, None),
        (Value::Sequence(elements), Some([length, inner @ ..])) if elements.len() == *length => {
            (elements, Some(inner))
        }
        (_, Some([length, inner @ ..])) => {
            let of_lists = if inner.is_empty() { "numbers" } else { "lists" };
            return Err(mismatch(format!("a list of {length} {of_lists}")));
        }
        (value, _) => {
            return scalar(value, dtype).ok_or_else(|| mismatch(expected_scalar(dtype)));
        }
    };
    elements
        .iter()
        .enumerate()
        .map(|(index, element)| {
            nested_values(&element.value, dtype, inner_shape).map_err(|inner| Mismatch {
                path: join_index("", index) + &inner.path,
                expected: inner.expected,
            })
        })
        .collect()
}

/// The JSON form of a value that fits `dtype`; `None` when it does not fit. A complex number is a
/// mapping of `real` and `imag`.
fn scalar(value: &Value, dtype: Option<DType>) -> Option<Json> {
    let spelled = |number: f64| {
        let non_finite = NON_FINITE.iter().find(|(_, known)| {
            known.to_bits() == number.to_bits() || known.is_nan() && number.is_nan()
        });
        match non_finite {
            Some((spelling, _)) => Json::from(*spelling),
            None => Json::from(number),
        }
    };
    match value {
        Value::Bool(value) => Some(Json::from(*value)),
        Value::Int(value) => {
            let json = i64::try_from(*value)
                .map(Json::from)
                .or_else(|_| u64::try_from(*value).map(Json::from))
                .ok()?;
            dtype
                .is_none_or(|dtype| integer_fits(*value, dtype))
                .then_some(json)
        }
        Value::Float(value) => dtype
            .is_none_or(|dtype| float_fits(*value, dtype))
            .then(|| spelled(*value)),
        Value::String(text) => {
            let (spelling, number) = NON_FINITE.iter().find(|(known, _)| *known == text.trim())?;
            dtype
                .is_none_or(|dtype| float_fits(*number, dtype))
                .then(|| Json::from(*spelling))
        }
        Value::Mapping(entries) if dtype.is_none_or(DType::is_complex) => {
            let part = |key: &str| {
                let entry = entries.iter().find(|entry| entry.key == key)?;
                match entry.value.value {
                    Value::Mapping(_) | Value::Bool(_) => None,
                    ref part => scalar(part, dtype),
                }
            };
            let (real, imag) = (part("real")?, part("imag")?);
            (entries.len() == 2).then(|| {
                Json::Object(Map::from_iter([
                    ("real".to_owned(), real),
                    ("imag".to_owned(), imag),
                ]))
            })
        }
        _ => None,
    }
}

fn integer_fits(value: i128, dtype: DType) -> bool {
    let bits = dtype.size_bytes() * 8;
    match dtype {
        DType::Bool => value == 0 || value == 1,
        _ if !dtype.is_integer() => {
            // fractions may be rounded as well
            let nearest = value as f64;
            float_fits(nearest, dtype)
        }
        DType::Uint8 | DType::Uint16 | DType::Uint32 | DType::Uint64 => {
            (0..1_i128 << bits).contains(&value)
        }
        _ => (-(1_i128 << (bits - 1))..1_i128 << (bits - 1)).contains(&value),
    }
}

fn float_fits(value: f64, dtype: DType) -> bool {
    match dtype {
        DType::Float64 | DType::Complex128 => true,
        DType::Float32 | DType::Complex64 => {
            !value.is_finite() || value.abs() <= f64::from(f32::MAX)
        }
        DType::Float16 => !value.is_finite() || value.abs() <= half::f16::MAX.to_f64(),
        _ => {
            // saturates; a saturated value does not fit any dtype
            let whole = value as i128;
            value.fract() == 0.0 && integer_fits(whole, dtype)
        }
    }
}
