//! Evaluates one kernel once on arrays, outside any pipeline.

use std::fmt::Write as _;
use std::path::PathBuf;

use thalweg_shm::{ArrayMut, ArrayRef};

use crate::node::{
    Auxiliary, FrameInputs, NodeError, NodeSpec, Parameters, SpecProblem, StreamSpec,
};
use crate::owned_array::{ArrayTooLarge, OwnedArray};
use crate::registry::{ArraySpec, NodeBuilder, NodeRole, Registry};

/// A kernel could not be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The registry has no such kernel.
    #[error("unknown kernel kind {kind:?}; known are: {}", known.join(", "))]
    UnknownKind {
        /// The kind that was given.
        kind: String,
        /// All kernel kinds of the registry.
        known: Vec<String>,
    },
    /// Arrays, parameters or operation do not fit the kind.
    #[error("{}", list(problems))]
    Spec {
        /// Everything that is wrong.
        problems: Vec<SpecProblem>,
    },
    /// The kernel failed on these arrays.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The outputs do not fit into memory.
    #[error(transparent)]
    Memory(#[from] ArrayTooLarge),
}

fn list(problems: &[SpecProblem]) -> String {
    let mut text = String::new();
    for problem in problems {
        let separator = if text.is_empty() { "" } else { "\n" };
        let _infallible = write!(text, "{separator}{}: {}", problem.path, problem.message);
        if let Some(hint) = &problem.hint {
            let _infallible = write!(text, " ({hint})");
        }
    }
    text
}

/// Computes one frame of a fresh kernel of `kind` and returns its outputs.
///
/// `auxiliary` pairs aliases with arrays; `outputs` gives dtype and shape of each output, or is
/// `None` to use what the kind makes of these inputs. Slow preparations of auxiliary arrays, such
/// as repacking a matrix, are done first. A kernel with a state starts from its initial one.
///
/// ```
/// use serde_json::json;
/// use thalweg_kernels::{Registry, run::run};
/// use thalweg_shm::ArrayRef;
///
/// let image = [1.0f32, 2.0, 3.0, 4.0];
/// let parameters = serde_json::Map::from_iter([("factor".to_owned(), json!(0.5))]);
/// let outputs = run(
///     &Registry::builtin(),
///     "cpu.scale",
///     &[ArrayRef::from_slice(&image, &[2, 2])],
///     &[],
///     None,
///     &parameters,
///     None,
/// )?;
/// assert_eq!(outputs[0].shape(), [2, 2]);
/// assert_eq!(outputs[0].to_vec::<f32>()?, [0.5, 1.0, 1.5, 2.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// An unknown kind, everything that does not fit the kind, or the kernel's own complaint.
pub fn run(
    registry: &Registry,
    kind: &str,
    inputs: &[ArrayRef<'_>],
    auxiliary: &[(String, ArrayRef<'_>)],
    outputs: Option<&[ArraySpec]>,
    parameters: &Parameters,
    operation: Option<&str>,
) -> Result<Vec<OwnedArray>, RunError> {
    let (definition, build) = registry
        .get(NodeRole::Kernel, kind)
        .and_then(|definition| match definition.builder {
            NodeBuilder::Kernel(build) => Some((definition, build)),
            NodeBuilder::Source(_) | NodeBuilder::Sink(_) => None,
        })
        .ok_or_else(|| RunError::UnknownKind {
            kind: kind.to_owned(),
            known: registry
                .kinds(NodeRole::Kernel)
                .map(|definition| definition.kind.to_owned())
                .collect(),
        })?;

    let mut spec = NodeSpec {
        name: kind.to_owned(),
        kind: kind.to_owned(),
        inputs: numbered("input", inputs.iter().map(spec_of)),
        any_trigger: false,
        auxiliary: auxiliary
            .iter()
            .map(|(alias, array)| Auxiliary {
                alias: alias.clone(),
                stream: named(alias, spec_of(array)),
            })
            .collect(),
        outputs: Vec::new(),
        operation: operation.map(str::to_owned),
        parameters: parameters.clone(),
        base_dir: PathBuf::new(),
    };
    let outputs = match outputs {
        Some(outputs) => outputs.to_vec(),
        None => definition.infer_outputs(&spec).map_err(refused)?,
    };
    spec.outputs = numbered("output", outputs.iter().cloned());
    let mut kernel = build(&spec).map_err(refused)?;

    let auxiliary: Vec<_> = auxiliary.iter().map(|(_, array)| *array).collect();
    for (index, array) in auxiliary.iter().enumerate() {
        if let Some(mut preparer) = kernel.preparer(index) {
            let prepared = preparer.prepare(*array)?;
            kernel.install(index, prepared);
        }
    }
    let mut results = outputs
        .iter()
        .map(|output| OwnedArray::zeros(output.dtype, &output.shape))
        .collect::<Result<Vec<_>, _>>()?;
    let mut views: Vec<ArrayMut<'_>> = results.iter_mut().map(OwnedArray::as_array_mut).collect();
    let frame = FrameInputs {
        triggers: inputs,
        auxiliary: &auxiliary,
        frame_id: 0,
    };
    kernel.compute(&frame, &mut views)?;
    Ok(results)
}

fn refused(problems: Vec<SpecProblem>) -> RunError {
    RunError::Spec { problems }
}

fn spec_of(array: &ArrayRef<'_>) -> ArraySpec {
    ArraySpec {
        dtype: array.dtype(),
        shape: array.shape().to_vec(),
    }
}

fn named(name: &str, array: ArraySpec) -> StreamSpec {
    StreamSpec {
        name: name.to_owned(),
        dtype: array.dtype,
        shape: array.shape,
    }
}

/// `input` when there is one, else `input_0`, `input_1` and so on.
fn numbered(role: &str, arrays: impl ExactSizeIterator<Item = ArraySpec>) -> Vec<StreamSpec> {
    let only = arrays.len() == 1;
    arrays
        .enumerate()
        .map(|(index, array)| match only {
            true => named(role, array),
            false => named(&format!("{role}_{index}"), array),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::any::Any;

    use serde_json::json;
    use thalweg_shm::DType;

    use super::*;
    use crate::node::{Kernel, Preparer};
    use crate::registry::Definition;

    /// Adds the auxiliary array's first element, which it only knows through its preparer.
    struct Prepared(Option<f32>);
    struct FirstElement;

    impl Preparer for FirstElement {
        fn prepare(&mut self, array: ArrayRef<'_>) -> Result<Box<dyn Any + Send>, NodeError> {
            Ok(Box::new(array.to_vec::<f32>()?[0]))
        }
    }

    impl Kernel for Prepared {
        fn compute(
            &mut self,
            inputs: &FrameInputs<'_>,
            outputs: &mut [ArrayMut<'_>],
        ) -> Result<(), NodeError> {
            let offset = self.0.ok_or(NodeError::Failed("not prepared".to_owned()))?;
            let input = inputs.triggers[0].to_vec::<f32>()?;
            let sums: Vec<f32> = input.iter().map(|element| element + offset).collect();
            outputs[0].copy_from(&sums)?;
            Ok(())
        }

        fn preparer(&self, index: usize) -> Option<Box<dyn Preparer>> {
            (index == 0).then(|| Box::new(FirstElement) as _)
        }

        fn install(&mut self, _index: usize, prepared: Box<dyn Any + Send>) {
            self.0 = prepared.downcast_ref().copied();
        }
    }

    const PREPARED: Definition = Definition {
        kind: "test.prepared",
        summary: "",
        parameters: &[],
        builder: NodeBuilder::Kernel(|_| Ok(Box::new(Prepared(None)))),
        infer: None,
        warn: None,
    };

    #[test]
    fn preparers_run_before_the_frame() {
        let input = [1.0f32, 2.0];
        let offset = [10.0f32];
        let outputs = run(
            &Registry::empty().with(&[PREPARED]),
            "test.prepared",
            &[ArrayRef::from_slice(&input, &[2])],
            &[("offset".to_owned(), ArrayRef::from_slice(&offset, &[1]))],
            None,
            &Parameters::new(),
            None,
        )
        .unwrap();
        assert_eq!(outputs[0].to_vec::<f32>().unwrap(), [11.0, 12.0]);
    }

    #[test]
    fn an_unknown_kind_names_the_known_ones() {
        let error = run(
            &Registry::builtin(),
            "cpu.scael",
            &[],
            &[],
            None,
            &Parameters::new(),
            None,
        )
        .unwrap_err();
        assert!(error.to_string().contains("cpu.scale"), "{error}");
    }

    #[test]
    fn a_refusal_lists_every_problem() {
        let input = [1u8, 2];
        let parameters = Parameters::from_iter([("factor".to_owned(), json!("2"))]);
        let output = ArraySpec {
            dtype: DType::Uint8,
            shape: vec![3],
        };
        let error = run(
            &Registry::builtin(),
            "cpu.scale",
            &[ArrayRef::from_slice(&input, &[2])],
            &[],
            Some(&[output]),
            &parameters,
            None,
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "output: cpu.scale requires matching shapes: \"input\" has [2], \"output\" has [3]\n\
             parameters.factor: cpu.scale requires 'factor' to be a number, got \"2\""
        );
    }

    #[test]
    fn an_output_beyond_memory_is_an_error() {
        let input = [1u8];
        let output = ArraySpec {
            dtype: DType::Float64,
            shape: vec![usize::MAX / 4, 2],
        };
        let error = run(
            &Registry::empty().with(&[PREPARED]),
            "test.prepared",
            &[ArrayRef::from_slice(&input, &[1])],
            &[],
            Some(&[output]),
            &Parameters::new(),
            None,
        )
        .unwrap_err();
        assert!(matches!(error, RunError::Memory(_)), "{error}");
    }
}
