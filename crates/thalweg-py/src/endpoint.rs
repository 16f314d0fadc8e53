//! Sources and sinks that run in this process, as the runtime sees them.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use thalweg::kernels::{Figure, FigureKind};
use thalweg::pipeline::runtime::{Endpoint, EndpointFrame, Wanted};
use thalweg::shm::stream::error::WaitError;
use thalweg::{Patience, WaitPolicy};
use thalweg_os::clock::monotonic_ns;

use crate::error;
use crate::stream::StreamHandle;
use crate::time::deadline_ns;

/// Where one source or sink counts its frames and learns what is wanted.
#[pyclass(frozen, name = "Endpoint")]
pub(crate) struct EndpointHandle(pub(crate) Endpoint);

fn word(wanted: Wanted) -> &'static str {
    match wanted {
        Wanted::Run => "run",
        Wanted::Pause => "pause",
        Wanted::Stop => "stop",
    }
}

#[pymethods]
impl EndpointHandle {
    /// What is wanted now: `"run"`, `"pause"` or `"stop"`.
    fn wanted(&self) -> &'static str {
        word(self.0.wanted())
    }

    /// Sleeps while `"run"`, or `"pause"`, is wanted, for at most `timeout` seconds.
    fn wait_while(&self, py: Python<'_>, current: &str, timeout: f64) -> PyResult<&'static str> {
        let current = match current {
            "pause" => Wanted::Pause,
            _ => Wanted::Run,
        };
        let end_ns = deadline_ns(Some(timeout))?.unwrap_or(u64::MAX);
        Ok(word(py.detach(|| self.0.wait_while(current, end_ns))))
    }

    /// Waits until `stream` has more than `after` publications: the newest count; `None` when the
    /// time is over or something else than frames is wanted.
    fn wait_count(
        &self,
        py: Python<'_>,
        stream: &StreamHandle,
        after: u64,
        timeout: f64,
    ) -> PyResult<Option<u64>> {
        let stream = stream.stream()?;
        let deadline_ns = deadline_ns(Some(timeout))?;
        let waited = py.detach(|| {
            let interrupt = || self.0.wanted() != Wanted::Run;
            let patience = Patience {
                deadline_ns,
                interrupt: Some(&interrupt),
            };
            stream.wait_after(after, WaitPolicy::Adaptive, patience)
        });
        match waited {
            Ok(count) => Ok(Some(count)),
            Err(WaitError::TimedOut { .. } | WaitError::Interrupted { .. }) => Ok(None),
            Err(error) => Err(error::of_wait(error)),
        }
    }

    /// It is at work from now on; `figures` names its own measurements.
    fn ready(&self, figures: Vec<String>) {
        let figures = figures.into_iter().map(|name| Figure {
            name,
            kind: FigureKind::Gauge,
        });
        self.0.ready(figures.collect());
    }

    /// Counts a frame that a source produced and published as `output_count`.
    fn count_produced(&self, execution_ns: u64, output_count: Option<u64>) {
        self.0.count(EndpointFrame {
            execution_ns,
            output_count,
            ..EndpointFrame::default()
        });
    }

    /// Counts a frame that a sink consumed, the publication `input_count` with the given origin.
    fn count_consumed(
        &self,
        execution_ns: u64,
        wait_ns: u64,
        origin_ns: u64,
        missed: u64,
        input_count: u64,
        output_count: Option<u64>,
    ) {
        self.0.count(EndpointFrame {
            execution_ns,
            wait_ns: Some(wait_ns),
            latency_ns: (origin_ns > 0).then(|| monotonic_ns().saturating_sub(origin_ns)),
            missed,
            input_count: Some(input_count),
            output_count,
        });
    }

    /// It has ended as it was told to.
    fn stopped(&self) {
        self.0.stopped();
    }

    /// It has come to its end: a source without further frames.
    fn finished(&self) {
        self.0.finished();
    }

    /// It could not go on.
    fn failed(&self, error: String, traceback: Option<String>) {
        self.0.failed(error, traceback);
    }

    /// The current values of the measurements named to `ready`.
    fn set_figures(&self, values: Vec<f64>) {
        self.0.set_figures(&values);
    }
}

/// The error of a name that is no endpoint of this process.
pub(crate) fn unknown(name: &str) -> PyErr {
    PyRuntimeError::new_err(format!(
        "{} does not run in this process, or the pipeline is not built",
        error::quoted(name)
    ))
}
