//! A Python sink as a sink.

use pyo3::prelude::*;
use thalweg::kernels::{NodeError, Sink, SinkContext, SinkFrame};

use super::own_process::OwnProcess;
use super::raised::{finalized, raised};
use super::source::call;
use super::watchdog::Watchdog;
use crate::buffer::slots::own_copy;
use crate::time::seconds_of;

pub(super) struct PythonSink {
    runner: Py<PyAny>,
    /// Takes the frame and what was published with it.
    step: Py<PyAny>,
    watchdog: Option<Watchdog>,
    process: OwnProcess,
}

impl PythonSink {
    pub(super) fn new(
        runner: &Bound<'_, PyAny>,
        watchdog: Option<Watchdog>,
        process: OwnProcess,
    ) -> PyResult<Self> {
        Ok(Self {
            step: runner.getattr("step")?.unbind(),
            runner: runner.clone().unbind(),
            watchdog,
            process,
        })
    }

    fn step(&self, py: Python<'_>, frame: &SinkFrame<'_>) -> PyResult<()> {
        let payload = own_copy(py, frame.array)?;
        if let Some(watchdog) = &self.watchdog {
            watchdog.begin();
        }
        let outcome = self.step.bind(py).call1((
            payload,
            frame.count,
            frame.frame_id,
            seconds_of(frame.wall_ns),
            frame.missed,
            frame.publish_ns,
            frame.origin_ns,
        ));
        self.process.stay(py);
        if let Some(watchdog) = &self.watchdog {
            watchdog.end();
        }
        outcome.map(drop)
    }
}

impl Sink for PythonSink {
    fn open(&mut self, _context: &mut dyn SinkContext) -> Result<(), NodeError> {
        call(&self.runner, "open", self.process)
    }

    fn consume(&mut self, frame: &SinkFrame<'_>) -> Result<(), NodeError> {
        Python::try_attach(|py| {
            self.step(py, frame)
                .map_err(|exception| raised(py, &exception))
        })
        .unwrap_or_else(|| Err(finalized()))
    }

    fn close(&mut self) -> Result<(), NodeError> {
        call(&self.runner, "close", self.process)
    }
}
