//! A handle of a stream, as Python holds it.

mod lock_scope;
mod locked_many;
mod lossless;
mod pending;
mod reads;
mod rows;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

pub(crate) use lock_scope::LockScope;
pub(crate) use locked_many::LockedMany;
pub(crate) use lossless::LosslessReader;
use lossless::Subscription;
pub(crate) use pending::{Pending, PendingOpen, PendingRows, any_pending};
use pyo3::exceptions::{PyPermissionError, PyRuntimeError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
pub(crate) use reads::ReadFacts;
use reads::Reads;
pub(crate) use rows::RowProgress;
use thalweg::shm::segment::header::flags;
use thalweg::shm::stream::error::{LockError, WaitError, WriteError};
use thalweg::{Patience, PublishOptions, Stream, WaitPolicy, WriteLock};
use thalweg_os::clock::monotonic_ns;
use thalweg_os::process::Liveness;

use crate::buffer::frame::Frame;
use crate::buffer::import::Buffer;
use crate::buffer::peek::Peek;
use crate::buffer::write_scope::{Contents, WriteScope};
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

/// How a handle came to be, and what it may do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It created the stream.
    Creator,
    /// It was opened.
    Opener,
    /// It was opened only to read, whatever the file's mode allows.
    Reader,
}

/// One handle. The attributes of `thalweg.SharedMemory` are documented there.
#[pyclass(frozen, name = "Stream")]
pub(crate) struct StreamHandle {
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
    instance: [u8; 16],
    slots: usize,
    has_notify: bool,
    is_strict: bool,
    is_progressive: bool,
    is_large: bool,
    is_owner: bool,
    is_readonly: bool,
    newness: Newness,
    reads: Reads,
    /// Subscriptions made through this handle, which end with it.
    lossless: Mutex<Vec<Weak<Subscription>>>,
    /// Levels of the writer lock taken through this handle. Dropped before the stream.
    locks: Mutex<Vec<WriteLock>>,
    /// `None` once closed. Calls under way hold their own share.
    stream: Mutex<Option<Arc<Stream>>>,
}

impl StreamHandle {
    pub(crate) fn new(stream: Stream, newness: Newness, role: Role) -> Self {
        let header = stream.header();
        Self {
            name: header.name.clone(),
            dtype: stream.dtype().name(),
            shape: stream.shape().to_vec(),
            instance: header.instance,
            slots: header.geometry.slots,
            has_notify: header.has(flags::NOTIFY),
            is_strict: header.has(flags::STRICT),
            is_progressive: header.has(flags::PROGRESSIVE),
            is_large: stream.payload_bytes() > DETACHED_FROM_BYTES,
            is_owner: role == Role::Creator,
            is_readonly: role == Role::Reader || !stream.is_writable(),
            newness,
            reads: Reads::from_count(stream.count()),
            lossless: Mutex::new(Vec::new()),
            locks: Mutex::new(Vec::new()),
            stream: Mutex::new(Some(Arc::new(stream))),
        }
    }

    /// A handle of a stream that was opened.
    pub(crate) fn opened(stream: Stream, is_readonly: bool) -> Self {
        let role = if is_readonly {
            Role::Reader
        } else {
            Role::Opener
        };
        Self::new(stream, Newness::SinceTheCall, role)
    }

    /// Nothing under this lock, or the next, calls into Python.
    fn slot(&self) -> MutexGuard<'_, Option<Arc<Stream>>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn locks(&self) -> MutexGuard<'_, Vec<WriteLock>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lossless(&self) -> MutexGuard<'_, Vec<Weak<Subscription>>> {
        self.lossless.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The levels without those a forked child inherited: they are the parent's.
    fn own_locks(&self) -> MutexGuard<'_, Vec<WriteLock>> {
        let mut locks = self.locks();
        locks.retain(|lock| lock.depth() > 0);
        locks
    }

    fn is_open(&self) -> bool {
        self.slot().is_some()
    }

    /// The stream, unless the handle is closed.
    pub(crate) fn stream(&self) -> PyResult<Arc<Stream>> {
        self.slot().clone().ok_or_else(|| error::closed(&self.name))
    }

    /// The stream, for what changes it.
    fn writable_stream(&self) -> PyResult<Arc<Stream>> {
        let stream = self.stream()?;
        if self.is_readonly {
            return Err(self.read_only());
        }
        Ok(stream)
    }

    fn read_only(&self) -> PyErr {
        PyPermissionError::new_err(format!(
            "stream {name} is read-only for this handle; attach with thalweg.open({name}) as a user \
             who may write it",
            name = error::quoted(&self.name)
        ))
    }

    /// An error unless the calling thread holds the writer lock; `operation` needs it.
    fn check_locked(&self, stream: &Stream, operation: &str) -> PyResult<()> {
        if stream.lock_depth() > 0 {
            return Ok(());
        }
        Err(error::lock_required(&self.name, operation))
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

    /// Takes one level of the writer lock for the calling thread.
    fn take_lock(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let stream = self.writable_stream()?;
        let lock = self.lock_within(py, &stream, timeout)?;
        // In the order of `take`: a handle that was closed meanwhile holds no lock.
        let slot = self.slot();
        if slot.is_none() {
            drop(slot);
            return Err(error::closed(&self.name));
        }
        self.locks().push(lock);
        Ok(())
    }

    /// Gives one level back.
    fn give_lock_back(&self) -> PyResult<()> {
        let stream = self.stream()?;
        let refuse = |whose: &str, hint: &str| {
            PyRuntimeError::new_err(format!(
                "cannot release {whose} shared memory lock: stream {}{hint}",
                error::quoted(&self.name)
            ))
        };
        let mut locks = self.own_locks();
        if stream.lock_depth() == 0 && !locks.is_empty() {
            let hint = "; only the thread that took it can give it back";
            return Err(refuse("another thread's", hint));
        }
        // Only one thread at a time has levels, so these are the caller's.
        let lock = locks.pop();
        drop(locks);
        lock.map(drop).ok_or_else(|| refuse("an unlocked", ""))
    }

    fn wait_past(
        &self,
        py: Python<'_>,
        stream: &Stream,
        after: u64,
        policy: WaitPolicy,
        deadline_ns: Option<u64>,
        of_error: impl FnOnce(WaitError) -> PyErr,
    ) -> PyResult<u64> {
        interruptible(
            py,
            |interrupt| {
                let patience = Patience {
                    deadline_ns,
                    interrupt: Some(interrupt),
                };
                stream.wait_after(after, policy, patience)
            },
            of_error,
        )
    }

    fn copy(
        &self,
        py: Python<'_>,
        stream: &Stream,
        out: &Buffer,
        deadline_ns: Option<u64>,
    ) -> PyResult<ReadFacts> {
        let outcome = if self.is_large {
            py.detach(|| out.read_from(stream, deadline_ns))
        } else {
            out.read_from(stream, deadline_ns)
        };
        Ok(self.reads.note(outcome.map_err(error::of_read)?))
    }

    fn read(
        &self,
        py: Python<'_>,
        out: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Option<ReadFacts>> {
        let stream = self.stream()?;
        let Some(out) = Buffer::writable(out).filter(|buffer| buffer.fits(&stream)) else {
            return Ok(None);
        };
        self.copy(py, &stream, &out, deadline_ns(timeout)?)
            .map(Some)
    }

    /// What [`StreamHandle::read_new`] waits to see passed.
    fn baseline(&self, stream: &Stream) -> u64 {
        match self.newness {
            Newness::SinceTheCall => stream.count(),
            Newness::NotReturnedYet => self.reads.last_count(),
        }
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

    /// Closes the handle; what it held, unless it was closed already.
    fn take(&self) -> PyResult<Option<Arc<Stream>>> {
        let mut slot = self.slot();
        let mut locks = self.own_locks();
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
        for reader in self.lossless().drain(..) {
            if let Some(reader) = reader.upgrade() {
                reader.close();
            }
        }
        Ok(slot.take())
    }
}

/// The policy with this name.
fn policy_of(wait: &str) -> PyResult<WaitPolicy> {
    match wait {
        "adaptive" => Ok(WaitPolicy::Adaptive),
        "park" => Ok(WaitPolicy::Park),
        "spin" => Ok(WaitPolicy::Spin),
        other => Err(PyValueError::new_err(format!(
            "wait must be 'adaptive', 'park' or 'spin', got {}",
            error::quoted(other)
        ))),
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
    fn slots(&self) -> usize {
        self.slots
    }

    #[getter]
    fn is_owner(&self) -> bool {
        self.is_owner
    }

    #[getter]
    fn is_readonly(&self) -> bool {
        self.is_readonly
    }

    #[getter]
    fn has_notify(&self) -> bool {
        self.has_notify
    }

    #[getter]
    fn is_strict(&self) -> bool {
        self.is_strict
    }

    #[getter]
    fn is_progressive(&self) -> bool {
        self.is_progressive
    }

    /// Identity of this life of the name, 32 hexadecimal digits.
    #[getter]
    fn instance_id(&self) -> String {
        crate::directory::hexadecimal(&self.instance)
    }

    #[getter]
    fn is_closed(&self) -> bool {
        !self.is_open()
    }

    /// An error if the handle is closed.
    fn check_open(&self) -> PyResult<()> {
        self.stream().map(drop)
    }

    /// Number of completed publications.
    fn count(&self) -> PyResult<u64> {
        Ok(self.stream()?.count())
    }

    /// Twice the count at rest, odd while a frame is written, negative when reads fail.
    fn write_sequence(&self) -> PyResult<i64> {
        Ok(self.stream()?.write_sequence())
    }

    /// Id stamped on the newest frame; 0 when nobody did.
    fn frame_id(&self) -> PyResult<u64> {
        Ok(self.stream()?.newest().frame_id)
    }

    /// Seconds since 1970 of the newest publication; 0.0 before the first.
    fn write_time(&self) -> PyResult<f64> {
        Ok(seconds_of(self.stream()?.newest().wall_ns))
    }

    /// Seconds since the newest publication by the monotonic clock; infinity before the first.
    fn age(&self) -> PyResult<f64> {
        let newest = self.stream()?.newest();
        if newest.count == 0 {
            return Ok(f64::INFINITY);
        }
        Ok(seconds_of(monotonic_ns().saturating_sub(newest.publish_ns)))
    }

    /// Pid of the creating process, in its own pid namespace.
    fn creator_pid(&self) -> PyResult<u32> {
        Ok(self.stream()?.header().creator.pid)
    }

    /// False once the creating process is known to have ended.
    fn is_creator_alive(&self, py: Python<'_>) -> PyResult<bool> {
        let stream = self.stream()?;
        Ok(py.detach(|| stream.creator_liveness()) != Liveness::Dead)
    }

    /// Count of the newest frame this handle returned.
    fn last_read_count(&self) -> PyResult<u64> {
        self.stream().map(|_| self.reads.last_count())
    }

    /// Frames the last read skipped.
    fn missed(&self) -> PyResult<u64> {
        self.stream().map(|_| self.reads.missed())
    }

    /// Frames all reads skipped.
    fn total_missed(&self) -> PyResult<u64> {
        self.stream().map(|_| self.reads.total_missed())
    }

    /// Publish `value`; False if it first has to be converted to the stream's dtype and shape.
    #[pyo3(signature = (value, frame_id, timeout=None, operation=None))]
    fn write(
        &self,
        py: Python<'_>,
        value: &Bound<'_, PyAny>,
        frame_id: Option<u64>,
        timeout: Option<f64>,
        operation: Option<&str>,
    ) -> PyResult<bool> {
        let stream = self.writable_stream()?;
        let deadline_ns = deadline_ns(timeout)?;
        if let Some(operation) = operation {
            self.check_locked(&stream, operation)?;
        }
        let Some(buffer) = Buffer::readable(value).filter(|buffer| buffer.fits(&stream)) else {
            return Ok(false);
        };
        let options = PublishOptions {
            frame_id,
            origin_ns: None,
        };
        if !self.is_large {
            match stream.write(buffer.array(), options, AT_ONCE) {
                Err(WriteError::Lock(LockError::TimedOut { .. }) | WriteError::Lagging { .. }) => {}
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
                    deadline_ns,
                    interrupt: Some(interrupt),
                };
                stream.write(buffer.array(), options, patience)
            },
            error::of_write,
        )?;
        Ok(true)
    }

    /// Publish zeros under the id of the frame before.
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        let stream = self.writable_stream()?;
        interruptible(
            py,
            |interrupt| {
                let mut loan = stream.loan(Patience {
                    deadline_ns: None,
                    interrupt: Some(interrupt),
                })?;
                loan.fill_zeros()?;
                loan.publish(PublishOptions::default()).map(drop)
            },
            error::of_write,
        )
    }

    /// A `with` block that lends the slot of the next frame: undefined, or beginning as a copy of the
    /// last one, or row by row. With `operation` the caller has to hold the lock already.
    #[pyo3(signature = (contents, timeout, frame_id, operation=None))]
    fn write_scope(
        &self,
        contents: &str,
        timeout: Option<f64>,
        frame_id: Option<u64>,
        operation: Option<&str>,
    ) -> PyResult<WriteScope> {
        let stream = self.writable_stream()?;
        let contents = match contents {
            "last frame" => Contents::LastFrame,
            "rows" => Contents::Rows,
            _ => Contents::Undefined,
        };
        Ok(WriteScope::new(
            &self.name, &stream, contents, timeout, frame_id, operation,
        ))
    }

    /// Copy the newest frame into `out`; False if that is no array of the stream's dtype and shape.
    fn copy_into(
        &self,
        py: Python<'_>,
        out: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<bool> {
        Ok(self.read(py, out, timeout)?.is_some())
    }

    /// Copy the newest frame into `out`; None if that is no array of the stream's dtype and shape.
    fn read_into(
        &self,
        py: Python<'_>,
        out: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Option<ReadFacts>> {
        self.read(py, out, timeout)
    }

    /// Wait for a new frame, then as `read_into`.
    fn read_new_into(
        &self,
        py: Python<'_>,
        out: &Bound<'_, PyAny>,
        timeout: Option<f64>,
        wait: &str,
    ) -> PyResult<Option<ReadFacts>> {
        let stream = self.stream()?;
        let after = self.baseline(&stream);
        let Some(out) = Buffer::writable(out).filter(|buffer| buffer.fits(&stream)) else {
            return Ok(None);
        };
        let (deadline_ns, policy) = (deadline_ns(timeout)?, policy_of(wait)?);
        if stream.count() <= after {
            self.wait_past(py, &stream, after, policy, deadline_ns, |error| {
                self.no_new_write(error)
            })?;
        }
        self.copy(py, &stream, &out, deadline_ns).map(Some)
    }

    /// Wait until more than `after` frames were published, then as `read_into`.
    fn read_after_into(
        &self,
        py: Python<'_>,
        out: &Bound<'_, PyAny>,
        after: u64,
        timeout: Option<f64>,
        wait: &str,
    ) -> PyResult<Option<ReadFacts>> {
        let stream = self.stream()?;
        let Some(out) = Buffer::writable(out).filter(|buffer| buffer.fits(&stream)) else {
            return Ok(None);
        };
        let (deadline_ns, policy) = (deadline_ns_of_duration(timeout)?, policy_of(wait)?);
        if stream.count() <= after {
            self.wait_past(py, &stream, after, policy, deadline_ns, error::of_wait)?;
        }
        self.copy(py, &stream, &out, deadline_ns).map(Some)
    }

    /// Wait for a frame `read_new` would return.
    fn wait_for_new(&self, py: Python<'_>, timeout: Option<f64>, wait: &str) -> PyResult<u64> {
        let stream = self.stream()?;
        let after = self.baseline(&stream);
        let (deadline_ns, policy) = (deadline_ns(timeout)?, policy_of(wait)?);
        self.wait_past(py, &stream, after, policy, deadline_ns, |error| {
            self.no_new_write(error)
        })
    }

    /// Wait until more than `after` frames were published; the newest count.
    fn wait_for_count(
        &self,
        py: Python<'_>,
        after: u64,
        timeout: Option<f64>,
        wait: &str,
    ) -> PyResult<u64> {
        let stream = self.stream()?;
        let (deadline_ns, policy) = (deadline_ns_of_duration(timeout)?, policy_of(wait)?);
        self.wait_past(py, &stream, after, policy, deadline_ns, error::of_wait)
    }

    /// A wait for the count to pass `after`, for an event loop.
    fn pending(&self, after: u64) -> PyResult<Pending> {
        Ok(Pending::count(&*self.stream()?, after))
    }

    /// What `read_new` waits to see passed, if it were called now.
    fn baseline_count(&self) -> PyResult<u64> {
        let stream = self.stream()?;
        Ok(self.baseline(&stream))
    }

    /// Copy the newest frames that are still held, oldest first, into `out`, an array of frames: what
    /// was published with each. None if that is no such array.
    fn history_into(
        &self,
        py: Python<'_>,
        out: &Bound<'_, PyAny>,
        frames: usize,
        timeout: Option<f64>,
    ) -> PyResult<Option<Vec<ReadFacts>>> {
        let stream = self.stream()?;
        let Some(out) = Buffer::writable(out).filter(|buffer| buffer.holds_frames_of(&stream))
        else {
            return Ok(None);
        };
        let deadline_ns = deadline_ns(timeout)?;
        let held = py
            .detach(|| out.history_from(&stream, frames, deadline_ns))
            .map_err(error::of_read)?;
        Ok(Some(held.into_iter().map(ReadFacts::uncounted).collect()))
    }

    /// An error unless the calling thread may `peek`.
    fn check_peek(&self) -> PyResult<()> {
        let stream = self.writable_stream()?;
        self.check_locked(&stream, "safe=False")
    }

    /// The newest slot's memory as it is. The calling thread has to hold the lock.
    fn peek(&self) -> PyResult<(Peek, ReadFacts)> {
        self.check_peek()?;
        let stream = self.stream()?;
        let facts = self.reads.note(stream.newest());
        Ok((Peek::new(&stream), facts))
    }

    /// Pin the newest frame.
    fn borrow(&self) -> PyResult<Frame> {
        let stream = self.stream()?;
        let frame = stream.borrow().map_err(error::of_borrow)?;
        self.reads.note(frame.publication());
        Ok(Frame::new(&self.name, &stream, frame))
    }

    /// A reader that gets every frame from now on.
    fn subscribe(&self, budget: usize) -> PyResult<LosslessReader> {
        let reader = LosslessReader::subscribe(&self.name, &self.stream()?, budget)?;
        let mut lossless = self.lossless();
        lossless.retain(|reader| reader.strong_count() > 0);
        lossless.push(reader.subscription());
        Ok(reader)
    }

    /// Wait until a frame above `after` has `rows` rows; with `of`, until that writing has.
    fn wait_rows(
        &self,
        py: Python<'_>,
        rows: usize,
        after: u64,
        of: Option<PyRef<'_, RowProgress>>,
        timeout: Option<f64>,
        wait: &str,
    ) -> PyResult<RowProgress> {
        rows::wait(self, py, (after, of.as_deref()), rows, timeout, wait)
    }

    /// As `wait_rows`, for an event loop.
    fn pending_rows(
        &self,
        rows: usize,
        after: u64,
        of: Option<PyRef<'_, RowProgress>>,
    ) -> PyResult<PendingRows> {
        rows::pending(self, (after, of.as_deref()), rows)
    }

    /// Copy rows `start..stop` of a frame into `out`; None if that is no array of so many rows.
    fn read_rows_into(
        &self,
        progress: PyRef<'_, RowProgress>,
        start: usize,
        stop: usize,
        out: &Bound<'_, PyAny>,
    ) -> PyResult<Option<RowProgress>> {
        rows::read_into(self, &progress, (start, stop), out)
    }

    /// Take one level of the writer lock for the calling thread.
    fn acquire(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        self.take_lock(py, timeout)
    }

    /// Give back one level of the writer lock.
    fn release(&self) -> PyResult<()> {
        self.give_lock_back()
    }

    /// A `with` block that holds the lock and gets `handle`.
    fn lock_scope(slf: Bound<'_, Self>, handle: Py<PyAny>, timeout: Option<f64>) -> LockScope {
        LockScope::new(handle, slf.unbind(), timeout)
    }

    /// Detach. Waits under this handle end with an error; views stay valid.
    fn close(&self) -> PyResult<()> {
        self.take().map(drop)
    }

    /// Detach, then remove the name if it still leads to this stream.
    fn unlink(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_readonly {
            return Err(self.read_only());
        }
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
        self.reads.rebase(self.stream()?.count());
        Ok(())
    }
}

/// Wait until one of `streams` passes the count beside it; its position.
#[pyfunction]
pub(crate) fn wait_any(
    py: Python<'_>,
    streams: Vec<(PyRef<'_, StreamHandle>, u64)>,
    timeout: Option<f64>,
) -> PyResult<usize> {
    let streams = pending::open_streams(&streams)?;
    let streams: Vec<(&Stream, u64)> = streams
        .iter()
        .map(|(stream, after)| (&**stream, *after))
        .collect();
    let deadline_ns = deadline_ns_of_duration(timeout)?;
    interruptible(
        py,
        |interrupt| {
            let patience = Patience {
                deadline_ns,
                interrupt: Some(interrupt),
            };
            Stream::wait_any(&streams, patience)
        },
        error::of_wait,
    )
}
