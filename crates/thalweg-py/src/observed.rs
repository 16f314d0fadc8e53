//! What passes through a stream in a while: how many frames, how far apart, how old.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use thalweg::shm::Interrupt;
use thalweg::shm::stream::error::WaitError;
use thalweg::{Patience, Stream, WaitPolicy};
use thalweg_os::clock::{deadline_after, monotonic_ns};

use crate::error;
use crate::interrupt::interruptible;
use crate::stream::StreamHandle;
use crate::time::duration_of;

#[derive(Default)]
struct Observed {
    began_ns: u64,
    ended_ns: u64,
    frames: u64,
    /// From one publication to the next, in ns; only of pairs that were both seen.
    intervals_ns: Vec<u64>,
    /// From the origin of a frame's data to its publication, in ns.
    latencies_ns: Vec<u64>,
}

/// Watches `stream` for `duration_s` seconds, beginning `warmup_s` seconds from now. Nothing is
/// copied and nobody is slowed down.
///
/// Returns `frames`, `elapsed_s`, and the distributions `interval_ms` and `latency_ms`, each with
/// `count` and, unless that is 0, `min`, `mean`, `max`, `p50`, `p90`, `p99` and `p99_9`.
#[pyfunction]
pub(crate) fn observe<'py>(
    py: Python<'py>,
    stream: &StreamHandle,
    warmup_s: f64,
    duration_s: f64,
) -> PyResult<Bound<'py, PyDict>> {
    let warmup = duration_of("warmup_s", warmup_s)?;
    let duration = duration_of("duration_s", duration_s)?;
    let stream = stream.stream()?;
    let mut observed = interruptible(
        py,
        |interrupt| {
            let warm = deadline_after(warmup);
            follow(&stream, stream.count(), warm, interrupt, |_, _| {})?;
            watch(&stream, duration, interrupt)
        },
        error::of_wait,
    )?;
    let report = PyDict::new(py);
    report.set_item("frames", observed.frames)?;
    let elapsed_ns = observed.ended_ns - observed.began_ns;
    report.set_item("elapsed_s", elapsed_ns as f64 * 1e-9)?;
    let intervals = distribution(py, &mut observed.intervals_ns)?;
    report.set_item("interval_ms", intervals)?;
    report.set_item("latency_ms", distribution(py, &mut observed.latencies_ns)?)?;
    Ok(report)
}

fn watch(
    stream: &Stream,
    duration: Duration,
    interrupt: Interrupt<'_>,
) -> Result<Observed, WaitError> {
    let first = stream.newest();
    let mut observed = Observed {
        began_ns: monotonic_ns(),
        ..Observed::default()
    };
    let mut before = (first.count, first.publish_ns);
    let end_ns = deadline_after(duration);
    let newest = follow(stream, first.count, end_ns, interrupt, |count, times| {
        let (publish_ns, origin_ns) = times;
        if count == before.0 + 1 && before.0 > 0 {
            observed
                .intervals_ns
                .push(publish_ns.saturating_sub(before.1));
        }
        if origin_ns > 0 {
            observed
                .latencies_ns
                .push(publish_ns.saturating_sub(origin_ns));
        }
        before = (count, publish_ns);
    })?;
    observed.ended_ns = monotonic_ns();
    observed.frames = newest - first.count;
    Ok(observed)
}

/// Calls `seen` with the count and the times of every publication after `count` until `end_ns`;
/// the last count.
fn follow(
    stream: &Stream,
    mut count: u64,
    end_ns: u64,
    interrupt: Interrupt<'_>,
    mut seen: impl FnMut(u64, (u64, u64)),
) -> Result<u64, WaitError> {
    let patience = Patience {
        deadline_ns: Some(end_ns),
        interrupt: Some(interrupt),
    };
    while monotonic_ns() < end_ns {
        match stream.wait_after(count, WaitPolicy::Adaptive, patience) {
            Ok(_) => {}
            Err(WaitError::TimedOut { .. }) => break,
            Err(error) => return Err(error),
        }
        let newest = stream.newest();
        if newest.count > count {
            count = newest.count;
            seen(count, (newest.publish_ns, newest.origin_ns));
        }
    }
    Ok(count)
}

fn distribution<'py>(py: Python<'py>, values_ns: &mut [u64]) -> PyResult<Bound<'py, PyDict>> {
    values_ns.sort_unstable();
    let result = PyDict::new(py);
    result.set_item("count", values_ns.len())?;
    let (Some(first), Some(last)) = (values_ns.first(), values_ns.last()) else {
        return Ok(result);
    };
    let sum: f64 = values_ns.iter().map(|&value| value as f64).sum();
    result.set_item("min", milliseconds(*first as f64))?;
    result.set_item("mean", milliseconds(sum / values_ns.len() as f64))?;
    result.set_item("max", milliseconds(*last as f64))?;
    for (name, fraction) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999)] {
        result.set_item(name, milliseconds(quantile(values_ns, fraction)))?;
    }
    Ok(result)
}

/// With linear interpolation between neighbours; `values` are sorted and not empty.
fn quantile(values: &[u64], fraction: f64) -> f64 {
    let place = fraction * (values.len() - 1) as f64;
    let below = values[place.floor() as usize] as f64;
    let above = values[place.ceil() as usize] as f64;
    below + (above - below) * place.fract()
}

fn milliseconds(value_ns: f64) -> f64 {
    value_ns * 1e-6
}
