//! Kernels that compute each output element from the input elements at the same place, or move them.
//!
//! Arithmetic with a number from the configuration is done in double precision and stored as C stores it: floats round once, integers
//! truncate towards zero and wrap (`uint8` 200 times 2 is 144, NaN becomes the smallest `int32`).

mod arithmetic;
mod concatenate;
mod copy;
mod leaky_integrator;
mod scale;
mod scale_offset;
#[cfg(test)]
mod tests;

use thalweg_shm::{ArrayMut, ArrayRef, DType};

use crate::check::{SpecChecker, json_number};
use crate::node::{FrameInputs, Kernel, NodeError, NodeSpec, SpecProblem};
use crate::registry::Definition;

/// The kinds of this module.
pub(crate) const DEFINITIONS: &[Definition] = &[
    arithmetic::ADD,
    arithmetic::DIVIDE,
    arithmetic::MULTIPLY,
    arithmetic::SUBTRACT,
    concatenate::CONCATENATE,
    copy::COPY,
    copy::FLATTEN,
    leaky_integrator::LEAKY_INTEGRATOR,
    scale::ADD_CONSTANT,
    scale::SCALE,
    scale_offset::SCALE_OFFSET,
];

/// Tells that numbers with fractions are of little use on streams of integers.
fn warn_of_fractions(spec: &NodeSpec) -> Vec<SpecProblem> {
    let whole = spec.outputs.iter().find(|output| !output.dtype.is_float());
    let Some(whole) = whole else {
        return Vec::new();
    };
    let fractions = ["factor", "constant", "gain", "leak"]
        .into_iter()
        .filter(|name| {
            let number = spec.parameters.get(*name).and_then(json_number);
            number.is_some_and(|number| number.fract() != 0.0)
        });
    fractions
        .map(|name| {
            SpecProblem::new(
                format!("parameters.{name}"),
                format!(
                    "{}: results of '{name}' {} are cut off to the integers of {:?}, which is {}",
                    spec.kind, spec.parameters[name], whole.name, whole.dtype
                ),
            )
            .with_hint("make the streams float32")
        })
        .collect()
}

/// The dtype of one input and one output that agree in shape and dtype, real ones.
fn check_like_input(check: &mut SpecChecker<'_>) -> DType {
    let (Some(input), Some(output)) = (check.input(), check.output()) else {
        return DType::Float64;
    };
    check.same_shape("output", input, output);
    check.same_dtype("output", input, output);
    check.real("input", input);
    input.dtype
}

/// The kernel, unless the dtype turned out to be complex after all.
fn built(
    kernel: Option<Box<dyn Kernel>>,
    spec: &NodeSpec,
) -> Result<Box<dyn Kernel>, Vec<SpecProblem>> {
    kernel.ok_or_else(|| {
        vec![SpecProblem::new(
            "input",
            format!("{} computes with real numbers", spec.kind),
        )]
    })
}

/// The only input and the only output of a frame.
fn single<'f, 'o, 'a>(
    inputs: &FrameInputs<'f>,
    outputs: &'o mut [ArrayMut<'a>],
) -> Result<(ArrayRef<'f>, &'o mut ArrayMut<'a>), NodeError> {
    match (inputs.triggers, outputs) {
        ([input], [output]) => Ok((*input, output)),
        (triggers, outputs) => Err(NodeError::Failed(format!(
            "expected 1 input and 1 output array, got {} and {}",
            triggers.len(),
            outputs.len()
        ))),
    }
}
