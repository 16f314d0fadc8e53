//! What a stream holds before anybody writes it: `initial` in a configuration.
//!
//! | pattern | keys | contents |
//! | --- | --- | --- |
//! | `constant` | `value`, required | every element is `value` |
//! | `normal` | `seed` (0), `mean` (0.0), `std` (1.0) | `default_rng(seed).standard_normal(shape, dtype) * std + mean` of NumPy, bit for bit; floating-point dtypes only, `float16` being drawn as `float32` |
//! | `values` | `values`, required | nested lists of exactly the stream's shape |
//! | `identity` | `scale` (1.0) | zeros with `scale` on the main diagonal; two axes |
//! | `file` | `path`, required | a `.npy` file of exactly the stream's shape and dtype |
//!
//! Numbers have to fit the dtype. Those JSON cannot spell are text, `.nan`, `.inf`, `-.inf`, and
//! complex ones mappings of `real` and `imag`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use thalweg_shm::{ArrayMut, DType};

use crate::files::npy::NpyFile;
use crate::node::{NodeError, Parameters, SpecProblem};
use crate::numpy_random::Generator;
use crate::owned_array::OwnedArray;
use crate::simd::half_float::{f32_to_half, f64_to_half};
use crate::simd::run::{ReadRun, WriteRun};

/// Bytes filled at a time.
const BLOCK_BYTES: usize = 4096;

/// Initial contents, checked against the dtype and shape they are for.
#[derive(Clone, Debug)]
pub struct Initial {
    pattern: Pattern,
    dtype: DType,
    shape: Vec<usize>,
}

#[derive(Clone, Debug)]
enum Pattern {
    Constant(ElementBytes),
    Normal { seed: u64, mean: f64, std: f64 },
    Values(Arc<OwnedArray>),
    Identity(ElementBytes),
    File(PathBuf),
}

/// The bytes of one element; narrow dtypes use the first ones.
type ElementBytes = [u8; 16];

/// The patterns and the keys they take beside `pattern`.
const PATTERNS: [(&str, &[&str]); 5] = [
    ("constant", &["value"]),
    ("normal", &["seed", "mean", "std"]),
    ("values", &["values"]),
    ("identity", &["scale"]),
    ("file", &["path"]),
];

impl Initial {
    /// Reads an `initial` mapping for a stream of `dtype` and `shape`; `base_dir` is where
    /// relative paths start. Of a file it reads the header, and what it allocates is as large as
    /// `initial`, whatever the shape claims.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, with paths such as `initial.value` and `initial.values[2]`.
    pub fn new(
        initial: &Parameters,
        dtype: DType,
        shape: &[usize],
        base_dir: &Path,
    ) -> Result<Self, Vec<SpecProblem>> {
        let mut reader = Reader {
            initial,
            dtype,
            shape,
            base_dir,
            problems: Vec::new(),
        };
        match reader.pattern() {
            Some(pattern) if reader.problems.is_empty() => Ok(Self {
                pattern,
                dtype,
                shape: shape.to_vec(),
            }),
            _ => Err(reader.problems),
        }
    }

    /// Whether `initial` takes the contents from a file, so that [`Self::new`] has to open it.
    pub fn reads_file(initial: &Parameters) -> bool {
        pattern_name(initial).as_deref() == Some("file")
    }

    /// Writes the contents into `array`, which has the dtype and shape given before.
    ///
    /// # Errors
    ///
    /// When `array` has another dtype or size, or the file can no longer be read.
    pub fn fill(&self, array: &mut ArrayMut<'_>) -> Result<(), NodeError> {
        if array.dtype() != self.dtype || array.shape() != self.shape {
            return Err(NodeError::Failed(format!(
                "initial contents for {:?} of {} do not fit {:?} of {}",
                self.shape,
                self.dtype,
                array.shape(),
                array.dtype()
            )));
        }
        let size = self.dtype.size_bytes();
        match &self.pattern {
            Pattern::Constant(element) => {
                let block: Vec<u8> = element[..size]
                    .iter()
                    .copied()
                    .cycle()
                    .take(BLOCK_BYTES)
                    .collect();
                WriteRun::of_array(array).repeat(ReadRun::of_slice(&block), 0);
            }
            Pattern::Normal { seed, mean, std } => normal(array, *seed, *mean, *std)?,
            Pattern::Values(values) => array.copy_from_array(values.as_array())?,
            Pattern::Identity(element) => {
                array.clear();
                let (&[rows, columns] | &[rows, columns, ..]) = array.shape() else {
                    return Ok(());
                };
                let run = WriteRun::of_array(array);
                for index in 0..rows.min(columns) {
                    run.part(index * (columns + 1) * size, size)
                        .copy_from(ReadRun::of_slice(&element[..size]));
                }
            }
            Pattern::File(path) => {
                let failed = |error: &dyn std::error::Error| NodeError::Failed(error.to_string());
                let mut file = NpyFile::open(path).map_err(|error| failed(&error))?;
                let mut values = OwnedArray::zeros(file.dtype(), file.shape())
                    .map_err(|error| failed(&error))?;
                file.read_part(0, &mut values)
                    .map_err(|error| failed(&error))?;
                array.copy_from_array(values.as_array())?;
            }
        }
        Ok(())
    }
}

fn pattern_name(initial: &Parameters) -> Option<String> {
    let name = initial.get("pattern")?.as_str()?;
    Some(name.trim().to_lowercase())
}

/// NumPy's order of operations: drawn in the dtype, then scaled, then shifted, each rounded.
fn normal(array: &mut ArrayMut<'_>, seed: u64, mean: f64, std: f64) -> Result<(), NodeError> {
    let mut generator = Generator::new(seed);
    let count = array.len();
    let mut start = 0;
    let single = |generator: &mut Generator| {
        let mut value = generator.standard_normal_f32();
        if std != 1.0 {
            value *= std as f32;
        }
        if mean != 0.0 {
            value += mean as f32;
        }
        value
    };
    while start < count {
        let end = count.min(start + BLOCK_BYTES / 8);
        let block = start..end;
        match array.dtype() {
            DType::Float64 => {
                let values: Vec<f64> = block
                    .map(|_| {
                        let mut value = generator.standard_normal_f64();
                        if std != 1.0 {
                            value *= std;
                        }
                        if mean != 0.0 {
                            value += mean;
                        }
                        value
                    })
                    .collect();
                array.copy_range_from(start, &values)?;
            }
            DType::Float32 => {
                let values: Vec<f32> = block.map(|_| single(&mut generator)).collect();
                array.copy_range_from(start, &values)?;
            }
            _ => {
                let values: Vec<half::f16> =
                    block.map(|_| f32_to_half(single(&mut generator))).collect();
                array.copy_range_from(start, &values)?;
            }
        }
        start = end;
    }
    Ok(())
}

struct Reader<'a> {
    initial: &'a Parameters,
    dtype: DType,
    shape: &'a [usize],
    base_dir: &'a Path,
    problems: Vec<SpecProblem>,
}

impl Reader<'_> {
    fn problem(&mut self, key: &str, message: impl Into<String>) {
        let path = if key.is_empty() {
            "initial".to_owned()
        } else {
            format!("initial.{key}")
        };
        self.problems.push(SpecProblem::new(path, message));
    }

    fn expected(&mut self, key: &str, expected: &str, found: Option<&Value>) {
        let found = match found {
            None => "nothing".to_owned(),
            Some(Value::Array(list)) => format!("a list of {}", list.len()),
            Some(Value::Object(_)) => "a mapping".to_owned(),
            Some(value) => value.to_string(),
        };
        self.problem(
            key,
            format!("'initial.{key}' must be {expected}, found {found}"),
        );
    }

    fn pattern(&mut self) -> Option<Pattern> {
        let initial = self.initial;
        let Some((name, keys)) = pattern_name(initial)
            .as_deref()
            .and_then(|name| PATTERNS.into_iter().find(|(known, _)| *known == name))
        else {
            self.expected(
                "pattern",
                "'constant', 'normal', 'values', 'identity' or 'file'",
                initial.get("pattern"),
            );
            return None;
        };
        for key in initial.keys() {
            if key != "pattern" && !keys.contains(&key.as_str()) {
                self.problem(
                    key,
                    format!(
                        "the initial pattern '{name}' contains unsupported fields: {key}; it takes {}",
                        keys.join(", ")
                    ),
                );
            }
        }
        match name {
            "constant" => self.element("value").map(Pattern::Constant),
            "normal" => self.normal(),
            "values" => self.values(),
            "identity" => self.identity(),
            _ => self.file(),
        }
    }

    /// The number `key` as an element of the stream.
    fn element(&mut self, key: &str) -> Option<ElementBytes> {
        let value = self.initial.get(key);
        let element = value.and_then(|value| element_bytes(value, self.dtype));
        if element.is_none() {
            self.expected(key, &expected_element(self.dtype), value);
        }
        element
    }

    fn number_or(&mut self, key: &str, default: f64) -> f64 {
        match self.initial.get(key) {
            None => default,
            Some(value) => value.as_f64().unwrap_or_else(|| {
                self.expected(key, "a finite number", Some(value));
                default
            }),
        }
    }

    fn normal(&mut self) -> Option<Pattern> {
        if !self.dtype.is_float() {
            self.problem(
                "",
                format!(
                    "the initial pattern 'normal' needs a floating-point dtype, found {}",
                    self.dtype
                ),
            );
        }
        let seed = match self.initial.get("seed") {
            None => 0,
            Some(seed) => seed.as_u64().unwrap_or_else(|| {
                self.expected("seed", "an integer of at least 0", Some(seed));
                0
            }),
        };
        let mean = self.number_or("mean", 0.0);
        let std = self.number_or("std", 1.0);
        if std < 0.0 {
            self.expected("std", "a number of at least 0", self.initial.get("std"));
        }
        Some(Pattern::Normal { seed, mean, std })
    }

    fn identity(&mut self) -> Option<Pattern> {
        if self.shape.len() != 2 {
            self.problem(
                "",
                format!(
                    "the initial pattern 'identity' needs a 2D stream, found shape {:?}",
                    self.shape
                ),
            );
        }
        let element = if self.initial.contains_key("scale") {
            self.element("scale")?
        } else {
            element_bytes(&Value::from(1), self.dtype)?
        };
        Some(Pattern::Identity(element))
    }

    fn values(&mut self) -> Option<Pattern> {
        let Some(values) = self.initial.get("values") else {
            self.expected("values", "nested lists of numbers", None);
            return None;
        };
        let mut elements = Vec::new();
        // Only the first mistake: after a missing row, every following element is wrong.
        if let Err(mismatch) = flatten(values, self.shape, self.dtype, &mut elements) {
            let Mismatch {
                path,
                expected,
                found,
            } = mismatch;
            let expected = format!("{expected}, to fill shape {:?}", self.shape);
            self.expected(&format!("values{path}"), &expected, Some(found));
            return None;
        }
        let mut array = match OwnedArray::zeros(self.dtype, self.shape) {
            Ok(array) => array,
            Err(error) => {
                self.problem("values", error.to_string());
                return None;
            }
        };
        let size = self.dtype.size_bytes();
        for (bytes, element) in array.bytes_mut().chunks_exact_mut(size).zip(&elements) {
            bytes.copy_from_slice(&element[..size]);
        }
        Some(Pattern::Values(Arc::new(array)))
    }

    fn file(&mut self) -> Option<Pattern> {
        let path = self.initial.get("path");
        let Some(path) = path.and_then(Value::as_str).filter(|path| !path.is_empty()) else {
            self.expected("path", "the path of a .npy file", path);
            return None;
        };
        let path = self.base_dir.join(path);
        match NpyFile::open(&path) {
            Err(error) => {
                self.problem("path", error.to_string());
                None
            }
            Ok(file) if file.dtype() != self.dtype || file.shape() != self.shape => {
                self.problem(
                    "path",
                    format!(
                        "{} holds {:?} of {}, the stream needs {:?} of {}",
                        path.display(),
                        file.shape(),
                        file.dtype(),
                        self.shape,
                        self.dtype
                    ),
                );
                None
            }
            Ok(_) => Some(Pattern::File(path)),
        }
    }
}

/// What does not fit within nested lists.
struct Mismatch<'a> {
    /// Where in the lists, such as `[1][0]`.
    path: String,
    expected: String,
    found: &'a Value,
}

/// The numbers of nested lists in C order.
fn flatten<'a>(
    value: &'a Value,
    shape: &[usize],
    dtype: DType,
    elements: &mut Vec<ElementBytes>,
) -> Result<(), Mismatch<'a>> {
    let mismatch = |expected| Mismatch {
        path: String::new(),
        expected,
        found: value,
    };
    let Some((length, inner)) = shape.split_first() else {
        let element =
            element_bytes(value, dtype).ok_or_else(|| mismatch(expected_element(dtype)))?;
        elements.push(element);
        return Ok(());
    };
    let list = match value {
        Value::Array(list) if list.len() == *length => list,
        _ => {
            let of = if inner.is_empty() { "numbers" } else { "lists" };
            return Err(mismatch(format!("a list of {length} {of}")));
        }
    };
    for (index, value) in list.iter().enumerate() {
        flatten(value, inner, dtype, elements).map_err(|mismatch| Mismatch {
            path: format!("[{index}]{}", mismatch.path),
            ..mismatch
        })?;
    }
    Ok(())
}

fn expected_element(dtype: DType) -> String {
    let complex = if dtype.is_complex() {
        " or a mapping of 'real' and 'imag'"
    } else {
        ""
    };
    format!("a number{complex} that fits {dtype}")
}

/// A number as an element of `dtype`; `None` when it does not fit. Fractions may be rounded.
fn element_bytes(value: &Value, dtype: DType) -> Option<ElementBytes> {
    let mut bytes = [0; 16];
    match dtype {
        DType::Complex64 | DType::Complex128 => {
            let part_dtype = match dtype {
                DType::Complex64 => DType::Float32,
                _ => DType::Float64,
            };
            let (real, imaginary) = match value {
                Value::Object(parts) if parts.len() == 2 => {
                    (parts.get("real")?, parts.get("imag")?)
                }
                real => (real, &Value::from(0)),
            };
            let size = part_dtype.size_bytes();
            let real = float_bytes(real, part_dtype)?;
            let imaginary = float_bytes(imaginary, part_dtype)?;
            bytes[..size].copy_from_slice(&real[..size]);
            bytes[size..2 * size].copy_from_slice(&imaginary[..size]);
        }
        _ if dtype.is_float() => bytes[..8].copy_from_slice(&float_bytes(value, dtype)?),
        _ => bytes[..8].copy_from_slice(&integer_bytes(value, dtype)?),
    }
    Some(bytes)
}

fn float_bytes(value: &Value, dtype: DType) -> Option<[u8; 8]> {
    let number = match value {
        Value::Bool(flag) => f64::from(u8::from(*flag)),
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => match text.trim() {
            ".nan" => f64::NAN,
            ".inf" => f64::INFINITY,
            "-.inf" => f64::NEG_INFINITY,
            _ => return None,
        },
        _ => return None,
    };
    let mut bytes = [0; 8];
    let fits = match dtype {
        DType::Float16 => {
            let half = f64_to_half(number);
            bytes[..2].copy_from_slice(&half.to_ne_bytes());
            half.is_finite() || !number.is_finite()
        }
        DType::Float32 => {
            let single = number as f32;
            bytes[..4].copy_from_slice(&single.to_ne_bytes());
            single.is_finite() || !number.is_finite()
        }
        _ => {
            bytes = number.to_ne_bytes();
            true
        }
    };
    fits.then_some(bytes)
}

fn integer_bytes(value: &Value, dtype: DType) -> Option<[u8; 8]> {
    let number: i128 = match value {
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(signed), _, _) => signed.into(),
            (_, Some(unsigned), _) => unsigned.into(),
            // Saturates far outside of every dtype.
            (_, _, Some(float)) if float.fract() == 0.0 => float as i128,
            _ => return None,
        },
        _ => return None,
    };
    let bits = dtype.size_bytes() * 8;
    let (least, most) = match dtype {
        DType::Bool => (0, 1),
        DType::Uint8 | DType::Uint16 | DType::Uint32 | DType::Uint64 => (0, (1 << bits) - 1),
        _ => (-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
    };
    if !(least..=most).contains(&number) {
        return None;
    }
    let mut bytes = [0; 8];
    let size = dtype.size_bytes();
    if cfg!(target_endian = "little") {
        bytes[..size].copy_from_slice(&number.to_le_bytes()[..size]);
    } else {
        bytes[..size].copy_from_slice(&number.to_be_bytes()[16 - size..]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use half::f16;
    use serde_json::json;
    use thalweg_shm::Element;

    use super::*;
    use crate::files::npy::tests::npy_bytes;

    fn initial(
        value: Value,
        dtype: DType,
        shape: &[usize],
    ) -> Result<OwnedArray, Vec<SpecProblem>> {
        initial_from(value, dtype, shape, Path::new(""))
    }

    fn initial_from(
        value: Value,
        dtype: DType,
        shape: &[usize],
        base_dir: &Path,
    ) -> Result<OwnedArray, Vec<SpecProblem>> {
        let Value::Object(parameters) = value else {
            panic!("a mapping")
        };
        let initial = Initial::new(&parameters, dtype, shape, base_dir)?;
        let mut array = OwnedArray::zeros(dtype, shape).unwrap();
        initial.fill(&mut array.as_array_mut()).unwrap();
        Ok(array)
    }

    fn filled<T: Element>(value: Value, shape: &[usize]) -> Vec<T> {
        initial(value, T::DTYPE, shape).unwrap().to_vec().unwrap()
    }

    #[test]
    fn constants_of_every_dtype() {
        assert_eq!(
            filled::<f32>(json!({"pattern": "constant", "value": 1.5}), &[2, 3]),
            [1.5; 6]
        );
        assert_eq!(
            filled::<i64>(json!({"pattern": " Constant", "value": i64::MIN}), &[5000]),
            [i64::MIN; 5000]
        );
        assert_eq!(
            filled::<u64>(json!({"pattern": "constant", "value": u64::MAX}), &[2]),
            [u64::MAX; 2]
        );
        assert_eq!(
            filled::<u8>(json!({"pattern": "constant", "value": true}), &[2]),
            [1, 1]
        );
        assert_eq!(
            filled::<i8>(json!({"pattern": "constant", "value": -3.0}), &[2]),
            [-3, -3]
        );
        let nan = filled::<f16>(json!({"pattern": "constant", "value": ".nan"}), &[2]);
        assert!(nan.iter().all(|element| element.is_nan()));
        let mut complex = initial(
            json!({"pattern": "constant", "value": {"real": 1, "imag": "-.inf"}}),
            DType::Complex64,
            &[2],
        )
        .unwrap();
        let expected = [1.0f32, f32::NEG_INFINITY].map(f32::to_ne_bytes).concat();
        assert_eq!(complex.bytes_mut(), expected.repeat(2));
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        for (value, dtype) in [
            (json!(256), DType::Uint8),
            (json!(-1), DType::Uint64),
            (json!(1.5), DType::Int32),
            (json!(1e30), DType::Int64),
            (json!(2), DType::Bool),
            (json!(".nan"), DType::Int16),
            (json!(1e39), DType::Float32),
            (json!(65520), DType::Float16),
            (json!("1"), DType::Float64),
            (json!({"real": 1, "imag": 1}), DType::Float64),
            (json!({"real": 1}), DType::Complex64),
            (json!(null), DType::Float64),
        ] {
            let given = json!({"pattern": "constant", "value": value});
            let problems = initial(given, dtype, &[2]).unwrap_err();
            assert_eq!(problems[0].path, "initial.value", "{value} {dtype}");
            assert!(problems[0].message.contains(dtype.name()));
        }
    }

    /// `default_rng(3).standard_normal(3, dtype) * 2 + 10` of NumPy 2.4.
    #[test]
    fn normal_numbers_are_numpy_s() {
        let given = json!({"pattern": "normal", "seed": 3, "std": 2, "mean": 10});
        assert_eq!(
            filled::<f64>(given.clone(), &[3]),
            [14.081838242770365, 4.8886699373716365, 10.836197693451558]
        );
        assert_eq!(
            filled::<f32>(given.clone(), &[3]),
            [14.8343, 10.285525, 8.974627]
        );
        let singles = filled::<f32>(given.clone(), &[3]);
        let halves: Vec<f16> = singles.into_iter().map(f16::from_f32).collect();
        assert_eq!(filled::<f16>(given, &[3]), halves);
        let many = filled::<f64>(json!({"pattern": "normal"}), &[40, 50]);
        let mut generator = Generator::new(0);
        assert!(
            many.iter()
                .all(|element| *element == generator.standard_normal_f64())
        );
    }

    #[test]
    fn values_have_exactly_the_shape() {
        let given = json!({"pattern": "values", "values": [[1, 2], [3, 4], [5, true]]});
        assert_eq!(filled::<i16>(given.clone(), &[3, 2]), [1, 2, 3, 4, 5, 1]);
        let problems = initial(given.clone(), DType::Int16, &[2, 3]).unwrap_err();
        assert!(
            problems[0]
                .message
                .contains("'initial.values' must be a list of 2 lists"),
            "{problems:?}"
        );
        let problems = initial(given, DType::Int16, &[3, 3]).unwrap_err();
        assert!(
            problems[0]
                .message
                .contains("'initial.values[0]' must be a list of 3 numbers")
        );
        let given = json!({"pattern": "values", "values": [1, 2, 300]});
        let problems = initial(given, DType::Uint8, &[3]).unwrap_err();
        assert_eq!(problems[0].path, "initial.values[2]");
        assert_eq!(
            problems[0].message,
            "'initial.values[2]' must be a number that fits uint8, to fill shape [3], found 300"
        );
    }

    #[test]
    fn the_identity_may_be_rectangular() {
        let given = json!({"pattern": "identity", "scale": 2});
        assert_eq!(
            filled::<f32>(given.clone(), &[2, 3]),
            [2.0, 0.0, 0.0, 0.0, 2.0, 0.0]
        );
        assert_eq!(
            filled::<u8>(json!({"pattern": "identity"}), &[3, 2]),
            [1, 0, 0, 1, 0, 0]
        );
        let problems = initial(given, DType::Float32, &[4]).unwrap_err();
        assert!(problems[0].message.contains("identity") && problems[0].message.contains("2D"));
    }

    #[test]
    fn files_fit_exactly() {
        let folder = tempfile::tempdir().unwrap();
        let data: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0]
            .iter()
            .flat_map(|e| e.to_le_bytes())
            .collect();
        let bytes = npy_bytes("<f4", false, "(2, 2)", &data);
        std::fs::write(folder.path().join("dark.npy"), bytes).unwrap();
        let given = json!({"pattern": "file", "path": "dark.npy"});
        let array = initial_from(given.clone(), DType::Float32, &[2, 2], folder.path()).unwrap();
        assert_eq!(array.to_vec::<f32>().unwrap(), [1.0, 2.0, 3.0, 4.0]);
        let problems =
            initial_from(given.clone(), DType::Float64, &[4], folder.path()).unwrap_err();
        assert!(
            problems[0]
                .message
                .contains("holds [2, 2] of float32, the stream needs [4] of float64"),
            "{problems:?}"
        );
        let problems = initial(given, DType::Float32, &[2, 2]).unwrap_err();
        assert!(
            problems[0].message.contains("cannot open dark.npy"),
            "{problems:?}"
        );
    }

    #[test]
    fn every_mistake_is_told() {
        let given = json!({"pattern": "normal", "seed": true, "std": -1, "mean": "x", "scale": 1});
        let problems = initial(given, DType::Int32, &[2]).unwrap_err();
        let paths: Vec<&str> = problems
            .iter()
            .map(|problem| problem.path.as_str())
            .collect();
        assert_eq!(
            paths,
            [
                "initial.scale",
                "initial",
                "initial.seed",
                "initial.mean",
                "initial.std"
            ]
        );
        assert!(
            problems[0]
                .message
                .contains("contains unsupported fields: scale")
        );
        let problems = initial(json!({"pattern": "zeros"}), DType::Int32, &[2]).unwrap_err();
        assert!(
            problems[0].message.contains("'constant', 'normal'"),
            "{problems:?}"
        );
        assert!(initial(json!({}), DType::Int32, &[2]).is_err());
        assert!(initial(json!({"pattern": "constant"}), DType::Int32, &[2]).is_err());
        assert!(initial(json!({"pattern": "values"}), DType::Int32, &[2]).is_err());
        assert!(initial(json!({"pattern": "file"}), DType::Int32, &[2]).is_err());
    }
}
