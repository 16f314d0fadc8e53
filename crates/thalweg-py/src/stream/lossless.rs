//! A reader that gets every frame.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use thalweg::{Patience, Stream};

use super::pending::Pending;
use super::policy_of;
use super::reads::ReadFacts;
use crate::buffer::import::Buffer;
use crate::error;
use crate::interrupt::interruptible;
use crate::time::deadline_ns_of_duration;

/// One subscription. Collecting it ends it.
#[pyclass(frozen)]
pub(crate) struct LosslessReader {
    name: String,
    budget: usize,
    stream: Arc<Stream>,
    /// Out while a thread reads, and for good once closed.
    reader: Mutex<Option<thalweg::LosslessReader>>,
}

impl LosslessReader {
    pub(super) fn subscribe(name: &str, stream: &Arc<Stream>, budget: usize) -> PyResult<Self> {
        let reader = stream.subscribe(budget).map_err(error::of_subscribe)?;
        Ok(Self {
            name: name.to_owned(),
            budget,
            stream: Arc::clone(stream),
            reader: Mutex::new(Some(reader)),
        })
    }

    /// Nothing under this lock calls into Python.
    fn reader(&self) -> MutexGuard<'_, Option<thalweg::LosslessReader>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn absent(&self) -> PyErr {
        PyRuntimeError::new_err(format!(
            "this lossless reader of stream {} was closed, or another thread is reading with it",
            error::quoted(&self.name)
        ))
    }

    fn look<T>(&self, at: impl FnOnce(&thalweg::LosslessReader) -> T) -> PyResult<T> {
        self.reader().as_ref().map(at).ok_or_else(|| self.absent())
    }
}

#[pymethods]
impl LosslessReader {
    #[getter]
    fn budget(&self) -> usize {
        self.budget
    }

    /// Count of the newest frame it returned, or of the one before its first.
    fn position(&self) -> PyResult<u64> {
        self.look(thalweg::LosslessReader::position)
    }

    /// Published frames it has not returned yet.
    fn lag(&self) -> PyResult<u64> {
        self.look(thalweg::LosslessReader::lag)
    }

    /// Copy the next frame into `out`; None if that is no array of the stream's dtype and shape.
    fn read_next_into(
        &self,
        py: Python<'_>,
        out: &Bound<'_, PyAny>,
        timeout: Option<f64>,
        wait: &str,
    ) -> PyResult<Option<ReadFacts>> {
        let Some(out) = Buffer::writable(out).filter(|buffer| buffer.fits(&self.stream)) else {
            return Ok(None);
        };
        let (deadline_ns, policy) = (deadline_ns_of_duration(timeout)?, policy_of(wait)?);
        let mut reader = self.reader().take().ok_or_else(|| self.absent())?;
        let outcome = interruptible(
            py,
            |interrupt| {
                let patience = Patience {
                    deadline_ns,
                    interrupt: Some(interrupt),
                };
                out.read_next_from(&mut reader, policy, patience)
            },
            error::of_lossless,
        );
        *self.reader() = Some(reader);
        outcome.map(|publication| Some(ReadFacts::uncounted(publication)))
    }

    /// A wait for the next frame, for an event loop.
    fn pending(&self) -> PyResult<Pending> {
        let position = self.position()?;
        Ok(Pending::frame(&self.stream, position))
    }

    /// End the subscription. Closing twice is no error.
    fn close(&self) {
        let reader = self.reader().take();
        drop(reader);
    }
}
