//! The kernel kind `cpu.custom_operation`.

use thalweg_shm::ArrayMut;

use super::error::ExpressionError;
use super::evaluate::Evaluator;
use super::graph::{Graph, Name};
use super::parser::parse;
use super::plan::Plan;
use crate::check::SpecChecker;
use crate::node::{FrameInputs, Kernel, NodeError, NodeSpec, SpecProblem, StreamSpec};
use crate::registry::{ArraySpec, Definition, NodeBuilder};

/// The kinds of this module.
pub(crate) const DEFINITIONS: &[Definition] = &[Definition {
    kind: "cpu.custom_operation",
    summary: "output = the expression in `operation` over `input` and the auxiliary aliases: \
              + - * / @, abs, min, max, minimum, maximum, clip, with NumPy's broadcasting and \
              dtype promotion",
    parameters: &[],
    builder: NodeBuilder::Kernel(build),
    infer: Some(infer),
    warn: None,
}];

#[derive(Debug)]
struct CustomOperation {
    evaluator: Evaluator,
}

impl Kernel for CustomOperation {
    fn compute(
        &mut self,
        inputs: &FrameInputs<'_>,
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<(), NodeError> {
        match outputs {
            [output] => self.evaluator.evaluate(inputs, output),
            other => Err(NodeError::Failed(format!(
                "expected 1 output array, got {}",
                other.len()
            ))),
        }
    }
}

fn build(spec: &NodeSpec) -> Result<Box<dyn Kernel>, Vec<SpecProblem>> {
    let mut check = SpecChecker::new(spec);
    let output = check.output();
    let typed = typed(&mut check);
    if let (Some((graph, _)), Some(output)) = (&typed, output) {
        check_result(&mut check, graph, output);
    }
    check.finish()?;
    let (graph, names) =
        typed.ok_or_else(|| vec![SpecProblem::new("operation", "the operation has no type")])?;
    let evaluator = Plan::new(&graph, &names)
        .map_err(|missing| format!("the expression has no loop for {}", missing.0))
        .and_then(|plan| Evaluator::new(plan, &names).map_err(|error| error.to_string()))
        .map_err(|message| vec![SpecProblem::new("operation", message)])?;
    Ok(Box::new(CustomOperation { evaluator }))
}

fn infer(spec: &NodeSpec) -> Result<Vec<ArraySpec>, Vec<SpecProblem>> {
    let mut check = SpecChecker::new(spec);
    let typed = typed(&mut check);
    check.finish()?;
    Ok(typed
        .into_iter()
        .map(|(graph, _)| ArraySpec {
            dtype: graph.root().dtype,
            shape: graph.root().shape.clone(),
        })
        .collect())
}

/// The expression's typed form and the names it was read with.
fn typed(check: &mut SpecChecker<'_>) -> Option<(Graph, Vec<Name>)> {
    let spec = check.spec();
    let input = check.input();
    for auxiliary in &spec.auxiliary {
        if auxiliary.alias == "input" {
            check.problem(
                SpecProblem::new(
                    "auxiliary.input",
                    "cpu.custom_operation cannot bind auxiliary alias 'input', which names the \
                     trigger",
                )
                .with_hint("choose another alias: `auxiliary: {dark: input}`"),
            );
        }
    }
    let Some(operation) = &spec.operation else {
        check.problem(
            SpecProblem::new(
                "operation",
                "cpu.custom_operation requires an 'operation' field, which is missing",
            )
            .with_hint("such as `operation: (input - dark) / flat`, beside `parameters`"),
        );
        return None;
    };
    let name = |name: &str, stream: &StreamSpec| Name {
        name: name.to_owned(),
        array: ArraySpec {
            dtype: stream.dtype,
            shape: stream.shape.clone(),
        },
    };
    let names: Vec<Name> = [name("input", input?)]
        .into_iter()
        .chain(
            spec.auxiliary
                .iter()
                .map(|auxiliary| name(&auxiliary.alias, &auxiliary.stream)),
        )
        .collect();
    match parse(operation).and_then(|syntax| Graph::build(&syntax, &names)) {
        Ok(graph) => Some((graph, names)),
        Err(error) => {
            check.problem(problem(operation, error));
            None
        }
    }
}

fn problem(operation: &str, error: ExpressionError) -> SpecProblem {
    let ExpressionError {
        position,
        message,
        hint,
    } = error;
    SpecProblem {
        path: "operation".to_owned(),
        message: format!("invalid operation {operation:?}, {position}: {message}"),
        hint,
    }
}

/// The result is stored as it is: neither cast nor broadcast.
fn check_result(check: &mut SpecChecker<'_>, graph: &Graph, output: &StreamSpec) {
    let root = graph.root();
    if root.shape != output.shape {
        check.problem(
            SpecProblem::new(
                "output",
                format!(
                    "operation result shape {:?} does not match shape {:?} of output stream {:?}",
                    root.shape, output.shape, output.name
                ),
            )
            .with_hint(match root.shape.as_slice() {
                [] => "the result is one number without axes; combine it with an array".to_owned(),
                shape => format!("give {:?} the shape {shape:?}", output.name),
            }),
        );
    }
    if root.dtype != output.dtype {
        check.problem(
            SpecProblem::new(
                "output",
                format!(
                    "operation result dtype {} does not match dtype {} of output stream {:?}",
                    root.dtype, output.dtype, output.name
                ),
            )
            .with_hint(format!("give {:?} the dtype {}", output.name, root.dtype)),
        );
    }
}
