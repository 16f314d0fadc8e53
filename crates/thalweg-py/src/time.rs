//! Python's seconds and Rust's nanoseconds.

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use thalweg_os::clock::monotonic_ns;

const NS_PER_SECOND: f64 = 1e9;

/// Nanoseconds since 1970 as Python's `time.time()` counts.
pub(crate) fn seconds_of(wall_ns: u64) -> f64 {
    wall_ns as f64 / NS_PER_SECOND
}

/// The monotonic time in ns at which `timeout` seconds are over; `None` for `None` and infinity.
/// A negative time-out is over already.
pub(crate) fn deadline_ns(timeout: Option<f64>) -> PyResult<Option<u64>> {
    let Some(timeout) = timeout else {
        return Ok(None);
    };
    if timeout.is_nan() {
        return Err(PyValueError::new_err(
            "timeout must be a number of seconds or None, got nan",
        ));
    }
    let timeout_ns = timeout.max(0.0) * NS_PER_SECOND;
    // A century from now, and the counter of nanoseconds would still not overflow.
    let is_endless = timeout_ns >= 3.2e18;
    Ok((!is_endless).then(|| monotonic_ns().saturating_add(timeout_ns as u64)))
}

/// As [`deadline_ns`], for calls that refuse a negative time-out.
pub(crate) fn deadline_ns_of_duration(timeout: Option<f64>) -> PyResult<Option<u64>> {
    match timeout {
        Some(timeout) if timeout < 0.0 => Err(PyValueError::new_err(format!(
            "timeout must not be negative, got {timeout} s"
        ))),
        timeout => deadline_ns(timeout),
    }
}

/// `value_s` as a duration; `argument` names it in the error.
pub(crate) fn duration_of(argument: &str, value_s: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value_s).map_err(|_out_of_range| {
        PyValueError::new_err(format!(
            "{argument} must be a number of seconds of at least 0, got {value_s}"
        ))
    })
}

/// Complains about `value_s` unless it is a number of seconds; `argument` names it.
#[pyfunction]
pub(crate) fn check_duration(argument: &str, value_s: f64) -> PyResult<()> {
    duration_of(argument, value_s).map(drop)
}
