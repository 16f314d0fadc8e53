//! Durations as configurations give them.

use std::time::Duration;

/// A positive, finite number of seconds, kept as it was written.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Seconds(f64);

impl Seconds {
    /// `None` unless `seconds` is positive and finite.
    pub fn new(seconds: f64) -> Option<Self> {
        (seconds > 0.0 && seconds.is_finite()).then_some(Self(seconds))
    }

    /// A duration that is known to be valid when the program is compiled.
    pub(super) const fn constant(seconds: f64) -> Self {
        assert!(seconds > 0.0 && seconds.is_finite());
        Self(seconds)
    }

    /// The number of seconds.
    pub fn get(self) -> f64 {
        self.0
    }

    /// The same time in whole nanoseconds: at least one, at most a hundred years, so that adding it
    /// to a clock does not overflow.
    pub fn duration(self) -> Duration {
        const LONGEST_S: f64 = 100.0 * 365.25 * 86_400.0;
        Duration::from_secs_f64(self.0.min(LONGEST_S)).max(Duration::from_nanos(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_positive_finite_numbers_are_durations() {
        for refused in [0.0, -0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Seconds::new(refused), None, "{refused}");
        }
        for (accepted, expected) in [
            (1.5, Duration::from_millis(1500)),
            (1e-5, Duration::from_micros(10)),
            (1e-300, Duration::from_nanos(1)),
            (f64::MAX, Duration::from_secs(3_155_760_000)),
        ] {
            let seconds = Seconds::new(accepted).expect("positive and finite");
            assert_eq!(seconds.get().to_bits(), accepted.to_bits());
            assert_eq!(seconds.duration(), expected);
        }
    }
}
