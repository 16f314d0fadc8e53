//! `cpu.concatenate`: several arrays joined along one axis.

use serde_json::Value;
use thalweg_shm::ArrayMut;
use thalweg_shm::array::element_count;

use crate::check::SpecChecker;
use crate::node::{FrameInputs, Kernel, NodeError, NodeSpec, SpecProblem};
use crate::registry::{ArraySpec, Definition, NodeBuilder, ParameterDoc};
use crate::simd::run::{ReadRun, WriteRun};

pub(super) const CONCATENATE: Definition = Definition {
    kind: "cpu.concatenate",
    summary: "output = the inputs, two or more, joined along an axis, of any dtype; needs \
              `trigger_policy: all_new`, the default for several inputs",
    parameters: &[ParameterDoc {
        name: "axis",
        doc: "integer, default 0: the axis to join along, negative ones counted from the last",
    }],
    builder: NodeBuilder::Kernel(build),
    infer: Some(infer),
    warn: None,
};

/// Joins arrays whose axes from the joined one on make up contiguous blocks.
struct Concatenate {
    /// Bytes of one block of each input, in declared order.
    block_bytes: Vec<usize>,
    /// Blocks of each input.
    blocks: usize,
}

impl Kernel for Concatenate {
    fn compute(
        &mut self,
        inputs: &FrameInputs<'_>,
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<(), NodeError> {
        let [output] = outputs else {
            return Err(NodeError::Failed(format!(
                "expected 1 output array, got {}",
                outputs.len()
            )));
        };
        let row_bytes: usize = self.block_bytes.iter().sum();
        let fits = inputs.triggers.len() == self.block_bytes.len()
            && output.size_bytes() == row_bytes * self.blocks
            && inputs
                .triggers
                .iter()
                .zip(&self.block_bytes)
                .all(|(input, block_bytes)| {
                    input.dtype() == output.dtype()
                        && input.size_bytes() == block_bytes * self.blocks
                });
        if !fits {
            return Err(NodeError::Failed(
                "the arrays of this frame are not those the kernel was built for".to_owned(),
            ));
        }
        let target = WriteRun::of_array(output);
        let mut start = 0;
        for (input, &block_bytes) in inputs.triggers.iter().zip(&self.block_bytes) {
            let source = ReadRun::of_array(*input);
            for block in 0..self.blocks {
                target
                    .part(block * row_bytes + start, block_bytes)
                    .copy_from(source.part(block * block_bytes, block_bytes));
            }
            start += block_bytes;
        }
        Ok(())
    }
}

fn build(spec: &NodeSpec) -> Result<Box<dyn Kernel>, Vec<SpecProblem>> {
    let mut check = SpecChecker::new(spec);
    let joined = check_inputs(&mut check);
    if spec.any_trigger && spec.inputs.len() > 1 {
        check.problem(
            SpecProblem::new(
                "trigger_policy",
                "cpu.concatenate requires trigger_policy 'all_new': every output is made of one \
                 new frame of each input",
            )
            .with_hint("leave `trigger_policy` out, or set it to `all_new`"),
        );
    }
    let output = check.output();
    if let (Some(joined), Some(output), Some(first)) = (&joined, output, spec.inputs.first()) {
        check.same_dtype("output", first, output);
        if output.shape != joined.shape {
            check.problem(
                SpecProblem::new(
                    "output",
                    format!(
                        "cpu.concatenate requires an output stream of shape {:?}, {:?} has {:?}",
                        joined.shape, output.name, output.shape
                    ),
                )
                .with_hint(format!(
                    "give {:?} the shape {:?} in `shared_memory`",
                    output.name, joined.shape
                )),
            );
        }
    }
    check.auxiliary([]);
    check.finish()?;
    let Some(joined) = joined else {
        return Err(Vec::new());
    };
    let block_bytes = spec
        .inputs
        .iter()
        .map(|input| element_count(&input.shape[joined.axis..]) * input.dtype.size_bytes());
    Ok(Box::new(Concatenate {
        block_bytes: block_bytes.collect(),
        blocks: element_count(&joined.shape[..joined.axis]),
    }))
}

fn infer(spec: &NodeSpec) -> Result<Vec<ArraySpec>, Vec<SpecProblem>> {
    let mut check = SpecChecker::new(spec);
    let joined = check_inputs(&mut check);
    check.finish()?;
    let outputs = joined.zip(spec.inputs.first());
    Ok(outputs
        .map(|(joined, first)| ArraySpec {
            dtype: first.dtype,
            shape: joined.shape,
        })
        .into_iter()
        .collect())
}

/// What the inputs make up together.
struct Joined {
    shape: Vec<usize>,
    axis: usize,
}

/// The inputs joined; everything wrong with them and with the axis is recorded.
fn check_inputs(check: &mut SpecChecker<'_>) -> Option<Joined> {
    let spec = check.spec();
    if spec.inputs.len() < 2 {
        check.problem(
            SpecProblem::new(
                "inputs",
                format!(
                    "cpu.concatenate requires at least two trigger inputs, got {}",
                    spec.inputs.len()
                ),
            )
            .with_hint("list them under `inputs`"),
        );
    }
    let (first, others) = spec.inputs.split_first()?;
    let rank = first.shape.len();
    let axis = check_axis(check, rank);
    let mut fits = true;
    for (index, other) in others.iter().enumerate() {
        let path = format!("inputs[{}]", index + 1);
        check.same_dtype(&path, first, other);
        if other.shape.len() != rank {
            fits = false;
            check.problem(SpecProblem::new(
                path,
                format!(
                    "cpu.concatenate requires inputs of equal rank: {:?} has shape {:?}, {:?} has \
                     {:?}",
                    first.name, first.shape, other.name, other.shape
                ),
            ));
            continue;
        }
        let differs = |(place, (a, b)): (usize, (&usize, &usize))| Some(place) != axis && a != b;
        if axis.is_some()
            && first
                .shape
                .iter()
                .zip(&other.shape)
                .enumerate()
                .any(differs)
        {
            fits = false;
            check.problem(SpecProblem::new(
                path,
                format!(
                    "cpu.concatenate requires equal extents of all axes but the joined one: {:?} \
                     has shape {:?}, {:?} has {:?}",
                    first.name, first.shape, other.name, other.shape
                ),
            ));
        }
    }
    let axis = axis.filter(|_| fits)?;
    let mut shape = first.shape.clone();
    shape[axis] = spec.inputs.iter().map(|input| input.shape[axis]).sum();
    Some(Joined { shape, axis })
}

/// Parameter `axis`, from the first axis on.
fn check_axis(check: &mut SpecChecker<'_>, rank: usize) -> Option<usize> {
    let given = check.spec().parameters.get("axis");
    let zero = Value::from(0);
    let value = given.unwrap_or(&zero);
    let axis = value.as_i64().and_then(|axis| {
        let rank = i64::try_from(rank).ok()?;
        let from_first = if axis < 0 { axis + rank } else { axis };
        usize::try_from(from_first)
            .ok()
            .filter(|_| from_first < rank)
    });
    if axis.is_none() {
        let expected = format!("an integer from -{rank} to {}", rank.saturating_sub(1));
        check.parameter_problem("axis", &expected, value);
    }
    axis
}
