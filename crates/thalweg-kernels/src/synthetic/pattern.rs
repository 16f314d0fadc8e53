//! The parameters of a test pattern.

use crate::check::SpecChecker;

/// Which pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    Constant,
    Random,
    Ramp,
    Sine,
    Impulse,
    Checkerboard,
}

const PATTERNS: [(&str, Pattern); 6] = [
    ("constant", Pattern::Constant),
    ("random", Pattern::Random),
    ("ramp", Pattern::Ramp),
    ("sine", Pattern::Sine),
    ("impulse", Pattern::Impulse),
    ("checkerboard", Pattern::Checkerboard),
];

/// A pattern and its numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PatternSpec {
    pub(super) pattern: Pattern,
    pub(super) seed: u64,
    pub(super) amplitude: f64,
    pub(super) offset: f64,
    /// Elements, positive.
    pub(super) period: f64,
    pub(super) constant: f64,
    /// Frames, at least 1.
    pub(super) impulse_interval: u64,
}

impl PatternSpec {
    /// Reads the parameters of the checked node.
    pub(super) fn read(check: &mut SpecChecker<'_>) -> Self {
        let name = check.text_or("pattern", Some("random"));
        let name = name.trim().to_lowercase();
        let known = PATTERNS.iter().find(|(known, _)| *known == name);
        if known.is_none() && !name.is_empty() {
            let names: Vec<&str> = PATTERNS.iter().map(|(name, _)| *name).collect();
            let expected = format!("one of {}", names.join(", "));
            check.parameter_problem("pattern", &expected, &name.clone().into());
        }
        Self {
            pattern: known.map_or(Pattern::Random, |(_, pattern)| *pattern),
            seed: check.integer_or("seed", 0, 0),
            amplitude: check.number_or("amplitude", 1.0),
            offset: check.number_or("offset", 0.0),
            period: check
                .optional_number("period", "a positive number", |period| period > 0.0)
                .unwrap_or(64.0),
            constant: check.number_or("constant", 0.0),
            impulse_interval: check.integer_or("impulse_interval", 1, 64),
        }
    }
}
