//! Kernels outside pipelines: one kind, evaluated once.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use thalweg::kernels::{Parameters, run::run};

use crate::buffer::array::Array;
use crate::buffer::import::Buffer;
use crate::{error, numpy};

/// Evaluate the kernel kind `kind` once; `parameters` is a JSON object.
#[pyfunction]
pub(crate) fn run_kernel(
    py: Python<'_>,
    kind: &str,
    inputs: Vec<Bound<'_, PyAny>>,
    auxiliary: Vec<(String, Bound<'_, PyAny>)>,
    parameters: &str,
    operation: Option<&str>,
) -> PyResult<Vec<Py<PyAny>>> {
    let parameters: Parameters = serde_json::from_str(parameters).map_err(|error| {
        PyValueError::new_err(format!("parameters are no JSON object: {error}"))
    })?;
    let inputs: Vec<Buffer> = inputs.iter().map(buffer_of).collect::<PyResult<_>>()?;
    let auxiliary: Vec<(String, Buffer)> = auxiliary
        .into_iter()
        .map(|(alias, value)| Ok((alias, buffer_of(&value)?)))
        .collect::<PyResult<_>>()?;
    let outputs = py
        .detach(|| {
            let inputs: Vec<_> = inputs.iter().map(Buffer::array).collect();
            let auxiliary: Vec<_> = auxiliary
                .iter()
                .map(|(alias, buffer)| (alias.clone(), buffer.array()))
                .collect();
            run(
                &thalweg::registry(),
                kind,
                &inputs,
                &auxiliary,
                None,
                &parameters,
                operation,
            )
        })
        .map_err(error::of_run)?;
    outputs
        .into_iter()
        .map(|output| {
            let memory = Bound::new(py, Array::new(output))?;
            Ok(numpy::asarray(memory.as_any())?.unbind())
        })
        .collect()
}

/// Names of all kernel kinds, sorted.
#[pyfunction]
pub(crate) fn kernel_kinds() -> Vec<&'static str> {
    thalweg::registry()
        .kinds(thalweg::kernels::NodeRole::Kernel)
        .map(|definition| definition.kind)
        .collect()
}

/// The Python layer hands over nothing else; this is for whoever calls the private module.
fn buffer_of(value: &Bound<'_, PyAny>) -> PyResult<Buffer> {
    Buffer::readable(value).ok_or_else(|| {
        PyTypeError::new_err("expected a C-contiguous, aligned array in native byte order")
    })
}
