//! Reads typed parameters out of a node's `parameters`, collecting every problem on the way.

use std::fmt;

use serde_json::Value;
use thalweg_kernels::{Parameters, SpecProblem};

/// What values a number may have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Allowed {
    /// Greater than 0.
    Positive,
    /// At least 0.
    NonNegative,
    /// Any finite number.
    Finite,
    /// Both ends included.
    Between(f64, f64),
}

impl Allowed {
    fn contains(self, value: f64) -> bool {
        value.is_finite()
            && match self {
                Self::Positive => value > 0.0,
                Self::NonNegative => value >= 0.0,
                Self::Finite => true,
                Self::Between(low, high) => (low..=high).contains(&value),
            }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Positive => f.write_str("a number greater than 0"),
            Self::NonNegative => f.write_str("a number of at least 0"),
            Self::Finite => f.write_str("a finite number"),
            Self::Between(low, high) => write!(f, "a number from {low} to {high}"),
        }
    }
}

/// One mapping of parameters while it is being read.
///
/// A wrong value is reported and replaced by the default, so that reading goes on and finds the
/// next problem; the result counts only when [`ParameterReader::finish`] returns no problem.
#[derive(Debug)]
pub(crate) struct ParameterReader<'a> {
    path: String,
    values: Option<&'a Parameters>,
    known: Vec<&'static str>,
    problems: Vec<SpecProblem>,
}

impl<'a> ParameterReader<'a> {
    /// Reads the mapping `values` found at `path`.
    pub(crate) fn new(path: &str, values: &'a Parameters) -> Self {
        Self {
            path: path.to_owned(),
            values: Some(values),
            known: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// A number within `allowed`, or `default` when the key is absent.
    pub(crate) fn number(&mut self, name: &'static str, default: f64, allowed: Allowed) -> f64 {
        self.optional_number(name, allowed).unwrap_or(default)
    }

    /// A number within `allowed`; `None` when the key is absent or `null`.
    pub(crate) fn optional_number(&mut self, name: &'static str, allowed: Allowed) -> Option<f64> {
        let value = self.take(name)?;
        match value.as_f64().filter(|number| allowed.contains(*number)) {
            Some(number) => Some(number),
            None => self.complain(name, &allowed.to_string(), value),
        }
    }

    /// A whole number from `low` to `high`, or `default` when the key is absent.
    pub(crate) fn count(&mut self, name: &'static str, default: u64, low: u64, high: u64) -> u64 {
        self.optional_count(name, low, high).unwrap_or(default)
    }

    /// A whole number from `low` to `high`; `None` when the key is absent or `null`.
    pub(crate) fn optional_count(
        &mut self,
        name: &'static str,
        low: u64,
        high: u64,
    ) -> Option<u64> {
        let value = self.take(name)?;
        match value
            .as_u64()
            .filter(|number| (low..=high).contains(number))
        {
            Some(number) => Some(number),
            None => {
                let expected = if high == u64::MAX {
                    format!("a whole number of at least {low}")
                } else {
                    format!("a whole number from {low} to {high}")
                };
                self.complain(name, &expected, value)
            }
        }
    }

    /// The mapping under `name`, read by its own reader; an absent one reads as empty.
    pub(crate) fn section(&mut self, name: &'static str) -> ParameterReader<'a> {
        let values = match self.take(name) {
            Some(Value::Object(values)) => Some(values),
            Some(other) => self.complain(name, "a mapping of parameters", other),
            None => None,
        };
        ParameterReader {
            path: self.path_of(name),
            values,
            known: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Adds a problem with the value of `name` that no single value shows.
    pub(crate) fn problem(&mut self, name: &str, message: impl Into<String>, hint: &str) {
        let problem = SpecProblem::new(self.path_of(name), message);
        self.problems.push(problem.with_hint(hint));
    }

    /// True while everything read so far was right.
    pub(crate) fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// Everything wrong with the mapping, unknown keys included.
    pub(crate) fn finish(mut self) -> Vec<SpecProblem> {
        let unknown: Vec<&String> = self
            .values
            .into_iter()
            .flat_map(Parameters::keys)
            .filter(|key| !self.known.contains(&key.as_str()))
            .collect();
        for key in unknown {
            let problem = SpecProblem::new(self.path_of(key), format!("unknown parameter {key:?}"));
            let hint = format!("known here: {}", self.known.join(", "));
            self.problems.push(problem.with_hint(hint));
        }
        self.problems
    }

    /// The value of `name`, remembering that the name is known; `null` counts as absent.
    fn take(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.push(name);
        self.values?.get(name).filter(|value| !value.is_null())
    }

    fn complain<T>(&mut self, name: &str, expected: &str, found: &Value) -> Option<T> {
        let message = format!("expected {expected}, found {found}");
        let problem = SpecProblem::new(self.path_of(name), message);
        self.problems.push(problem);
        None
    }

    fn path_of(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parameters(value: Value) -> Parameters {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn all_problems_are_found_at_once() {
        let values = parameters(json!({
            "speed": -1, "frames": 2.5, "typo": 1, "nested": {"flag": true, "other": 1},
        }));
        let mut reader = ParameterReader::new("parameters", &values);
        assert_eq!(reader.number("speed", 7.0, Allowed::Positive), 7.0);
        assert_eq!(reader.count("frames", 3, 1, u64::MAX), 3);
        assert_eq!(
            reader.number("absent", 4.0, Allowed::Between(0.0, 9.0)),
            4.0
        );
        let mut nested = reader.section("nested");
        assert_eq!(nested.number("flag", 1.5, Allowed::Finite), 1.5);
        let mut paths: Vec<String> = nested.finish().into_iter().map(|p| p.path).collect();
        paths.extend(reader.finish().into_iter().map(|p| p.path));
        assert_eq!(
            paths,
            [
                "parameters.nested.flag",
                "parameters.nested.other",
                "parameters.speed",
                "parameters.frames",
                "parameters.typo",
            ]
        );
    }

    #[test]
    fn null_counts_as_absent() {
        let values = parameters(json!({"rate_hz": null}));
        let mut reader = ParameterReader::new("parameters", &values);
        assert_eq!(reader.optional_number("rate_hz", Allowed::Positive), None);
        assert!(reader.is_clean());
        assert!(reader.finish().is_empty());
    }
}
