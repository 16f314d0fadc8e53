//! What Python code in a worker can ask and tell.

use std::time::Duration;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use thalweg::StreamDirectory;
use thalweg::pipeline::runtime::{Commands, Wanted, report_metrics};
use thalweg_os::clock::{deadline_after, monotonic_ns};

use crate::error;
use crate::stream::StreamHandle;

/// The worker, for the node in it.
#[pyclass(frozen, name = "WorkerControl")]
pub(crate) struct WorkerControl {
    commands: Commands,
    directory: StreamDirectory,
}

impl WorkerControl {
    pub(super) fn new(commands: Commands, directory: StreamDirectory) -> Self {
        Self {
            commands,
            directory,
        }
    }
}

#[pymethods]
impl WorkerControl {
    /// Whether the node has to end.
    fn stop_requested(&self) -> bool {
        self.commands.wanted() == Wanted::Stop
    }

    /// Whether the pipeline pauses.
    fn paused(&self) -> bool {
        self.commands.wanted() == Wanted::Pause
    }

    /// Sleep for `duration_s` seconds; true, at once, when the node has to end.
    fn wait(&self, py: Python<'_>, duration_s: f64) -> bool {
        let duration = Duration::try_from_secs_f64(duration_s.max(0.0)).unwrap_or(Duration::MAX);
        let deadline_ns = deadline_after(duration);
        py.detach(|| {
            loop {
                let wanted = self.commands.wanted();
                if wanted == Wanted::Stop || monotonic_ns() >= deadline_ns {
                    return wanted == Wanted::Stop;
                }
                self.commands.wait_while(wanted, deadline_ns);
            }
        })
    }

    /// Attach to a stream of the run by its full name.
    fn open(&self, py: Python<'_>, name: &str, is_readonly: bool) -> PyResult<StreamHandle> {
        let stream = py.detach(|| self.directory.open(name));
        Ok(StreamHandle::opened(
            stream.map_err(error::of_open)?,
            is_readonly,
        ))
    }

    /// Show what the node measures about itself, a JSON object. Never waits: false if it could not be
    /// told now, or is longer than 4 KiB.
    fn report_metrics(&self, py: Python<'_>, metrics: &str) -> PyResult<bool> {
        let metrics = serde_json::from_str(metrics)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        py.detach(|| report_metrics(metrics))
            .map_err(|error| PyOSError::new_err(error.to_string()))
    }
}
