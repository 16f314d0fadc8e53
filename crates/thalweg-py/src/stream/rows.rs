//! Rows of a frame that may still be written.

use pyo3::prelude::*;
use thalweg::{Patience, RowProgress as Progress};

use super::pending::PendingRows;
use super::{StreamHandle, policy_of};
use crate::buffer::import::Buffer;
use crate::error;
use crate::interrupt::interruptible;
use crate::time::deadline_ns_of_duration;

/// One writing of one frame, and how far it has come.
#[pyclass(frozen, name = "RowProgress")]
pub(crate) struct RowProgress(Progress);

impl RowProgress {
    pub(super) fn new(progress: Progress) -> Self {
        Self(progress)
    }
}

#[pymethods]
impl RowProgress {
    #[getter]
    fn count(&self) -> u64 {
        self.0.count()
    }

    #[getter]
    fn rows(&self) -> usize {
        self.0.rows()
    }

    #[getter]
    fn is_complete(&self) -> bool {
        self.0.is_complete()
    }
}

/// Waits until a frame above `after` has `rows` rows; with `of`, until that writing has.
pub(super) fn wait(
    handle: &StreamHandle,
    py: Python<'_>,
    (after, of): (u64, Option<&RowProgress>),
    rows: usize,
    timeout: Option<f64>,
    wait: &str,
) -> PyResult<RowProgress> {
    let stream = handle.stream()?;
    let (deadline_ns, policy) = (deadline_ns_of_duration(timeout)?, policy_of(wait)?);
    let progress = interruptible(
        py,
        |interrupt| {
            let patience = Patience {
                deadline_ns,
                interrupt: Some(interrupt),
            };
            match of {
                None => stream.wait_rows(after, rows, policy, patience),
                Some(begun) => stream.wait_more_rows(&begun.0, rows, policy, patience),
            }
        },
        error::of_rows,
    )?;
    Ok(RowProgress(progress))
}

/// As [`wait`], for an event loop.
pub(super) fn pending(
    handle: &StreamHandle,
    (after, of): (u64, Option<&RowProgress>),
    rows: usize,
) -> PyResult<PendingRows> {
    let stream = handle.stream()?;
    Ok(PendingRows::new(match of {
        None => stream.next_rows(after, rows),
        Some(begun) => stream.next_more_rows(&begun.0, rows),
    }))
}

/// Copies rows `start..stop` into `out`; `None` if that is no array of so many rows.
pub(super) fn read_into(
    handle: &StreamHandle,
    progress: &RowProgress,
    (start, stop): (usize, usize),
    out: &Bound<'_, PyAny>,
) -> PyResult<Option<RowProgress>> {
    let stream = handle.stream()?;
    let Some(out) = Buffer::writable(out).filter(|buffer| buffer.holds_rows_of(&stream)) else {
        return Ok(None);
    };
    let now = out
        .rows_from(&stream, &progress.0, start..stop)
        .map_err(error::of_rows)?;
    Ok(Some(RowProgress(now)))
}
