//! Native kernels, sources and sinks as objects: what the Python classes of built-in kinds hold.

mod context;
mod kernel;
mod sink;
mod source;
pub(crate) mod synthetic_input;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use thalweg::kernels::{NodeBuilder, NodeRole, NodeSpec, SpecProblem};

pub(crate) use kernel::KernelNode;
pub(crate) use sink::SinkNode;
pub(crate) use source::SourceNode;

use crate::buffer::import::Buffer;
use crate::error;

/// Kinds of `role` (`kernel`, `source` or `sink`), sorted, each with a line of documentation.
#[pyfunction]
pub(crate) fn node_kinds(role: &str) -> PyResult<Vec<(&'static str, &'static str)>> {
    let registry = thalweg::registry();
    let kinds = registry.kinds(role_of(role)?);
    Ok(kinds
        .map(|definition| (definition.kind, definition.summary))
        .collect())
}

/// Everything the kind in `spec`, a JSON object, finds wrong with it: place, problem, and a hint.
#[pyfunction]
pub(crate) fn check_node(
    role: &str,
    spec: &str,
) -> PyResult<Vec<(String, String, Option<String>)>> {
    let spec = read_spec(spec)?;
    let problems = match builder(role_of(role)?, &spec)? {
        NodeBuilder::Kernel(build) => build(&spec).map(drop),
        NodeBuilder::Source(build) => build(&spec).map(drop),
        NodeBuilder::Sink(build) => build(&spec).map(drop),
    };
    let problems = problems.err().unwrap_or_default();
    Ok(problems
        .into_iter()
        .map(|problem| (problem.path, problem.message, problem.hint))
        .collect())
}

fn role_of(role: &str) -> PyResult<NodeRole> {
    match role {
        "kernel" => Ok(NodeRole::Kernel),
        "source" => Ok(NodeRole::Source),
        "sink" => Ok(NodeRole::Sink),
        other => Err(PyValueError::new_err(format!(
            "a role is kernel, source or sink, not {other:?}"
        ))),
    }
}

fn read_spec(spec: &str) -> PyResult<NodeSpec> {
    serde_json::from_str(spec).map_err(|error| {
        PyValueError::new_err(format!(
            "the specification of a node is not readable: {error}"
        ))
    })
}

fn builder(role: NodeRole, spec: &NodeSpec) -> PyResult<NodeBuilder> {
    let registry = thalweg::registry();
    let definition = registry.get(role, &spec.kind);
    definition
        .map(|definition| definition.builder)
        .ok_or_else(|| {
            let noun = match role {
                NodeRole::Kernel => "kernel",
                NodeRole::Source => "source",
                NodeRole::Sink => "sink",
            };
            error::ConfigValidationError::new_err(format!("unknown {noun} kind {:?}", spec.kind))
        })
}

fn refused(spec: &NodeSpec, problems: &[SpecProblem]) -> PyErr {
    let texts: Vec<String> = problems
        .iter()
        .map(|problem| format!("'{}': {}: {}", spec.name, problem.path, problem.message))
        .collect();
    error::ConfigValidationError::new_err(texts.join("\n"))
}

/// The Python layer hands over nothing else; this is for whoever calls the private module.
fn readable(value: &Bound<'_, PyAny>) -> PyResult<Buffer> {
    Buffer::readable(value).ok_or_else(|| {
        PyTypeError::new_err("expected a C-contiguous, aligned array in native byte order")
    })
}

fn writable(value: &Bound<'_, PyAny>) -> PyResult<Buffer> {
    Buffer::writable(value).ok_or_else(|| {
        PyTypeError::new_err(
            "expected a writable, C-contiguous, aligned array in native byte order as output",
        )
    })
}

fn overlapping() -> PyErr {
    PyValueError::new_err("an output shares memory with another array; give it memory of its own")
}
