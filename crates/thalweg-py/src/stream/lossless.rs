//! A reader that gets every frame.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

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

/// A subscription that its Python object and its handle share.
pub(super) struct Subscription {
    stream: Arc<Stream>,
    is_closed: AtomicBool,
    /// Out while a thread reads, and for good once closed.
    reader: Mutex<Option<thalweg::LosslessReader>>,
}

impl Subscription {
    /// Nothing under this lock calls into Python.
    fn reader(&self) -> MutexGuard<'_, Option<thalweg::LosslessReader>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it. A thread that reads gives up, and drops the reader.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        let reader = self.reader().take();
        if reader.is_none() {
            self.stream.nudge();
        }
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    /// Puts the reader back, unless it was closed meanwhile.
    fn put_back(&self, reader: thalweg::LosslessReader) {
        let mut slot = self.reader();
        if !self.is_closed() {
            *slot = Some(reader);
        }
    }
}

/// One subscription. Collecting it ends it.
#[pyclass(frozen)]
pub(crate) struct LosslessReader {
    name: String,
    budget: usize,
    subscription: Arc<Subscription>,
}

impl LosslessReader {
    pub(super) fn subscribe(name: &str, stream: &Arc<Stream>, budget: usize) -> PyResult<Self> {
        let reader = stream.subscribe(budget).map_err(error::of_subscribe)?;
        Ok(Self {
            name: name.to_owned(),
            budget,
            subscription: Arc::new(Subscription {
                stream: Arc::clone(stream),
                is_closed: AtomicBool::new(false),
                reader: Mutex::new(Some(reader)),
            }),
        })
    }

    pub(super) fn subscription(&self) -> Weak<Subscription> {
        Arc::downgrade(&self.subscription)
    }

    fn absent(&self) -> PyErr {
        let reason = if self.subscription.is_closed() {
            "was closed"
        } else {
            "is in use: another thread is reading with it"
        };
        PyRuntimeError::new_err(format!(
            "this lossless reader of stream {} {reason}",
            error::quoted(&self.name)
        ))
    }

    fn look<T>(&self, at: impl FnOnce(&thalweg::LosslessReader) -> T) -> PyResult<T> {
        let reader = self.subscription.reader();
        reader.as_ref().map(at).ok_or_else(|| self.absent())
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
        let Some(out) =
            Buffer::writable(out).filter(|buffer| buffer.fits(&self.subscription.stream))
        else {
            return Ok(None);
        };
        let (deadline_ns, policy) = (deadline_ns_of_duration(timeout)?, policy_of(wait)?);
        let taken = self.subscription.reader().take();
        let mut reader = taken.ok_or_else(|| self.absent())?;
        let closing = || self.subscription.is_closed();
        let outcome = interruptible(
            py,
            |interrupt| {
                let either = || closing() || interrupt();
                let patience = Patience {
                    deadline_ns,
                    interrupt: Some(&either),
                };
                out.read_next_from(&mut reader, policy, patience)
            },
            |problem| {
                if closing() {
                    self.absent()
                } else {
                    error::of_lossless(problem)
                }
            },
        );
        self.subscription.put_back(reader);
        outcome.map(|publication| Some(ReadFacts::uncounted(publication)))
    }

    /// A wait for the next frame, for an event loop.
    fn pending(&self) -> PyResult<Pending> {
        let position = self.position()?;
        Ok(Pending::frame(&self.subscription.stream, position))
    }

    /// End the subscription, also for a thread that reads. Closing twice is no error.
    fn close(&self) {
        self.subscription.close();
    }
}
