//! The parameters of a test pattern.

use crate::check::SpecChecker;
use crate::registry::ParameterDoc;

/// What a pattern is made with.
pub(super) const PATTERN_PARAMETERS: [ParameterDoc; 7] = [
    ParameterDoc {
        name: "pattern",
        doc: "constant, random (default), ramp, sine, impulse or checkerboard",
    },
    ParameterDoc {
        name: "seed",
        doc: "integer of at least 0, default 0: of `random`, the numbers of NumPy's default_rng(seed)",
    },
    ParameterDoc {
        name: "amplitude",
        doc: "number, default 1: scale of every pattern but constant",
    },
    ParameterDoc {
        name: "offset",
        doc: "number, default 0: added to every pattern",
    },
    ParameterDoc {
        name: "period",
        doc: "positive number of elements, default 64: of ramp and sine, tile of checkerboard",
    },
    ParameterDoc {
        name: "constant",
        doc: "number, default 0: value of `constant`",
    },
    ParameterDoc {
        name: "impulse_interval",
        doc: "integer of at least 1, default 64: frames from one impulse to the next",
    },
];

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

    /// The name of the pattern.
    pub(super) fn name(&self) -> &'static str {
        let named = PATTERNS
            .iter()
            .find(|(_, pattern)| *pattern == self.pattern);
        named.map_or("", |(name, _)| name)
    }

    /// Whether its elements are in general no integers.
    pub(super) fn has_fractions(&self) -> bool {
        matches!(
            self.pattern,
            Pattern::Random | Pattern::Ramp | Pattern::Sine
        )
    }
}
