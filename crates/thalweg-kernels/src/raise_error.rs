//! `cpu.raise_error`: fails with every frame, to try what a pipeline does about it.

use thalweg_shm::ArrayMut;

use crate::check::SpecChecker;
use crate::node::{FrameInputs, Kernel, NodeError, NodeSpec, SpecProblem};
use crate::registry::{Definition, NodeBuilder, ParameterDoc};

/// The kinds of this module.
pub(crate) const DEFINITIONS: &[Definition] = &[Definition {
    kind: "cpu.raise_error",
    summary: "fails with every frame, to try how a pipeline takes it",
    parameters: &[ParameterDoc {
        name: "message",
        doc: "text, required: what it fails with",
    }],
    builder: NodeBuilder::Kernel(build),
    infer: None,
    warn: None,
}];

struct RaiseError {
    message: String,
}

impl Kernel for RaiseError {
    fn compute(
        &mut self,
        _inputs: &FrameInputs<'_>,
        _outputs: &mut [ArrayMut<'_>],
    ) -> Result<(), NodeError> {
        Err(NodeError::Failed(self.message.clone()))
    }
}

fn build(spec: &NodeSpec) -> Result<Box<dyn Kernel>, Vec<SpecProblem>> {
    let mut check = SpecChecker::new(spec);
    check.input();
    check.output();
    check.auxiliary([]);
    let message = check.text_or("message", None);
    check.finish()?;
    Ok(Box::new(RaiseError { message }))
}
