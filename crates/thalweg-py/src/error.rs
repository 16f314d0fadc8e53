//! From Rust's errors to Python's exceptions.
//!
//! Types and message fragments are part of the Python API: programs catch the ones and search for
//! the others.

use std::io;

use pyo3::create_exception;
use pyo3::exceptions::{
    PyException, PyFileExistsError, PyFileNotFoundError, PyKeyboardInterrupt, PyMemoryError,
    PyOSError, PyPermissionError, PyRuntimeError, PyTimeoutError, PyValueError,
};
use pyo3::prelude::*;
use thalweg::kernels::run::RunError;
use thalweg::pipeline::config::Diagnostics;
use thalweg::pipeline::runtime::{PipelineError, StreamsError};
use thalweg::shm::stream::error::{
    BorrowError, CreateError, LockError, LosslessError, OpenError, ReadError, ReplaceError,
    RowsError, SubscribeError, UnlinkError, WaitError, WriteError,
};

create_exception!(
    thalweg,
    InconsistentStreamError,
    PyRuntimeError,
    "The newest frame of a stream is incomplete: its writer aborted it or died."
);
create_exception!(
    thalweg,
    StaleStreamError,
    PyRuntimeError,
    "The handle belongs to a stream that was unlinked, ended, or replaced by a newer one."
);
create_exception!(
    thalweg.errors,
    ShmPipelineError,
    PyException,
    "What goes wrong with pipelines."
);
create_exception!(
    thalweg.errors,
    ConfigValidationError,
    ShmPipelineError,
    "A configuration has problems; the message lists all of them, each with its place."
);
create_exception!(
    thalweg.errors,
    StateTransitionError,
    ShmPipelineError,
    "A pipeline is in a state in which the call is not possible."
);
create_exception!(
    thalweg.errors,
    WorkerProcessError,
    ShmPipelineError,
    "A worker process failed, or did not become ready in time."
);

/// `text` as Python writes a string.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// The error of every operation on a closed handle.
pub(crate) fn closed(name: &str) -> PyErr {
    let name = quoted(name);
    PyRuntimeError::new_err(format!(
        "operation on closed shared memory {name}; attach to it again with thalweg.open({name})"
    ))
}

/// The error of operations that only the thread with the writer lock may do.
pub(crate) fn lock_required(name: &str, operation: &str) -> PyErr {
    PyRuntimeError::new_err(format!(
        "{operation} requires that the calling thread holds the shared memory lock of stream {}: use it \
         inside `with handle.locked():`",
        quoted(name)
    ))
}

fn of_system(message: &str, source: &io::Error) -> PyErr {
    // With a number OSError becomes the subclass that goes with it.
    match source.raw_os_error() {
        Some(number) => PyOSError::new_err((number, message.to_owned())),
        None if source.kind() == io::ErrorKind::TimedOut => {
            PyTimeoutError::new_err(message.to_owned())
        }
        None => PyOSError::new_err(message.to_owned()),
    }
}

pub(crate) fn of_create(error: CreateError) -> PyErr {
    let message = error.to_string();
    match error {
        CreateError::Name(_) | CreateError::Geometry(_) => PyValueError::new_err(message),
        CreateError::Exists { name } => {
            let name = quoted(&name);
            PyFileExistsError::new_err(format!(
                "shared memory {name} already exists; use thalweg.open({name}) to attach to it, or \
                 thalweg.unlink({name}) to remove it first"
            ))
        }
        CreateError::System { source, .. } => of_system(&message, &source),
        // Running out of room, mostly.
        _ => PyOSError::new_err(message),
    }
}

pub(crate) fn of_open(error: OpenError) -> PyErr {
    let message = error.to_string();
    match error {
        OpenError::Missing { name } => {
            let name = quoted(&name);
            PyFileNotFoundError::new_err(format!(
                "shared memory {name} does not exist; use thalweg.create({name}, ...) to create it"
            ))
        }
        OpenError::TimedOut { .. } => PyTimeoutError::new_err(message),
        OpenError::Interrupted { .. } => PyKeyboardInterrupt::new_err(message),
        OpenError::System { source, .. } => of_system(&message, &source),
        _ => PyValueError::new_err(message),
    }
}

pub(crate) fn of_lock(error: LockError) -> PyErr {
    let message = error.to_string();
    match error {
        LockError::TimedOut { .. } => PyTimeoutError::new_err(message),
        LockError::Interrupted { .. } => PyKeyboardInterrupt::new_err(message),
        LockError::ReadOnly { .. } => PyPermissionError::new_err(message),
        LockError::System { source, .. } => of_system(&message, &source),
        _ => PyRuntimeError::new_err(message),
    }
}

pub(crate) fn of_write(error: WriteError) -> PyErr {
    let message = error.to_string();
    match error {
        WriteError::Lock(error) => of_lock(error),
        WriteError::Lagging { .. } => PyTimeoutError::new_err(message),
        WriteError::Interrupted { .. } => PyKeyboardInterrupt::new_err(message),
        WriteError::Size { .. } | WriteError::Shape { .. } => PyValueError::new_err(message),
        WriteError::Corrupt { .. } => InconsistentStreamError::new_err(message),
        WriteError::System { source, .. } => of_system(&message, &source),
        _ => PyRuntimeError::new_err(message),
    }
}

pub(crate) fn of_read(error: ReadError) -> PyErr {
    let message = error.to_string();
    match error {
        ReadError::Size { .. } => PyValueError::new_err(message),
        ReadError::Overtaken { .. } => PyTimeoutError::new_err(message),
        _ => InconsistentStreamError::new_err(message),
    }
}

pub(crate) fn of_subscribe(error: SubscribeError) -> PyErr {
    let message = error.to_string();
    match error {
        SubscribeError::Budget { .. } => PyValueError::new_err(message),
        SubscribeError::ReadOnly { .. } => PyPermissionError::new_err(message),
        SubscribeError::Attach(error) => of_lock(error),
        _ => PyRuntimeError::new_err(message),
    }
}

pub(crate) fn of_lossless(error: LosslessError) -> PyErr {
    let message = error.to_string();
    match error {
        LosslessError::Wait(error) => of_wait(error),
        LosslessError::Read(error) => of_read(error),
        LosslessError::Corrupt { .. } => InconsistentStreamError::new_err(message),
        _ => PyRuntimeError::new_err(message),
    }
}

pub(crate) fn of_rows(error: RowsError) -> PyErr {
    let message = error.to_string();
    match error {
        RowsError::Wait(error) => of_wait(error),
        RowsError::Size { .. } | RowsError::Rows { .. } | RowsError::NotProgressive { .. } => {
            PyValueError::new_err(message)
        }
        _ => InconsistentStreamError::new_err(message),
    }
}

pub(crate) fn of_replace(error: ReplaceError) -> PyErr {
    let message = error.to_string();
    match error {
        ReplaceError::Create(error) => of_create(error),
        ReplaceError::System { source, .. } => of_system(&message, &source),
        _ => PyRuntimeError::new_err(message),
    }
}

pub(crate) fn of_borrow(error: BorrowError) -> PyErr {
    let message = error.to_string();
    match error {
        BorrowError::Attach(error) => of_lock(error),
        BorrowError::ReadOnly { .. } => PyPermissionError::new_err(message),
        BorrowError::Inconsistent { .. } | BorrowError::Corrupt { .. } => {
            InconsistentStreamError::new_err(message)
        }
        _ => PyRuntimeError::new_err(message),
    }
}

pub(crate) fn of_wait(error: WaitError) -> PyErr {
    let message = error.to_string();
    match error {
        WaitError::TimedOut { .. } => PyTimeoutError::new_err(message),
        WaitError::Interrupted { .. } => PyKeyboardInterrupt::new_err(message),
        WaitError::Stale { .. } => StaleStreamError::new_err(message),
        WaitError::Inconsistent { .. } => InconsistentStreamError::new_err(message),
        _ => PyRuntimeError::new_err(message),
    }
}

pub(crate) fn of_unlink(error: UnlinkError) -> PyErr {
    let message = error.to_string();
    match error {
        UnlinkError::Name(_) => PyValueError::new_err(message),
        UnlinkError::Stale { .. } => StaleStreamError::new_err(message),
        UnlinkError::System { source, .. } => of_system(&message, &source),
        _ => PyRuntimeError::new_err(message),
    }
}

pub(crate) fn of_run(error: RunError) -> PyErr {
    let message = error.to_string();
    match error {
        RunError::UnknownKind { .. } | RunError::Spec { .. } => PyValueError::new_err(message),
        RunError::Memory(_) => PyMemoryError::new_err(message),
        _ => PyRuntimeError::new_err(message),
    }
}

pub(crate) fn of_diagnostics(problems: &Diagnostics) -> PyErr {
    ConfigValidationError::new_err(problems.to_string())
}

pub(crate) fn of_pipeline(error: PipelineError) -> PyErr {
    let message = error.to_string();
    match error {
        PipelineError::Config(_) => ConfigValidationError::new_err(message),
        PipelineError::Streams(error) => of_streams(error),
        PipelineError::State { .. } => StateTransitionError::new_err(message),
        PipelineError::Worker(_)
        | PipelineError::StartTimeout { .. }
        | PipelineError::StillRunning { .. } => WorkerProcessError::new_err(message),
        _ => ShmPipelineError::new_err(message),
    }
}

fn of_streams(error: StreamsError) -> PyErr {
    let message = error.to_string();
    match error {
        StreamsError::Create(error) => of_create(error),
        StreamsError::Open(error) => of_open(error),
        StreamsError::Unlink(error) => of_unlink(error),
        StreamsError::Write(error) => of_write(error),
        StreamsError::Incompatible { .. } | StreamsError::Initial { .. } => {
            ConfigValidationError::new_err(message)
        }
        _ => ShmPipelineError::new_err(message),
    }
}
