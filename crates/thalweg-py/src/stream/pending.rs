//! A wait that an event loop polls instead of a thread that sleeps.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use pyo3::prelude::*;
use thalweg::shm::stream::error::WaitError;
use thalweg::{AnyAfter, NextAfter, Opening, Stream};

use super::StreamHandle;
use crate::error;

/// What is awaited.
enum Awaited {
    Count(NextAfter),
    Any(AnyAfter),
}

impl Awaited {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<u64, WaitError>> {
        use std::future::Future;
        match self {
            Self::Count(count) => Pin::new(count).poll(context),
            Self::Any(any) => Pin::new(any).poll(context).map_ok(|index| index as u64),
        }
    }
}

/// A wait under way. Dropping it, or `cancel`, ends it.
#[pyclass(frozen)]
pub(crate) struct Pending {
    /// `None` once it is over.
    awaited: Mutex<Option<Awaited>>,
}

impl Pending {
    fn new(awaited: Awaited) -> Self {
        Self {
            awaited: Mutex::new(Some(awaited)),
        }
    }

    /// As [`Pending::count`], but frames that were given up do not end it.
    pub(super) fn frame(stream: &Stream, after: u64) -> Self {
        Self::new(Awaited::Count(stream.next_frame_after(after)))
    }

    pub(super) fn count(stream: &Stream, after: u64) -> Self {
        Self::new(Awaited::Count(stream.next_after(after)))
    }
}

#[pymethods]
impl Pending {
    /// The count, or the position of the stream that is ready; None if there is none yet, and then
    /// `woken` is called once when it is worth asking again, by whatever thread.
    fn poll(&self, woken: Py<PyAny>) -> PyResult<Option<u64>> {
        let waker = Waker::from(Arc::new(Callback(woken)));
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(under_way) = awaited.as_mut() else {
            return Ok(None);
        };
        match under_way.poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => Ok(None),
            Poll::Ready(outcome) => {
                // Dropped without the lock: it holds Python objects.
                let over = awaited.take();
                drop(awaited);
                drop(over);
                outcome.map(Some).map_err(error::of_wait)
            }
        }
    }

    /// End the wait.
    fn cancel(&self) {
        let awaited = self
            .awaited
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(awaited);
    }
}

/// A wait for a stream to exist.
#[pyclass(frozen)]
pub(crate) struct PendingOpen {
    is_readonly: bool,
    /// `None` once it is over.
    opening: Mutex<Option<Opening>>,
}

#[pymethods]
impl PendingOpen {
    #[new]
    fn new(name: &str, is_readonly: bool) -> Self {
        Self {
            is_readonly,
            opening: Mutex::new(Some(Stream::open_when_created(name))),
        }
    }

    /// A handle of the stream; None as for `Pending.poll`.
    fn poll(&self, woken: Py<PyAny>) -> PyResult<Option<StreamHandle>> {
        use std::future::Future;
        let waker = Waker::from(Arc::new(Callback(woken)));
        let mut opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(under_way) = opening.as_mut() else {
            return Ok(None);
        };
        match Pin::new(under_way).poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => Ok(None),
            Poll::Ready(outcome) => {
                let over = opening.take();
                drop(opening);
                drop(over);
                let stream = outcome.map_err(error::of_open)?;
                Ok(Some(StreamHandle::opened(stream, self.is_readonly)))
            }
        }
    }

    /// End the wait.
    fn cancel(&self) {
        let opening = self
            .opening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(opening);
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
    Ok(Pending::new(Awaited::Any(Stream::any_after(&streams))))
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
