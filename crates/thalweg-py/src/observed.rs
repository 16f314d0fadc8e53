//! What passes through a stream in a while: how many frames, how far apart, how old.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use thalweg::pipeline::runtime::measure;

use crate::error;
use crate::interrupt::interruptible;
use crate::stream::StreamHandle;
use crate::time::duration_of;

/// Watches `stream` for `duration_s` seconds, beginning `warmup_s` seconds from now. Nothing is
/// copied and nobody is slowed down.
///
/// Returns a JSON object: `frames`, `elapsed_s`, and the distributions `interval_ms` and
/// `latency_ms`, each with `count` and, unless that is 0, `min`, `mean`, `max`, `p50`, `p90`, `p99`
/// and `p99_9`.
#[pyfunction]
pub(crate) fn observe(
    py: Python<'_>,
    stream: &StreamHandle,
    warmup_s: f64,
    duration_s: f64,
) -> PyResult<String> {
    let warmup = duration_of("warmup_s", warmup_s)?;
    let duration = duration_of("duration_s", duration_s)?;
    let stream = stream.stream()?;
    let seen = interruptible(
        py,
        |interrupt| measure(&stream, warmup, duration, interrupt),
        error::of_wait,
    )?;
    serde_json::to_string(&seen).map_err(|error| PyRuntimeError::new_err(error.to_string()))
}
