//! A Python source as a source.

use pyo3::exceptions::{PyStopIteration, PyTypeError};
use pyo3::prelude::*;
use thalweg::kernels::{NodeError, Produced, Source, SourceContext};
use thalweg::{ArrayMut, PublishOptions};

use super::own_process::OwnProcess;
use super::raised::{finalized, raised};
use super::watchdog::Watchdog;
use crate::buffer::import::Buffer;

pub(super) struct PythonSource {
    runner: Py<PyAny>,
    /// Returns what there is to publish on the only stream, or writes by itself and returns how often.
    step: Py<PyAny>,
    /// Whether `step` returns frames: arrays of the stream's dtype and shape, or `None`.
    returns_frames: bool,
    watchdog: Option<Watchdog>,
    process: OwnProcess,
}

/// What a call came to.
enum Stepped {
    Frame(Buffer),
    Written(u64),
    Finished,
}

impl PythonSource {
    pub(super) fn new(
        runner: &Bound<'_, PyAny>,
        watchdog: Option<Watchdog>,
        process: OwnProcess,
    ) -> PyResult<Self> {
        Ok(Self {
            step: runner.getattr("step")?.unbind(),
            returns_frames: runner.getattr("returns_frames")?.extract()?,
            runner: runner.clone().unbind(),
            watchdog,
            process,
        })
    }

    fn step(&self, py: Python<'_>) -> PyResult<Stepped> {
        if let Some(watchdog) = &self.watchdog {
            watchdog.begin();
        }
        let outcome = self.step.bind(py).call0();
        self.process.stay(py);
        if let Some(watchdog) = &self.watchdog {
            watchdog.end();
        }
        let found = match outcome {
            Err(exception) if exception.is_instance_of::<PyStopIteration>(py) => {
                return Ok(Stepped::Finished);
            }
            outcome => outcome?,
        };
        if !self.returns_frames {
            let written: Option<u64> = found.extract()?;
            return Ok(Stepped::Written(written.unwrap_or(0)));
        }
        if found.is_none() {
            return Ok(Stepped::Written(0));
        }
        let frame = Buffer::readable(&found).ok_or_else(|| {
            PyTypeError::new_err("expected a C-contiguous, aligned array in native byte order")
        })?;
        Ok(Stepped::Frame(frame))
    }
}

impl Source for PythonSource {
    fn writes_outputs(&self) -> bool {
        true
    }

    fn open(&mut self, _context: &mut dyn SourceContext) -> Result<(), NodeError> {
        call(&self.runner, "open", self.process)
    }

    fn produce(
        &mut self,
        context: &mut dyn SourceContext,
        _outputs: &mut [ArrayMut<'_>],
    ) -> Result<Produced, NodeError> {
        let stepped = Python::try_attach(|py| {
            let stepped = self.step(py);
            stepped.map_err(|exception| raised(py, &exception))
        })
        .unwrap_or_else(|| Err(finalized()))?;
        // Without the interpreter: another process may hold the stream's lock.
        match stepped {
            Stepped::Finished => Ok(Produced::Finished),
            Stepped::Written(0) => Ok(Produced::Nothing),
            Stepped::Written(_) => Ok(Produced::Frame { frame_id: None }),
            Stepped::Frame(frame) => {
                let options = PublishOptions {
                    frame_id: None,
                    origin_ns: Some(context.now_ns()),
                };
                let mut fill =
                    |output: &mut ArrayMut<'_>| Ok(output.copy_from_array(frame.array())?);
                context.write_output(0, options, &mut fill)?;
                Ok(Produced::Frame { frame_id: None })
            }
        }
    }

    fn close(&mut self) -> Result<(), NodeError> {
        call(&self.runner, "close", self.process)
    }
}

/// Calls a method of a runner.
pub(super) fn call(runner: &Py<PyAny>, method: &str, process: OwnProcess) -> Result<(), NodeError> {
    Python::try_attach(|py| {
        let called = runner.bind(py).call_method0(method);
        process.stay(py);
        called.map(drop).map_err(|exception| raised(py, &exception))
    })
    .unwrap_or_else(|| Err(finalized()))
}
