//! `cpu.copy` and `cpu.flatten`: the same elements, in the same or another shape.

use thalweg_shm::ArrayMut;
use thalweg_shm::array::element_count;

use super::single;
use crate::check::SpecChecker;
use crate::node::{FrameInputs, Kernel, NodeError, NodeSpec, SpecProblem};
use crate::registry::{ArraySpec, Definition, NodeBuilder};

pub(super) const COPY: Definition = Definition {
    kind: "cpu.copy",
    summary: "output = input, of any dtype",
    parameters: &[],
    builder: NodeBuilder::Kernel(build_copy),
    infer: None,
    warn: None,
};

pub(super) const FLATTEN: Definition = Definition {
    kind: "cpu.flatten",
    summary: "output = input in C order, with one axis, of any dtype",
    parameters: &[],
    builder: NodeBuilder::Kernel(build_flatten),
    infer: Some(infer_flatten),
    warn: None,
};

/// Copies the elements; the shape lives in the streams.
struct Copy;

impl Kernel for Copy {
    fn compute(
        &mut self,
        inputs: &FrameInputs<'_>,
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<(), NodeError> {
        let (input, output) = single(inputs, outputs)?;
        output.copy_from_array(input)?;
        Ok(())
    }
}

fn build_copy(spec: &NodeSpec) -> Result<Box<dyn Kernel>, Vec<SpecProblem>> {
    let mut check = SpecChecker::new(spec);
    if let (Some(input), Some(output)) = (check.input(), check.output()) {
        check.same_shape("output", input, output);
        check.same_dtype("output", input, output);
    }
    check.auxiliary([]);
    check.finish()?;
    Ok(Box::new(Copy))
}

fn build_flatten(spec: &NodeSpec) -> Result<Box<dyn Kernel>, Vec<SpecProblem>> {
    let mut check = SpecChecker::new(spec);
    if let (Some(input), Some(output)) = (check.input(), check.output()) {
        let length = element_count(&input.shape);
        if output.shape != [length] {
            check.problem(
                SpecProblem::new(
                    "output",
                    format!(
                        "cpu.flatten requires output length {length}: {:?} has shape {:?}, so {:?} \
                         has to be 1D with all its elements, but has shape {:?}",
                        input.name, input.shape, output.name, output.shape
                    ),
                )
                .with_hint(format!(
                    "give {:?} the shape [{length}] in `shared_memory`",
                    output.name
                )),
            );
        }
        check.same_dtype("output", input, output);
    }
    check.auxiliary([]);
    check.finish()?;
    Ok(Box::new(Copy))
}

fn infer_flatten(spec: &NodeSpec) -> Result<Vec<ArraySpec>, Vec<SpecProblem>> {
    let mut check = SpecChecker::new(spec);
    let outputs = check.input().map(|input| ArraySpec {
        dtype: input.dtype,
        shape: vec![element_count(&input.shape)],
    });
    check.finish()?;
    Ok(outputs.into_iter().collect())
}
