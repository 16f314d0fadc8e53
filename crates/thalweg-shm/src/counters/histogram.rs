//! Latency histograms: logarithmic buckets of atomics in shared memory.
//!
//! 32 buckets per power of two bound the error of a quantile to about 3 %. One writer, which only
//! does a load and a store per sample; any number of readers, who see every bucket grow.

use std::sync::atomic::{AtomicU64, Ordering};

const SUB_BUCKET_BITS: u32 = 5;
const SUB_BUCKETS: usize = 1 << SUB_BUCKET_BITS;
/// Values from 2^40 ns (18 minutes) on share the last bucket.
const LARGEST_EXPONENT: u32 = 39;
const BUCKETS: usize = (LARGEST_EXPONENT - SUB_BUCKET_BITS + 2) as usize * SUB_BUCKETS;

/// A histogram of durations in ns, in shared memory.
#[derive(Debug)]
#[repr(C)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
}

impl Histogram {
    /// Counts one value. Only the owner of the histogram does this.
    pub fn record(&self, value_ns: u64) {
        let bucket = &self.buckets[bucket_of(value_ns)];
        // One writer, so no read-modify-write: that would cost ten times as much.
        bucket.store(bucket.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// The counts as of now.
    pub fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            counts: self
                .buckets
                .iter()
                .map(|bucket| bucket.load(Ordering::Relaxed))
                .collect(),
        }
    }

    /// Forgets everything. Only while nobody records.
    pub fn clear(&self) {
        for bucket in &self.buckets {
            bucket.store(0, Ordering::Relaxed);
        }
    }
}

/// A copy of a [`Histogram`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramSnapshot {
    counts: Vec<u64>,
}

impl HistogramSnapshot {
    /// Number of values.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// What came after `earlier`, a snapshot of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let counts = self.counts.iter().zip(&earlier.counts);
        Self {
            counts: counts
                .map(|(now, then)| now.saturating_sub(*then))
                .collect(),
        }
    }

    /// The value in ns below which `fraction` of all values lie (the middle of its bucket);
    /// `None` without values.
    pub fn quantile_ns(&self, fraction: f64) -> Option<u64> {
        let total = self.count();
        let rank = ((total as f64 * fraction).ceil() as u64).clamp(1, total.max(1));
        let mut below = 0;
        self.counts
            .iter()
            .position(|count| {
                below += count;
                below >= rank && total > 0
            })
            .map(middle_of)
    }

    /// How many values there are in every power of two, each with its smallest value in ns: from the
    /// first that has any to the last.
    pub fn octaves(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut octaves: Vec<(u64, u64)> = Vec::new();
        for (bucket, &count) in self.counts.iter().enumerate() {
            let middle = middle_of(bucket);
            let from_ns = if middle == 0 { 0 } else { 1 << middle.ilog2() };
            match octaves.last_mut() {
                Some(last) if last.0 == from_ns => last.1 += count,
                None if count == 0 => {}
                _ => octaves.push((from_ns, count)),
            }
        }
        let used = octaves.iter().rposition(|(_, count)| *count > 0);
        octaves.truncate(used.map_or(0, |last| last + 1));
        octaves.into_iter()
    }

    /// Mean in ns, from the middles of the buckets; `None` without values.
    pub fn mean_ns(&self) -> Option<f64> {
        let total = self.count();
        let sum: f64 = self
            .counts
            .iter()
            .enumerate()
            .map(|(bucket, &count)| count as f64 * middle_of(bucket) as f64)
            .sum();
        (total > 0).then(|| sum / total as f64)
    }

    /// Standard deviation in ns, from the middles of the buckets; `None` without values.
    pub fn deviation_ns(&self) -> Option<f64> {
        let mean = self.mean_ns()?;
        let sum: f64 = self
            .counts
            .iter()
            .enumerate()
            .map(|(bucket, &count)| count as f64 * (middle_of(bucket) as f64 - mean).powi(2))
            .sum();
        Some((sum / self.count() as f64).sqrt())
    }

    /// The largest value in ns, as the middle of its bucket; `None` without values.
    pub fn max_ns(&self) -> Option<u64> {
        self.counts
            .iter()
            .rposition(|&count| count > 0)
            .map(middle_of)
    }
}

fn bucket_of(value_ns: u64) -> usize {
    if value_ns < SUB_BUCKETS as u64 {
        return value_ns as usize;
    }
    let exponent = value_ns.ilog2().min(LARGEST_EXPONENT);
    let shifted = (value_ns >> (exponent - SUB_BUCKET_BITS)).min(2 * SUB_BUCKETS as u64 - 1);
    (exponent - SUB_BUCKET_BITS) as usize * SUB_BUCKETS + shifted as usize
}

fn middle_of(bucket: usize) -> u64 {
    if bucket < 2 * SUB_BUCKETS {
        return bucket as u64;
    }
    let shift = bucket / SUB_BUCKETS - 1;
    let low = ((bucket % SUB_BUCKETS + SUB_BUCKETS) as u64) << shift;
    low + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn histogram() -> Histogram {
        Histogram {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    proptest! {
        #[test]
        fn buckets_are_narrow(value in 0u64..1 << 40) {
            let middle = middle_of(bucket_of(value));
            prop_assert!(middle.abs_diff(value) <= value / 32 + 1, "{value} -> {middle}");
        }

        #[test]
        fn buckets_keep_the_order(first: u64, second: u64) {
            prop_assert!((first <= second) <= (bucket_of(first) <= bucket_of(second)));
        }

        #[test]
        fn quantiles_are_those_of_the_values(mut values in prop::collection::vec(1u64..1 << 30, 1..200)) {
            let histogram = histogram();
            for &value in &values {
                histogram.record(value);
            }
            values.sort_unstable();
            let snapshot = histogram.snapshot();
            for fraction in [0.01, 0.5, 0.99, 1.0] {
                let rank = ((values.len() as f64 * fraction).ceil() as usize).max(1);
                let (expected, found) = (values[rank - 1], snapshot.quantile_ns(fraction).unwrap());
                prop_assert!(found.abs_diff(expected) <= expected / 16 + 1);
            }
        }
    }

    #[test]
    fn octaves_reach_from_the_first_value_to_the_last() {
        let histogram = histogram();
        assert_eq!(histogram.snapshot().octaves().count(), 0);
        for value in [5, 6, 7, 8, 40, 41] {
            histogram.record(value);
        }
        let octaves: Vec<(u64, u64)> = histogram.snapshot().octaves().collect();
        assert_eq!(octaves, [(4, 3), (8, 1), (16, 0), (32, 2)]);
    }

    #[test]
    fn nothing_has_no_quantile() {
        let histogram = histogram();
        let snapshot = histogram.snapshot();
        assert_eq!(
            (
                snapshot.quantile_ns(0.5),
                snapshot.mean_ns(),
                snapshot.max_ns()
            ),
            (None, None, None)
        );
        assert_eq!(snapshot.deviation_ns(), None);
        histogram.record(7);
        let later = histogram.snapshot();
        assert_eq!(later.since(&snapshot).count(), 1);
        assert_eq!(later.mean_ns(), Some(7.0));
        assert_eq!(later.deviation_ns(), Some(0.0));
        histogram.record(11);
        assert_eq!(histogram.snapshot().deviation_ns(), Some(2.0));
        histogram.clear();
        assert_eq!(histogram.snapshot(), snapshot);
    }
}
