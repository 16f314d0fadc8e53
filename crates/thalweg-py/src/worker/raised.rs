//! Exceptions as failures of a node.

use pyo3::prelude::*;
use pyo3::types::PyString;
use thalweg::kernels::NodeError;

/// What the supervisor is told about an exception, whichever it is: those that mean to end the
/// process are failures of the node like all others.
pub(super) fn raised(py: Python<'_>, exception: &PyErr) -> NodeError {
    NodeError::Raised {
        message: message(py, exception),
        traceback: traceback(py, exception).unwrap_or_default(),
    }
}

fn message(py: Python<'_>, exception: &PyErr) -> String {
    let kind = exception.get_type(py);
    let name = kind.qualname();
    let name = name.map_or_else(|_| "exception".to_owned(), |name| name.to_string());
    let module = kind.module().map(|module| module.to_string());
    let full = match module.as_deref() {
        Ok("builtins") | Err(_) => name,
        Ok(module) => format!("{module}.{name}"),
    };
    match exception.value(py).str() {
        Ok(text) if text.len().is_ok_and(|length| length == 0) => full,
        Ok(text) => format!("{full}: {text}"),
        Err(_) => format!("{full} (its text cannot be made)"),
    }
}

fn traceback(py: Python<'_>, exception: &PyErr) -> PyResult<String> {
    let parts = (
        exception.get_type(py),
        exception.value(py),
        exception.traceback(py),
    );
    let lines = py
        .import("traceback")?
        .call_method1("format_exception", parts)?;
    let text = PyString::new(py, "").call_method1("join", (lines,))?;
    text.extract()
}

/// The failure of an interpreter that runs no more.
pub(super) fn finalized() -> NodeError {
    NodeError::Failed("the interpreter has shut down".to_owned())
}
