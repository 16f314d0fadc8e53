//! A native kernel that computes on arrays.

use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use thalweg::kernels::{FrameInputs, Kernel, NodeBuilder, NodeError, NodeRole, StreamSpec};

use super::{builder, overlapping, read_spec, readable, refused, writable};
use crate::buffer::import::Buffer;

/// One kernel with its state.
#[pyclass(frozen, name = "KernelNode")]
pub(crate) struct KernelNode {
    name: String,
    triggers: Vec<StreamSpec>,
    auxiliary: Vec<StreamSpec>,
    outputs: Vec<StreamSpec>,
    /// Locked only while detached from the interpreter.
    kernel: Mutex<Box<dyn Kernel>>,
}

#[pymethods]
impl KernelNode {
    /// The kernel that `spec`, a JSON object, describes.
    #[new]
    fn new(spec: &str) -> PyResult<Self> {
        let spec = read_spec(spec)?;
        let NodeBuilder::Kernel(build) = builder(NodeRole::Kernel, &spec)? else {
            return Err(PyValueError::new_err("not a kernel"));
        };
        let kernel = build(&spec).map_err(|problems| refused(&spec, &problems))?;
        Ok(Self {
            name: spec.name,
            triggers: spec.inputs,
            auxiliary: spec
                .auxiliary
                .into_iter()
                .map(|bound| bound.stream)
                .collect(),
            outputs: spec.outputs,
            kernel: Mutex::new(kernel),
        })
    }

    /// Computes one frame from `triggers` and `auxiliary` into `outputs`.
    fn compute(
        &self,
        py: Python<'_>,
        triggers: Vec<Bound<'_, PyAny>>,
        auxiliary: Vec<Bound<'_, PyAny>>,
        outputs: Vec<Bound<'_, PyAny>>,
        frame_id: u64,
    ) -> PyResult<()> {
        let mut read = triggers
            .iter()
            .map(readable)
            .collect::<PyResult<Vec<_>>>()?;
        self.check("input", &read, &self.triggers)?;
        let own: Vec<Buffer> = auxiliary.iter().map(readable).collect::<PyResult<_>>()?;
        self.check("auxiliary", &own, &self.auxiliary)?;
        read.extend(own);
        let mut written = outputs.iter().map(writable).collect::<PyResult<Vec<_>>>()?;
        self.check("output", &written, &self.outputs)?;
        let count = triggers.len();
        py.detach(|| {
            let (arrays, mut outputs) =
                Buffer::views(&read, &mut written).ok_or_else(overlapping)?;
            let mut kernel = self.kernel.lock().unwrap_or_else(PoisonError::into_inner);
            let (triggers, auxiliary) = arrays.split_at(count);
            // Nobody says whether an array has changed, so it is prepared for every frame.
            for (index, array) in auxiliary.iter().enumerate() {
                if let Some(mut preparer) = kernel.preparer(index) {
                    let prepared = preparer.prepare(*array).map_err(of_node)?;
                    kernel.install(index, prepared);
                }
            }
            let inputs = FrameInputs {
                triggers,
                auxiliary,
                frame_id,
            };
            kernel.compute(&inputs, &mut outputs).map_err(of_node)
        })
    }
}

impl KernelNode {
    fn check(&self, role: &str, arrays: &[Buffer], specs: &[StreamSpec]) -> PyResult<()> {
        if arrays.len() != specs.len() {
            return Err(PyTypeError::new_err(format!(
                "'{}': expected {} {role} arrays, got {}",
                self.name,
                specs.len(),
                arrays.len()
            )));
        }
        for (array, spec) in arrays.iter().zip(specs) {
            if array.dtype() != spec.dtype || array.shape() != spec.shape {
                return Err(PyValueError::new_err(format!(
                    "'{}': {role} '{}' has to be {} of shape {:?}, got {} of shape {:?}",
                    self.name,
                    spec.name,
                    spec.dtype,
                    spec.shape,
                    array.dtype(),
                    array.shape()
                )));
            }
        }
        Ok(())
    }
}

pub(super) fn of_node(error: NodeError) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}
