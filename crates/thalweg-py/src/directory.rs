//! Streams by name.

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use thalweg::shm::counters::Counters;
use thalweg::shm::segment::header::flags;
use thalweg::{DType, Patience, Purged, Stream, StreamDirectory, StreamOptions};
use thalweg_os::process::Liveness;

use crate::error;
use crate::interrupt::interruptible;
use crate::stream::{Newness, Role, StreamHandle};
use crate::time::{deadline_ns_of_duration, seconds_of};

/// What `create` gets, as a dictionary.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Options {
    shape: Vec<usize>,
    dtype: String,
    slots: usize,
    mode: u32,
    group: Option<u32>,
    strict: bool,
    notify: bool,
    reuse_slots: Option<bool>,
    progressive: bool,
    replace: bool,
}

/// Create the stream `name`.
#[pyfunction]
pub(crate) fn create(py: Python<'_>, name: &str, options: Options) -> PyResult<StreamHandle> {
    let dtype: DType =
        options
            .dtype
            .parse()
            .map_err(|unsupported: thalweg::shm::dtype::UnsupportedDType| {
                PyValueError::new_err(unsupported.to_string())
            })?;
    let replaces = options.replace;
    let defaults = StreamOptions::new(dtype, &options.shape);
    let options = StreamOptions {
        reuse_slots: options.reuse_slots.unwrap_or(defaults.reuse_slots),
        slots: options.slots,
        mode: options.mode,
        group: options.group,
        strict: options.strict,
        notify: options.notify,
        progressive: options.progressive,
        ..defaults
    };
    let stream = if replaces {
        py.detach(|| Stream::replace(name, &options))
            .map_err(error::of_replace)?
    } else {
        py.detach(|| Stream::create(name, &options))
            .map_err(error::of_create)?
    };
    Ok(StreamHandle::new(
        stream,
        Newness::SinceTheCall,
        Role::Creator,
    ))
}

/// Attach to the stream `name`, if need be once it is there, within `wait` seconds.
#[pyfunction]
pub(crate) fn open(
    py: Python<'_>,
    name: &str,
    is_readonly: bool,
    wait: Option<f64>,
) -> PyResult<StreamHandle> {
    let stream = match wait {
        None => py.detach(|| Stream::open(name)).map_err(error::of_open)?,
        Some(_) => {
            let deadline_ns = deadline_ns_of_duration(wait)?;
            interruptible(
                py,
                |interrupt| {
                    let patience = Patience {
                        deadline_ns,
                        interrupt: Some(interrupt),
                    };
                    Stream::open_within(name, patience)
                },
                error::of_open,
            )?
        }
    };
    Ok(StreamHandle::opened(stream, is_readonly))
}

/// Facts about the stream `name`, without its payload.
#[pyfunction]
pub(crate) fn stat<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyDict>> {
    let stream = py.detach(|| Stream::open(name)).map_err(error::of_open)?;
    let (header, newest) = (stream.header(), stream.newest());
    let facts = PyDict::new(py);
    facts.set_item("name", &header.name)?;
    facts.set_item("shape", header.geometry.shape.clone())?;
    facts.set_item("dtype", stream.dtype().name())?;
    facts.set_item("size", stream.payload_bytes())?;
    facts.set_item("gpu_enabled", false)?;
    facts.set_item("gpu_device", py.None())?;
    facts.set_item("cpu_mirror", true)?;
    facts.set_item("notify", header.has(flags::NOTIFY))?;
    facts.set_item("instance_id", hexadecimal(&header.instance))?;
    facts.set_item("creator_pid", header.creator.pid)?;
    facts.set_item("creator_alive", stream.creator_liveness() != Liveness::Dead)?;
    facts.set_item("count", newest.count)?;
    facts.set_item("write_sequence", stream.write_sequence())?;
    facts.set_item("write_time", seconds_of(newest.wall_ns))?;
    Ok(facts)
}

/// The bytes in hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
