//! A handle of a stream, as Python holds it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyRuntimeError, PyTimeoutError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use thalweg::shm::stream::error::{LockError, WaitError, WriteError};
use thalweg::{Patience, Publication, PublishOptions, Stream, WaitPolicy, WriteLock};

use crate::buffer::frame::Frame;
use crate::buffer::import::Buffer;
use crate::buffer::loan::Loan;
use crate::error;
use crate::interrupt::interruptible;
use crate::time::{deadline_ns, deadline_ns_of_duration, seconds_of};

/// Longer copies are done without the interpreter; for shorter ones giving it away costs more.
const DETACHED_FROM_BYTES: usize = 64 * 1024;

/// Try once: what is not to be had at once is waited for without the interpreter.
const AT_ONCE: Patience<'static> = Patience {
    deadline_ns: Some(0),
    interrupt: None,
};

/// What a frame has to be to count as new for [`StreamHandle::read_new`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Newness {
    /// Published after the call began: the meaning for handles that were opened.
    SinceTheCall,
    /// Never returned by this handle: the meaning for handles of a pipeline, whose stages may have
    /// answered before the question "anything new?" is asked.
    NotReturnedYet,
}

/// One handle. The attributes of `thalweg.SharedMemory` are documented there.
#[pyclass(frozen, name = "Stream")]
pub(crate) struct StreamHandle {
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
    instance: [u8; 16],
    is_large: bool,
    newness: Newness,
    /// Newest count this handle returned, or found when it was made or rebased.
    returned: AtomicU64,
    /// Levels of the writer lock taken through this handle. Dropped before the stream.
    locks: Mutex<Vec<WriteLock>>,
    /// `None` once closed. Calls under way hold their own share.
    stream: Mutex<Option<Arc<Stream>>>,
}

impl StreamHandle {
    pub(crate) fn new(stream: Stream, newness: Newness) -> Self {
        let header = stream.header();
        Self {
            name: header.name.clone(),
            dtype: stream.dtype().name(),
            shape: stream.shape().to_vec(),
            instance: header.instance,
            is_large: stream.payload_bytes() > DETACHED_FROM_BYTES,
            newness,
            returned: AtomicU64::new(stream.count()),
            locks: Mutex::new(Vec::new()),
            stream: Mutex::new(Some(Arc::new(stream))),
        }
    }

    /// Nothing under this lock, or the next, calls into Python.
    fn slot(&self) -> MutexGuard<'_, Option<Arc<Stream>>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn locks(&self) -> MutexGuard<'_, Vec<WriteLock>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stream(&self) -> PyResult<Arc<Stream>> {
        self.slot().clone().ok_or_else(|| error::closed(&self.name))
    }

    fn note(&self, publication: Publication) {
        self.returned
            .fetch_max(publication.count, Ordering::Relaxed);
    }

    fn lock_within(
        &self,
        py: Python<'_>,
        stream: &Stream,
        timeout: Option<f64>,
    ) -> PyResult<WriteLock> {
        let deadline_ns = deadline_ns(timeout)?;
        match stream.lock(AT_ONCE) {
            Err(LockError::TimedOut { .. }) => {}
            outcome => return outcome.map_err(error::of_lock),
        }
        interruptible(
            py,
            |interrupt| {
                stream.lock(Patience {
                    deadline_ns,
                    interrupt: Some(interrupt),
                })
            },
            error::of_lock,
        )
    }

    /// Waits for a count above `after`, then copies the newest frame into `out`.
    fn read_past(
        &self,
        py: Python<'_>,
        stream: &Stream,
        out: &Buffer,
        after: u64,
        deadline_ns: Option<u64>,
        of_error: impl FnOnce(WaitError) -> PyErr,
    ) -> PyResult<()> {
        if stream.count() <= after {
            interruptible(
                py,
                |interrupt| {
                    let patience = Patience {
                        deadline_ns,
                        interrupt: Some(interrupt),
                    };
                    stream.wait_after(after, WaitPolicy::Adaptive, patience)
                },
                of_error,
            )?;
        }
        self.copy(py, stream, out, deadline_ns)
    }

    fn copy(
        &self,
        py: Python<'_>,
        stream: &Stream,
        out: &Buffer,
        deadline_ns: Option<u64>,
    ) -> PyResult<()> {
        let outcome = if self.is_large {
            py.detach(|| out.read_from(stream, deadline_ns))
        } else {
            out.read_from(stream, deadline_ns)
        };
        self.note(outcome.map_err(error::of_read)?);
        Ok(())
    }

    fn no_new_write(&self, error: WaitError) -> PyErr {
        match error {
            WaitError::TimedOut { name, .. } => PyTimeoutError::new_err(format!(
                "timed out waiting for a new write of stream {}",
                error::quoted(&name)
            )),
            error => error::of_wait(error),
        }
    }
}

#[pymethods]
impl StreamHandle {
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    #[getter]
    fn dtype(&self) -> &'static str {
        self.dtype
    }

    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.shape)
    }

    #[getter]
    fn is_closed(&self) -> bool {
        self.slot().is_none()
    }

    /// Number of completed publications.
    fn count(&self) -> PyResult<u64> {
        Ok(self.stream()?.count())
    }

    /// Id stamped on the newest frame; 0 when nobody did.
    fn frame_id(&self) -> PyResult<u64> {
        Ok(self.stream()?.newest().frame_id)
    }

    /// Seconds since 1970 of the newest publication; 0.0 before the first.
    fn write_time(&self) -> PyResult<f64> {
        Ok(seconds_of(self.stream()?.newest().wall_ns))
    }

    /// Publish `value`; False if it first has to be converted to the stream's dtype and shape.
    fn write(
        &self,
        py: Python<'_>,
        value: &Bound<'_, PyAny>,
        frame_id: Option<u64>,
    ) -> PyResult<bool> {
        let stream = self.stream()?;
        let Some(buffer) = Buffer::readable(value).filter(|buffer| buffer.fits(&stream)) else {
            return Ok(false);
        };
        let options = PublishOptions {
            frame_id,
            origin_ns: None,
        };
        if !self.is_large {
            match stream.write(buffer.array(), options, AT_ONCE) {
                Err(WriteError::Lock(LockError::TimedOut { .. })) => {}
                outcome => {
                    outcome.map_err(error::of_write)?;
                    return Ok(true);
                }
            }
        }
        interruptible(
            py,
            |interrupt| {
                let patience = Patience {
                    deadline_ns: None,
                    interrupt: Some(interrupt),
                };
                stream.write(buffer.array(), options, patience)
            },
            error::of_write,
        )?;
        Ok(true)
    }

    /// Copy the newest frame into `out`; False if that is no array of the stream's dtype and shape.
    fn read_into(
        &self,
        py: Python<'_>,
        out: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<bool> {
        let stream = self.stream()?;
        let Some(out) = Buffer::writable(out).filter(|buffer| buffer.fits(&stream)) else {
            return Ok(false);
        };
        self.copy(py, &stream, &out, deadline_ns(timeout)?)?;
        Ok(true)
    }

    /// Wait for a new frame, then as `read_into`.
    fn read_new_into(
        &self,
        py: Python<'_>,
        out: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<bool> {
        let stream = self.stream()?;
        let after = match self.newness {
            Newness::SinceTheCall => stream.count(),
            Newness::NotReturnedYet => self.returned.load(Ordering::Relaxed),
        };
        let Some(out) = Buffer::writable(out).filter(|buffer| buffer.fits(&stream)) else {
            return Ok(false);
        };
        let deadline_ns = deadline_ns(timeout)?;
        self.read_past(py, &stream, &out, after, deadline_ns, |error| {
            self.no_new_write(error)
        })?;
        Ok(true)
    }

    /// Wait until more than `after` frames were published, then as `read_into`.
    fn read_after_into(
        &self,
        py: Python<'_>,
        out: &Bound<'_, PyAny>,
        after: u64,
        timeout: Option<f64>,
    ) -> PyResult<bool> {
        let stream = self.stream()?;
        let Some(out) = Buffer::writable(out).filter(|buffer| buffer.fits(&stream)) else {
            return Ok(false);
        };
        let deadline_ns = deadline_ns_of_duration(timeout)?;
        self.read_past(py, &stream, &out, after, deadline_ns, error::of_wait)?;
        Ok(true)
    }

    /// Pin the newest frame.
    fn borrow(&self) -> PyResult<Frame> {
        let stream = self.stream()?;
        let frame = stream.borrow().map_err(error::of_borrow)?;
        self.note(frame.publication());
        Ok(Frame::new(&self.name, &stream, frame))
    }

    /// Take the slot of the next frame; others wait with theirs until it is given back.
    fn loan(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Loan> {
        let stream = self.stream()?;
        let deadline_ns = deadline_ns(timeout)?;
        let loan = match stream.loan(AT_ONCE) {
            Err(WriteError::Lock(LockError::TimedOut { .. })) => interruptible(
                py,
                |interrupt| {
                    stream.loan(Patience {
                        deadline_ns,
                        interrupt: Some(interrupt),
                    })
                },
                error::of_write,
            )?,
            outcome => outcome.map_err(error::of_write)?,
        };
        Loan::new(&self.name, &stream, loan).map_err(error::of_write)
    }

    /// Take one level of the writer lock for the calling thread.
    fn acquire(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let stream = self.stream()?;
        let lock = self.lock_within(py, &stream, timeout)?;
        self.locks().push(lock);
        Ok(())
    }

    /// Give back one level of the writer lock.
    fn release(&self) -> PyResult<()> {
        let stream = self.stream()?;
        let refuse = |reason: &str| {
            PyRuntimeError::new_err(format!(
                "cannot release {} shared memory lock: stream {}",
                reason,
                error::quoted(&self.name)
            ))
        };
        let mut locks = self.locks();
        if stream.lock_depth() == 0 && !locks.is_empty() {
            return Err(refuse("another thread's"));
        }
        // Only one thread at a time has levels, so these are the caller's.
        let lock = locks.pop();
        drop(locks);
        lock.map(drop).ok_or_else(|| refuse("an unlocked"))
    }

    /// Detach. Waits under this handle end with an error; views stay valid.
    fn close(&self) -> PyResult<()> {
        self.take().map(drop)
    }

    /// Detach, then remove the name if it still leads to this stream.
    fn unlink(&self, py: Python<'_>) -> PyResult<()> {
        let stream = match self.take()? {
            Some(stream) => stream,
            None => match py.detach(|| Stream::open(&self.name)) {
                Ok(current) if current.header().instance == self.instance => Arc::new(current),
                Ok(_) => {
                    return Err(error::StaleStreamError::new_err(format!(
                        "stream {} was replaced by a newer generation; this handle cannot unlink it",
                        error::quoted(&self.name)
                    )));
                }
                // Gone, or no stream of ours.
                Err(_) => return Ok(()),
            },
        };
        py.detach(|| stream.unlink()).map_err(error::of_unlink)
    }

    /// Treat every frame published so far as returned.
    fn rebase(&self) -> PyResult<()> {
        let count = self.stream()?.count();
        self.returned.store(count, Ordering::Relaxed);
        Ok(())
    }
}

impl StreamHandle {
    /// Closes the handle; what it held, unless it was closed already.
    fn take(&self) -> PyResult<Option<Arc<Stream>>> {
        let mut slot = self.slot();
        let mut locks = self.locks();
        let Some(stream) = slot.as_ref() else {
            return Ok(None);
        };
        if stream.lock_depth() == 0 && !locks.is_empty() {
            return Err(PyRuntimeError::new_err(format!(
                "cannot close stream {}: another thread owns its lock through this handle",
                error::quoted(&self.name)
            )));
        }
        locks.clear();
        stream.close();
        Ok(slot.take())
    }
}
