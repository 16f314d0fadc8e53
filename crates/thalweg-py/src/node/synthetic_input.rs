//! A thread that writes a test pattern into a stream, without the interpreter.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use thalweg::kernels::pacing::Pacer;
use thalweg::kernels::{NodeBuilder, NodeError, NodeRole, NodeSpec, Produced, Source};
use thalweg::shm::stream::error::{LockError, WriteError};
use thalweg::{Patience, PublishOptions, Stream};
use thalweg_os::clock::{deadline_after, monotonic_ns};

use super::context::{HandleContext, StopWord};
use super::{builder, read_spec, refused};
use crate::stream::StreamHandle;
use crate::time::duration_of;

/// A running pattern. Ends when it is dropped.
#[pyclass(frozen, name = "SyntheticInput")]
pub(crate) struct SyntheticInput(Arc<Shared>);

struct Shared {
    stop: StopWord,
    progress: Mutex<Progress>,
    ended: Condvar,
}

#[derive(Clone, Default)]
struct Progress {
    frames: u64,
    started_ns: u64,
    last_write_ns: u64,
    last_write_duration_ns: u64,
    error: Option<String>,
    is_over: bool,
}

impl Shared {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl SyntheticInput {
    /// Starts to write what the source kind in `spec`, a JSON object, produces into `stream`,
    /// `rate_hz` times a second or as fast as possible.
    #[new]
    fn new(spec: &str, stream: &StreamHandle, rate_hz: Option<f64>) -> PyResult<Self> {
        let spec = read_spec(spec)?;
        let source = build(&spec)?;
        // A handle of its own: that of the program may be closed at any time.
        let stream = stream.stream()?.duplicate();
        let shared = Arc::new(Shared {
            stop: StopWord::default(),
            progress: Mutex::new(Progress {
                started_ns: monotonic_ns(),
                ..Progress::default()
            }),
            ended: Condvar::new(),
        });
        let own = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("thalweg-synthetic".to_owned())
            .spawn(move || {
                let outcome = run(source, &stream, Pacer::new(rate_hz), &own);
                let mut progress = own.progress();
                progress.error = outcome.err().map(|error| error.to_string());
                progress.is_over = true;
                drop(progress);
                own.ended.notify_all();
            })
            .map_err(|error| PyRuntimeError::new_err(format!("cannot start a thread: {error}")))?;
        Ok(Self(shared))
    }

    /// Ends the writing; true if the thread ended within `timeout_s`.
    fn stop(&self, py: Python<'_>, timeout_s: f64) -> PyResult<bool> {
        let timeout = duration_of("timeout", timeout_s)?;
        self.0.stop.stop();
        Ok(py.detach(|| {
            let deadline = Instant::now() + timeout;
            let mut progress = self.0.progress();
            while !progress.is_over {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return false;
                }
                let waited = self.0.ended.wait_timeout(progress, left);
                progress = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            true
        }))
    }

    /// Frames written, whether it goes on, times in ns of the monotonic clock, and what went wrong.
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let progress = py.detach(|| self.0.progress().clone());
        let status = PyDict::new(py);
        status.set_item("frames_written", progress.frames)?;
        status.set_item("alive", !progress.is_over)?;
        status.set_item("started_ns", progress.started_ns)?;
        status.set_item("last_write_ns", progress.last_write_ns)?;
        status.set_item("last_write_duration_ns", progress.last_write_duration_ns)?;
        status.set_item("last_error", progress.error)?;
        Ok(status)
    }
}

impl Drop for SyntheticInput {
    fn drop(&mut self) {
        self.0.stop.stop();
    }
}

fn build(spec: &NodeSpec) -> PyResult<Box<dyn Source>> {
    match builder(NodeRole::Source, spec)? {
        NodeBuilder::Source(build) => build(spec).map_err(|problems| refused(spec, &problems)),
        NodeBuilder::Kernel(_) | NodeBuilder::Sink(_) => Err(PyValueError::new_err("not a source")),
    }
}

#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// How often a wait for another writer looks whether it is to end.
const SLICE: std::time::Duration = std::time::Duration::from_millis(100);

fn run(
    mut source: Box<dyn Source>,
    stream: &Stream,
    mut pacer: Pacer,
    shared: &Shared,
) -> Result<(), RunError> {
    let mut context = HandleContext::new(&shared.stop, &[], &mut []);
    source.open(&mut context)?;
    // The waits are here and not in the source, which would have the stream's lock meanwhile.
    while !pacer.wait(&mut context) {
        write(source.as_mut(), stream, &mut context, shared)?;
    }
    source.close()?;
    Ok(())
}

/// One frame, unless a stop comes first.
fn write(
    source: &mut dyn Source,
    stream: &Stream,
    context: &mut HandleContext<'_, '_>,
    shared: &Shared,
) -> Result<(), RunError> {
    loop {
        let interrupt = || shared.stop.is_set();
        let patience = Patience {
            deadline_ns: Some(deadline_after(SLICE)),
            interrupt: Some(&interrupt),
        };
        if shared.stop.is_set() {
            return Ok(());
        }
        let mut loan = match stream.loan(patience) {
            Ok(loan) => loan,
            Err(
                WriteError::Lock(LockError::TimedOut { .. } | LockError::Interrupted { .. })
                | WriteError::Lagging { .. }
                | WriteError::Interrupted { .. },
            ) => continue,
            Err(error) => return Err(error.into()),
        };
        let began_ns = monotonic_ns();
        let produced = source.produce(context, &mut [loan.array()?])?;
        if let Produced::Frame { frame_id } = produced {
            loan.publish(PublishOptions {
                frame_id,
                origin_ns: Some(began_ns),
            })?;
            let ended_ns = monotonic_ns();
            let mut progress = shared.progress();
            progress.frames += 1;
            progress.last_write_ns = ended_ns;
            progress.last_write_duration_ns = ended_ns - began_ns;
        }
        return Ok(());
    }
}
