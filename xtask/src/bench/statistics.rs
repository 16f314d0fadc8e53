//! Medians and how sure they are.

/// A median with an interval that contains the true one in at least 95 of 100 cases, or as often
/// as so few samples allow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimate {
    pub(super) median: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// Three significant digits, more in front of the point.
pub(super) fn significant(value: f64) -> String {
    let magnitude = value.abs();
    let decimals = match magnitude {
        _ if magnitude >= 100.0 || magnitude == 0.0 => 0,
        _ if magnitude >= 10.0 => 1,
        _ if magnitude >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

/// The median of `samples` and its interval from the order of the samples alone: whatever they are
/// distributed like, the number of them below the true median is that of heads in as many tosses.
pub(super) fn estimate(samples: &[f64]) -> Option<Estimate> {
    let mut sorted: Vec<f64> = samples.iter().copied().filter(|x| x.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let median = (sorted[last / 2] + sorted[sorted.len() / 2]) / 2.0;
    let cut = samples_to_cut(sorted.len());
    Some(Estimate {
        median,
        low: sorted[cut],
        high: sorted[last - cut],
    })
}

/// Samples to leave out at each end: as many as possible while intervals miss the true median in
/// less than 5 of 100 cases, which they do when at most that many tosses show heads, or tails.
fn samples_to_cut(count: usize) -> usize {
    let all_ways = 2f64.powi(i32::try_from(count).unwrap_or(i32::MAX));
    let mut cut = 0;
    let mut ways = 1.0; // of so many tosses with `cut` heads
    let mut missed = 2.0 * ways / all_ways;
    loop {
        ways *= (count - cut) as f64 / (cut + 1) as f64;
        missed += 2.0 * ways / all_ways;
        if missed > 0.05 || 2 * (cut + 1) >= count {
            return cut;
        }
        cut += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_what_matters() {
        assert_eq!(significant(0.0), "0");
        assert_eq!(significant(0.0312), "0.031");
        assert_eq!(significant(1.0449), "1.04");
        assert_eq!(significant(52.34), "52.3");
        assert_eq!(significant(24402.1), "24402");
    }

    #[test]
    fn medians_of_even_and_odd_numbers_of_samples() {
        assert_eq!(estimate(&[3.0, 1.0, 2.0]).unwrap().median, 2.0);
        assert_eq!(estimate(&[4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(estimate(&[]), None);
        assert_eq!(estimate(&[f64::NAN]), None);
    }

    #[test]
    fn intervals_follow_the_binomial_table() {
        // Order statistics of the usual table of 95 % intervals for a median: 1st and 7th of 7,
        // 2nd and 8th of 9, 6th and 15th of 20.
        let of = |count: usize| {
            let samples: Vec<f64> = (1..=count).map(|x| x as f64).collect();
            let estimate = estimate(&samples).unwrap();
            (estimate.low, estimate.high)
        };
        assert_eq!(of(1), (1.0, 1.0));
        assert_eq!(of(7), (1.0, 7.0));
        assert_eq!(of(9), (2.0, 8.0));
        assert_eq!(of(20), (6.0, 15.0));
    }
}
