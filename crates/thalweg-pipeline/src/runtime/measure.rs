//! What passes through a stream in a while: how many frames, how far apart, how old.
//!
//! Only what is published beside the frames is looked at, so nothing is copied and nobody is slowed
//! down. Frames that came and went between two looks are counted; their times are not known.

use std::time::Duration;

use serde::Serialize;
use thalweg_os::clock::{deadline_after, monotonic_ns};
use thalweg_shm::stream::error::WaitError;
use thalweg_shm::{Interrupt, Patience, Publication, Stream, WaitPolicy};

/// What was seen of a stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StreamMeasurement {
    /// Publications.
    pub frames: u64,
    /// Seconds it took.
    pub elapsed_s: f64,
    /// Times from one publication to the next, where both were seen.
    pub interval_ms: Distribution,
    /// True latencies: times from the origin of the data to their publication.
    pub latency_ms: Distribution,
}

/// A distribution of durations in ms; all but the number of values is absent without values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Distribution {
    /// Number of values.
    pub count: usize,
    /// What is known of them.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub values: Option<DistributionValues>,
}

/// Quantiles are interpolated linearly between neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DistributionValues {
    /// Smallest.
    pub min: f64,
    /// Mean.
    pub mean: f64,
    /// Largest.
    pub max: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p99_9: f64,
}

impl Distribution {
    /// Of durations in ns.
    pub fn of(mut values_ns: Vec<u64>) -> Self {
        values_ns.sort_unstable();
        let quantile = |fraction: f64| {
            let place = fraction * (values_ns.len() - 1) as f64;
            let below = values_ns[place.floor() as usize] as f64;
            let above = values_ns[place.ceil() as usize] as f64;
            milliseconds(below + (above - below) * place.fract())
        };
        let values = (!values_ns.is_empty()).then(|| DistributionValues {
            min: quantile(0.0),
            mean: milliseconds(
                values_ns.iter().map(|&value| value as f64).sum::<f64>() / values_ns.len() as f64,
            ),
            max: quantile(1.0),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p99_9: quantile(0.999),
        });
        Self {
            count: values_ns.len(),
            values,
        }
    }
}

fn milliseconds(value_ns: f64) -> f64 {
    value_ns * 1e-6
}

/// Watches `stream` for `duration`, beginning after `warmup`.
///
/// # Errors
///
/// Those of waiting; a time-out is none.
pub fn measure(
    stream: &Stream,
    warmup: Duration,
    duration: Duration,
    interrupt: Interrupt<'_>,
) -> Result<StreamMeasurement, WaitError> {
    follow(stream, deadline_after(warmup), interrupt, |_| {})?;
    let mut before = stream.newest();
    let first_count = before.count;
    let (mut intervals_ns, mut latencies_ns) = (Vec::new(), Vec::new());
    let began_ns = monotonic_ns();
    let last_count = follow(stream, deadline_after(duration), interrupt, |seen| {
        if seen.count == before.count + 1 && before.count > 0 {
            intervals_ns.push(seen.publish_ns.saturating_sub(before.publish_ns));
        }
        if seen.origin_ns > 0 {
            latencies_ns.push(seen.publish_ns.saturating_sub(seen.origin_ns));
        }
        before = seen;
    })?;
    Ok(StreamMeasurement {
        frames: last_count - first_count,
        elapsed_s: (monotonic_ns() - began_ns) as f64 * 1e-9,
        interval_ms: Distribution::of(intervals_ns),
        latency_ms: Distribution::of(latencies_ns),
    })
}

/// Calls `seen` with what is published until `end_ns`, in order; the last count.
fn follow(
    stream: &Stream,
    end_ns: u64,
    interrupt: Interrupt<'_>,
    mut seen: impl FnMut(Publication),
) -> Result<u64, WaitError> {
    let patience = Patience {
        deadline_ns: Some(end_ns),
        interrupt: Some(interrupt),
    };
    let slots = stream.header().geometry.slots;
    let mut count = stream.count();
    while monotonic_ns() < end_ns {
        match stream.wait_for_frame(count, WaitPolicy::Adaptive, patience) {
            Ok(_) => {}
            Err(WaitError::TimedOut { .. }) => break,
            Err(error) => return Err(error),
        }
        // What a slot still holds was perhaps published while the frame before was looked at.
        for frame in stream.held_frames(slots).unwrap_or_default() {
            if frame.count() > count {
                count = frame.count();
                seen(frame.publication());
            }
        }
        // A frame that was given up is none, but it has a number.
        count = count.max(stream.count());
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_neighbours() {
        let values = Distribution::of(vec![4_000_000, 1_000_000, 3_000_000, 2_000_000]);
        assert_eq!(values.count, 4);
        let values = values.values.unwrap();
        assert_eq!((values.min, values.mean, values.max), (1.0, 2.5, 4.0));
        assert!((values.p50 - 2.5).abs() < 1e-12);
        assert!((values.p90 - 3.7).abs() < 1e-12);
    }

    #[test]
    fn nothing_has_no_quantiles() {
        let text = serde_json::to_string(&Distribution::of(Vec::new())).unwrap();
        assert_eq!(text, r#"{"count":0}"#);
    }
}
