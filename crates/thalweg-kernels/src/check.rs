//! Checks of a node's specification that gather every problem before giving up.
//!
//! ```
//! use thalweg_kernels::check::SpecChecker;
//! use thalweg_kernels::{NodeSpec, SpecProblem};
//!
//! fn factor(spec: &NodeSpec) -> Result<f64, Vec<SpecProblem>> {
//!     let mut check = SpecChecker::new(spec);
//!     if let (Some(input), Some(output)) = (check.input(), check.output()) {
//!         check.same_shape("output", input, output);
//!         check.same_dtype("output", input, output);
//!     }
//!     let factor = check.number("factor");
//!     check.finish()?;
//!     Ok(factor)
//! }
//! ```

use serde_json::Value;

use crate::node::{NodeSpec, SpecProblem, StreamSpec};

/// Collects what is wrong with one [`NodeSpec`].
///
/// A check that fails records the problem and returns a harmless value, so that the following
/// checks still run; [`SpecChecker::finish`] then refuses the specification.
#[derive(Debug)]
pub struct SpecChecker<'a> {
    spec: &'a NodeSpec,
    problems: Vec<SpecProblem>,
}

impl<'a> SpecChecker<'a> {
    /// A checker that found nothing wrong yet.
    pub fn new(spec: &'a NodeSpec) -> Self {
        Self {
            spec,
            problems: Vec::new(),
        }
    }

    /// What is checked.
    pub fn spec(&self) -> &'a NodeSpec {
        self.spec
    }

    /// Records a problem.
    pub fn problem(&mut self, problem: SpecProblem) {
        self.problems.push(problem);
    }

    /// Ok when no problem was recorded.
    ///
    /// # Errors
    ///
    /// Every problem, in the order of discovery.
    pub fn finish(self) -> Result<(), Vec<SpecProblem>> {
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(self.problems)
        }
    }

    /// The only trigger stream; a problem when there are none or several.
    pub fn input(&mut self) -> Option<&'a StreamSpec> {
        let spec = self.spec;
        self.only("input", "trigger input", &spec.inputs)
    }

    /// The only output stream; a problem when there are none or several.
    pub fn output(&mut self) -> Option<&'a StreamSpec> {
        let spec = self.spec;
        self.only("output", "output", &spec.outputs)
    }

    fn only(
        &mut self,
        path: &str,
        role: &str,
        streams: &'a [StreamSpec],
    ) -> Option<&'a StreamSpec> {
        if let [stream] = streams {
            return Some(stream);
        }
        self.problem(SpecProblem::new(
            path,
            format!(
                "{} expects 1 {role} stream, got {}",
                self.spec.kind,
                streams.len()
            ),
        ));
        None
    }

    /// The auxiliary streams, `meanings.len()` of them in that order; a problem otherwise.
    pub fn auxiliary<const COUNT: usize>(
        &mut self,
        meanings: [&str; COUNT],
    ) -> Option<[&'a StreamSpec; COUNT]> {
        let found = &self.spec.auxiliary;
        if found.len() == COUNT {
            return Some(std::array::from_fn(|index| &found[index].stream));
        }
        let wanted = if COUNT == 0 {
            String::new()
        } else {
            format!(" ({})", meanings.join(", "))
        };
        self.problem(SpecProblem::new(
            "auxiliary",
            format!(
                "{} expects {COUNT} auxiliary stream{}{wanted}, got {}",
                self.spec.kind,
                if COUNT == 1 { "" } else { "s" },
                found.len()
            ),
        ));
        None
    }

    /// Records a problem unless both streams have the same shape.
    pub fn same_shape(&mut self, path: &str, first: &StreamSpec, second: &StreamSpec) {
        if first.shape != second.shape {
            self.problem(SpecProblem::new(
                path,
                format!(
                    "{} requires matching shapes: {:?} has {:?}, {:?} has {:?}",
                    self.spec.kind, first.name, first.shape, second.name, second.shape
                ),
            ));
        }
    }

    /// Records a problem unless both streams have the same dtype.
    pub fn same_dtype(&mut self, path: &str, first: &StreamSpec, second: &StreamSpec) {
        if first.dtype != second.dtype {
            self.problem(SpecProblem::new(
                path,
                format!(
                    "{} requires matching dtypes: {:?} is {}, {:?} is {}",
                    self.spec.kind, first.name, first.dtype, second.name, second.dtype
                ),
            ));
        }
    }

    /// Records a problem when the stream holds complex numbers.
    pub fn real(&mut self, path: &str, stream: &StreamSpec) {
        if stream.dtype.is_complex() {
            self.problem(
                SpecProblem::new(
                    path,
                    format!(
                        "{} computes with real numbers, but {:?} is {}",
                        self.spec.kind, stream.name, stream.dtype
                    ),
                )
                .with_hint("use a floating-point or integer dtype"),
            );
        }
    }

    /// Required numeric parameter `name`; `true` and `false` count as 1 and 0.
    pub fn number(&mut self, name: &str) -> f64 {
        match self.spec.parameters.get(name) {
            Some(value) => self.as_number(name, value),
            None => {
                self.problem(
                    SpecProblem::new(
                        format!("parameters.{name}"),
                        format!(
                            "{} requires numeric parameter '{name}', which is missing",
                            self.spec.kind
                        ),
                    )
                    .with_hint(format!("add `{name}: <number>` under `parameters`")),
                );
                0.0
            }
        }
    }

    /// Numeric parameter `name`, or `default` when it is not given.
    pub fn number_or(&mut self, name: &str, default: f64) -> f64 {
        match self.spec.parameters.get(name) {
            Some(value) => self.as_number(name, value),
            None => default,
        }
    }

    fn as_number(&mut self, name: &str, value: &Value) -> f64 {
        if let Some(number) = json_number(value) {
            return number;
        }
        self.parameter_problem(name, "a number", value);
        0.0
    }

    /// Optional parameter `name` for which `accept` holds, such as "a positive number"; `null`
    /// stands for not given.
    pub fn optional_number(
        &mut self,
        name: &str,
        expected: &str,
        accept: impl Fn(f64) -> bool,
    ) -> Option<f64> {
        let value = self.spec.parameters.get(name)?;
        if value.is_null() {
            return None;
        }
        match json_number(value) {
            Some(number) if !value.is_boolean() && accept(number) => Some(number),
            _ => {
                self.parameter_problem(name, expected, value);
                None
            }
        }
    }

    /// Integer parameter `name` of at least `minimum`, or `default` when it is not given.
    pub fn integer_or(&mut self, name: &str, minimum: u64, default: u64) -> u64 {
        match self.spec.parameters.get(name) {
            None => default,
            Some(value) => match value.as_u64() {
                Some(number) if number >= minimum => number,
                _ => {
                    self.parameter_problem(
                        name,
                        &format!("an integer of at least {minimum}"),
                        value,
                    );
                    default
                }
            },
        }
    }

    /// True-or-false parameter `name`, or `default` when it is not given.
    pub fn boolean_or(&mut self, name: &str, default: bool) -> bool {
        match self.spec.parameters.get(name) {
            None => default,
            Some(Value::Bool(flag)) => *flag,
            Some(value) => {
                self.parameter_problem(name, "true or false", value);
                default
            }
        }
    }

    /// Text parameter `name`, or `default` when it is not given; without a default it is required.
    pub fn text_or(&mut self, name: &str, default: Option<&str>) -> String {
        match (self.spec.parameters.get(name), default) {
            (Some(Value::String(text)), _) if !text.trim().is_empty() => text.clone(),
            (Some(value), _) => {
                self.parameter_problem(name, "a non-empty text", value);
                String::new()
            }
            (None, Some(default)) => default.to_owned(),
            (None, None) => {
                self.problem(
                    SpecProblem::new(
                        format!("parameters.{name}"),
                        format!(
                            "{} requires parameter '{name}', which is missing",
                            self.spec.kind
                        ),
                    )
                    .with_hint(format!("add `{name}: <text>` under `parameters`")),
                );
                String::new()
            }
        }
    }

    /// Records that parameter `name` should have been `expected`, but is `found`.
    pub fn parameter_problem(&mut self, name: &str, expected: &str, found: &Value) {
        self.problem(SpecProblem::new(
            format!("parameters.{name}"),
            format!(
                "{} requires '{name}' to be {expected}, got {found}",
                self.spec.kind
            ),
        ));
    }
}

/// A number, or a truth value as 1 or 0.
pub(crate) fn json_number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        Value::Number(number) => number.as_f64(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use thalweg_shm::DType;

    use super::*;
    use crate::testing::spec;

    #[test]
    fn every_problem_is_reported_at_once() {
        let spec = spec("cpu.scale")
            .input(DType::Float32, &[2, 3])
            .output(DType::Float64, &[3])
            .parameter("factor", json!("two"))
            .parameter("flag", json!(1))
            .build();
        let mut check = SpecChecker::new(&spec);
        let (input, output) = (check.input().unwrap(), check.output().unwrap());
        check.same_shape("output", input, output);
        check.same_dtype("output", input, output);
        assert!(check.auxiliary(["offset"]).is_none());
        check.number("factor");
        check.number("gain");
        check.boolean_or("flag", false);
        let problems = check.finish().unwrap_err();
        let paths: Vec<_> = problems
            .iter()
            .map(|problem| problem.path.as_str())
            .collect();
        assert_eq!(
            paths,
            [
                "output",
                "output",
                "auxiliary",
                "parameters.factor",
                "parameters.gain",
                "parameters.flag"
            ]
        );
        assert_eq!(
            problems[3].message,
            "cpu.scale requires 'factor' to be a number, got \"two\""
        );
    }

    #[test]
    fn numbers_take_truth_values_but_no_text() {
        let spec = spec("cpu.scale")
            .parameter("factor", json!(true))
            .parameter("count", json!(2.5))
            .parameter("rate_hz", json!(null))
            .build();
        let mut check = SpecChecker::new(&spec);
        assert_eq!(check.number("factor"), 1.0);
        assert_eq!(check.number_or("absent", 4.0), 4.0);
        assert_eq!(check.integer_or("count", 1, 7), 7);
        assert_eq!(
            check.optional_number("rate_hz", "a positive number", |rate| rate > 0.0),
            None
        );
        assert_eq!(check.finish().unwrap_err().len(), 1);
    }
}
