//! A wait that an event loop polls instead of a thread that sleeps.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use pyo3::prelude::*;
use thalweg::shm::stream::error::WaitError;
use thalweg::{AnyAfter, NextAfter, NextRows, Opening, Stream};

use super::StreamHandle;
use super::rows::RowProgress;
use crate::error;

/// A future under way; nothing once it is over. Dropping it ends it.
struct UnderWay<F>(Mutex<Option<F>>);

impl<F: Future + Unpin> UnderWay<F> {
    fn new(future: F) -> Self {
        Self(Mutex::new(Some(future)))
    }

    /// What it came to; `None` if nothing yet, and then `woken` is called once when it is worth
    /// asking again, by whatever thread.
    fn poll(&self, woken: Py<PyAny>) -> Option<F::Output> {
        let waker = Waker::from(Arc::new(Callback(woken)));
        let mut future = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let polled = Pin::new(future.as_mut()?).poll(&mut Context::from_waker(&waker));
        let Poll::Ready(outcome) = polled else {
            return None;
        };
        // Dropped without the lock: it holds Python objects.
        let over = future.take();
        drop(future);
        drop(over);
        Some(outcome)
    }

    fn cancel(&self) {
        let future = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(future);
    }
}

/// What is awaited.
enum Awaited {
    Count(NextAfter),
    Any(AnyAfter),
}

impl Future for Awaited {
    type Output = Result<u64, WaitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Count(count) => Pin::new(count).poll(context),
            Self::Any(any) => Pin::new(any).poll(context).map_ok(|index| index as u64),
        }
    }
}

/// A wait for a count under way. Dropping it, or `cancel`, ends it.
#[pyclass(frozen)]
pub(crate) struct Pending(UnderWay<Awaited>);

impl Pending {
    /// As [`Pending::count`], but frames that were given up do not end it.
    pub(super) fn frame(stream: &Stream, after: u64) -> Self {
        Self(UnderWay::new(Awaited::Count(
            stream.next_frame_after(after),
        )))
    }

    pub(super) fn count(stream: &Stream, after: u64) -> Self {
        Self(UnderWay::new(Awaited::Count(stream.next_after(after))))
    }
}

#[pymethods]
impl Pending {
    /// The count, or the position of the stream that is ready; None if there is none yet, and then
    /// `woken` is called once when it is worth asking again, by whatever thread.
    fn poll(&self, woken: Py<PyAny>) -> PyResult<Option<u64>> {
        self.0.poll(woken).transpose().map_err(error::of_wait)
    }

    /// End the wait.
    fn cancel(&self) {
        self.0.cancel();
    }
}

/// A wait for rows under way.
#[pyclass(frozen)]
pub(crate) struct PendingRows(UnderWay<NextRows>);

impl PendingRows {
    pub(super) fn new(rows: NextRows) -> Self {
        Self(UnderWay::new(rows))
    }
}

#[pymethods]
impl PendingRows {
    /// Where the rows are; None as for `Pending.poll`.
    fn poll(&self, woken: Py<PyAny>) -> PyResult<Option<RowProgress>> {
        let outcome = self.0.poll(woken).transpose().map_err(error::of_rows)?;
        Ok(outcome.map(RowProgress::new))
    }

    /// End the wait.
    fn cancel(&self) {
        self.0.cancel();
    }
}

/// A wait for a stream to exist.
#[pyclass(frozen)]
pub(crate) struct PendingOpen {
    is_readonly: bool,
    opening: UnderWay<Opening>,
}

#[pymethods]
impl PendingOpen {
    #[new]
    fn new(name: &str, is_readonly: bool) -> Self {
        Self {
            is_readonly,
            opening: UnderWay::new(Stream::open_when_created(name)),
        }
    }

    /// A handle of the stream; None as for `Pending.poll`.
    fn poll(&self, woken: Py<PyAny>) -> PyResult<Option<StreamHandle>> {
        let outcome = self.opening.poll(woken).transpose();
        let stream = outcome.map_err(error::of_open)?;
        Ok(stream.map(|stream| StreamHandle::opened(stream, self.is_readonly)))
    }

    /// End the wait.
    fn cancel(&self) {
        self.opening.cancel();
    }
}

/// A Python function to call when a wait is worth looking at.
struct Callback(Py<PyAny>);

impl Wake for Callback {
    fn wake(self: Arc<Self>) {
        // An interpreter that shuts down has no event loop any more.
        Python::try_attach(|py| {
            if let Err(raised) = self.0.call0(py) {
                // The event loop was closed meanwhile: nobody is there to be told.
                drop(raised);
            }
        });
    }
}

/// A wait for any of `streams` to pass the count beside it.
#[pyfunction]
pub(crate) fn any_pending(streams: Vec<(PyRef<'_, StreamHandle>, u64)>) -> PyResult<Pending> {
    let streams = open_streams(&streams)?;
    let streams: Vec<(&Stream, u64)> = streams
        .iter()
        .map(|(stream, after)| (&**stream, *after))
        .collect();
    let any = Awaited::Any(Stream::any_after(&streams));
    Ok(Pending(UnderWay::new(any)))
}

/// The streams of open handles.
pub(super) fn open_streams(
    handles: &[(PyRef<'_, StreamHandle>, u64)],
) -> PyResult<Vec<(Arc<Stream>, u64)>> {
    handles
        .iter()
        .map(|(handle, after)| Ok((handle.stream()?, *after)))
        .collect()
}
