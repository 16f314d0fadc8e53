//! What the crate's unit tests share: specifications and contexts without a pipeline.

use std::path::PathBuf;

use serde_json::Value;
use thalweg_shm::{ArrayRef, DType};

use crate::node::{Auxiliary, FrameInputs, Kernel, NodeError, NodeSpec, Parameters, StreamSpec};
use crate::owned_array::OwnedArray;
use crate::registry::ArraySpec;

/// Builds a [`NodeSpec`] step by step.
pub(crate) struct SpecBuilder {
    spec: NodeSpec,
}

/// A specification of `kind` without any stream.
pub(crate) fn spec(kind: &str) -> SpecBuilder {
    SpecBuilder {
        spec: NodeSpec {
            name: "node".to_owned(),
            kind: kind.to_owned(),
            inputs: Vec::new(),
            auxiliary: Vec::new(),
            outputs: Vec::new(),
            operation: None,
            parameters: Parameters::new(),
            base_dir: PathBuf::new(),
        },
    }
}

fn stream(name: String, dtype: DType, shape: &[usize]) -> StreamSpec {
    StreamSpec {
        name,
        dtype,
        shape: shape.to_vec(),
    }
}

impl SpecBuilder {
    pub(crate) fn input(mut self, dtype: DType, shape: &[usize]) -> Self {
        let name = format!("input_{}", self.spec.inputs.len());
        self.spec.inputs.push(stream(name, dtype, shape));
        self
    }

    pub(crate) fn output(mut self, dtype: DType, shape: &[usize]) -> Self {
        let name = format!("output_{}", self.spec.outputs.len());
        self.spec.outputs.push(stream(name, dtype, shape));
        self
    }

    pub(crate) fn auxiliary(mut self, alias: &str, dtype: DType, shape: &[usize]) -> Self {
        self.spec.auxiliary.push(Auxiliary {
            alias: alias.to_owned(),
            stream: stream(format!("{alias}_stream"), dtype, shape),
        });
        self
    }

    pub(crate) fn parameter(mut self, name: &str, value: Value) -> Self {
        self.spec.parameters.insert(name.to_owned(), value);
        self
    }

    pub(crate) fn build(self) -> NodeSpec {
        self.spec
    }
}

/// Computes one frame.
pub(crate) fn compute(
    kernel: &mut dyn Kernel,
    triggers: &[ArrayRef<'_>],
    auxiliary: &[ArrayRef<'_>],
    outputs: &[ArraySpec],
) -> Result<Vec<OwnedArray>, NodeError> {
    let mut results: Vec<_> = outputs
        .iter()
        .map(|output| OwnedArray::zeros(output.dtype, &output.shape).unwrap())
        .collect();
    let mut views: Vec<_> = results.iter_mut().map(OwnedArray::as_array_mut).collect();
    let frame = FrameInputs {
        triggers,
        auxiliary,
        frame_id: 0,
    };
    kernel.compute(&frame, &mut views)?;
    Ok(results)
}
