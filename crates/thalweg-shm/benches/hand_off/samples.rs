//! Durations of many repetitions and what is told about them.

use thalweg_os::clock::monotonic_ns;

use crate::Outcome;

/// Durations in ns, each of one repetition; the mean of a batch where one is too short to be timed.
#[derive(Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// Times `repetitions` calls of `work` in batches of `batch`, after a tenth as many to warm up.
    pub(crate) fn take(
        repetitions: usize,
        batch: usize,
        mut work: impl FnMut() -> Outcome<()>,
    ) -> Outcome<Self> {
        let batches = (repetitions / batch).max(1);
        let mut samples = Vec::with_capacity(batches);
        for _ in 0..warm_up_of(repetitions, batch) {
            work()?;
        }
        for _ in 0..batches {
            let began_ns = monotonic_ns();
            for _ in 0..batch {
                work()?;
            }
            samples.push((monotonic_ns() - began_ns) as f64 / batch as f64);
        }
        Ok(Self::of(samples))
    }

    /// Times `repetitions` calls of `work` one by one, each after a call of `before` that is not.
    pub(crate) fn take_after(
        repetitions: usize,
        mut before: impl FnMut(),
        mut work: impl FnMut() -> Outcome<()>,
    ) -> Outcome<Self> {
        let mut samples = Vec::with_capacity(repetitions);
        for call in 0..repetitions + warm_up_of(repetitions, 1) {
            before();
            let began_ns = monotonic_ns();
            work()?;
            let took_ns = monotonic_ns() - began_ns;
            if call >= warm_up_of(repetitions, 1) {
                samples.push(took_ns as f64);
            }
        }
        Ok(Self::of(samples))
    }

    /// Durations that somebody else has taken.
    pub(crate) fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_unstable_by(f64::total_cmp);
        Self(samples)
    }

    /// The value that `share` of all samples do not exceed.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let index = (share * last as f64).round() as usize;
        self.0.get(index).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }
}

/// Repetitions that are not timed.
fn warm_up_of(repetitions: usize, batch: usize) -> usize {
    (repetitions / 10).max(batch)
}

/// Calls of `work` that [`Samples::take`] makes in all.
pub(crate) fn calls(repetitions: usize, batch: usize) -> usize {
    warm_up_of(repetitions, batch) + (repetitions / batch).max(1) * batch
}
