//! Streams by name.

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use thalweg::shm::counters::Counters;
use thalweg::{DType, Purged, Stream, StreamDirectory, StreamOptions};

use crate::error;
use crate::stream::{Newness, StreamHandle};

/// Create the stream `name`.
#[pyfunction]
pub(crate) fn create(
    py: Python<'_>,
    name: &str,
    shape: Vec<usize>,
    dtype: &str,
    slots: usize,
    mode: u32,
) -> PyResult<StreamHandle> {
    let dtype: DType =
        dtype
            .parse()
            .map_err(|unsupported: thalweg::shm::dtype::UnsupportedDType| {
                PyValueError::new_err(unsupported.to_string())
            })?;
    let options = StreamOptions {
        slots,
        mode,
        ..StreamOptions::new(dtype, &shape)
    };
    let stream = py
        .detach(|| Stream::create(name, &options))
        .map_err(error::of_create)?;
    Ok(StreamHandle::new(stream, Newness::SinceTheCall))
}

/// Attach to the stream `name`.
#[pyfunction]
pub(crate) fn open(py: Python<'_>, name: &str) -> PyResult<StreamHandle> {
    let stream = py.detach(|| Stream::open(name)).map_err(error::of_open)?;
    Ok(StreamHandle::new(stream, Newness::SinceTheCall))
}

/// Remove the stream `name`; whether there was one.
#[pyfunction]
pub(crate) fn unlink(py: Python<'_>, name: &str) -> PyResult<bool> {
    py.detach(|| StreamDirectory::default().unlink(name))
        .map_err(error::of_unlink)
}

/// Names of all streams this user can read, sorted.
#[pyfunction]
pub(crate) fn list_streams(py: Python<'_>) -> PyResult<Vec<String>> {
    py.detach(|| StreamDirectory::default().list())
        .map_err(cannot_search)
}

/// Remove streams: names that were removed, and what prevented the removal of others.
#[pyfunction]
pub(crate) fn purge(
    py: Python<'_>,
    prefix: &str,
    dry_run: bool,
) -> PyResult<(Vec<String>, Vec<String>)> {
    let outcomes = py
        .detach(|| {
            let directory = StreamDirectory::default();
            if !dry_run {
                Counters::remove_abandoned(directory.path())?;
            }
            directory.purge(prefix, dry_run)
        })
        .map_err(cannot_search)?;
    let (mut removed, mut failures) = (Vec::new(), Vec::new());
    for (name, outcome) in outcomes {
        match outcome {
            Purged::Removed => removed.push(name),
            // Not debris: nothing to remove, nothing to complain about.
            Purged::InUse { .. } => {}
            Purged::Failed { message } => failures.push(message),
        }
    }
    Ok((removed, failures))
}

fn cannot_search(source: std::io::Error) -> PyErr {
    PyOSError::new_err(format!(
        "cannot search {} for streams: {source}",
        StreamDirectory::default().path().display()
    ))
}
