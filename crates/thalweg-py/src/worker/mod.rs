//! Workers whose node is written in Python: the loop is native, Python is called with a frame in
//! hand.

mod control;
mod kernel;
mod own_process;
mod raised;
mod sink;
mod source;
mod watchdog;

use std::time::Duration;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use serde_json::json;
use thalweg::kernels::NodeError;
use thalweg::pipeline::runtime::{
    Assignment, BuiltNode, Role, report_failure as report, worker_main_with,
};

pub(crate) use control::WorkerControl;
use kernel::PythonKernel;
use own_process::OwnProcess;
use raised::{finalized, raised};
use sink::PythonSink;
use source::PythonSource;
use watchdog::Watchdog;

/// The whole life of a worker process: reads the order on standard input, runs the node and returns
/// the status to exit with. `build` gets what the worker was told, as a JSON document, and the
/// `WorkerControl`; it returns the runner of the node.
#[pyfunction]
pub(crate) fn run_worker(py: Python<'_>, build: Py<PyAny>) -> u8 {
    py.detach(|| {
        worker_main_with(|assignment| {
            Python::try_attach(|py| {
                build_node(build.bind(py), assignment).map_err(|exception| raised(py, &exception))
            })
            .unwrap_or_else(|| Err(finalized()))
        })
    })
}

/// Tell the supervisor what went wrong after the node had come to its end.
#[pyfunction]
pub(crate) fn report_failure(message: String, traceback: String) -> PyResult<()> {
    report(NodeError::Raised { message, traceback })
        .map_err(|error| PyOSError::new_err(error.to_string()))
}

fn build_node(build: &Bound<'_, PyAny>, assignment: &Assignment<'_>) -> PyResult<BuiltNode> {
    let told = json!({
        "role": assignment.role.noun(),
        "spec": assignment.spec,
        "plugin": assignment.plugin,
        "document": assignment.document,
        "inputs": assignment.inputs,
        "auxiliary": assignment.auxiliary,
        "outputs": assignment.outputs,
    });
    let directory = assignment.directory.clone();
    let control = WorkerControl::new(assignment.commands.clone(), directory);
    let process = OwnProcess::current();
    let runner = build.call1((told.to_string(), control));
    process.stay(build.py());
    let runner = runner?;
    Ok(match assignment.role {
        Role::Kernel => {
            BuiltNode::Kernel(Box::new(PythonKernel::new(&runner, assignment, process)?))
        }
        Role::Source => {
            let watchdog = watchdog(&runner, assignment, "read() or produce()", "read_timeout")?;
            BuiltNode::Source(Box::new(PythonSource::new(&runner, watchdog, process)?))
        }
        Role::Sink => {
            let watchdog = watchdog(&runner, assignment, "consume()", "consume_timeout")?;
            BuiltNode::Sink(Box::new(PythonSink::new(&runner, watchdog, process)?))
        }
    })
}

fn watchdog(
    runner: &Bound<'_, PyAny>,
    assignment: &Assignment<'_>,
    what: &'static str,
    field: &'static str,
) -> PyResult<Option<Watchdog>> {
    let limit_s: Option<f64> = runner.getattr("timeout_s")?.extract()?;
    // Too many seconds to count are no limit.
    let limit = limit_s.and_then(|limit_s| Duration::try_from_secs_f64(limit_s).ok());
    let commands = || assignment.commands.clone();
    Ok(limit
        .map(|limit| Watchdog::start(what, field, limit, commands()))
        .transpose()?)
}
