//! `synthetic.array` and `synthetic.frame_set`: sources of test patterns.

mod frame_set;
mod generator;
mod pattern;

use thalweg_shm::{ArrayMut, DType};

use crate::check::SpecChecker;
use crate::node::{NodeError, NodeSpec, Produced, Source, SourceContext, SpecProblem};
use crate::pacing::Pacer;
use crate::registry::{Definition, NodeBuilder, ParameterDoc};
use generator::Generator;
use pattern::{PATTERN_PARAMETERS, PatternSpec};

/// The kinds of this module.
pub(crate) const DEFINITIONS: &[Definition] = &[SYNTHETIC_ARRAY, frame_set::FRAME_SET];

const RATE_HZ: ParameterDoc = ParameterDoc {
    name: "rate_hz",
    doc: "positive number of frames per second or null (default): null is unthrottled",
};

const SYNTHETIC_ARRAY: Definition = Definition {
    kind: "synthetic.array",
    summary: "test patterns, as fast as possible or at a rate",
    parameters: &{
        let [a, b, c, d, e, f, g] = PATTERN_PARAMETERS;
        [a, RATE_HZ, b, c, d, e, f, g]
    },
    builder: NodeBuilder::Source(build),
    infer: None,
    warn: Some(warn_of_integers),
};

/// Tells that a pattern of fractions is cut off by the dtype of a stream.
fn warn_of_integers(spec: &NodeSpec) -> Vec<SpecProblem> {
    let pattern = PatternSpec::read(&mut SpecChecker::new(spec));
    if !pattern.has_fractions() {
        return Vec::new();
    }
    let whole = spec
        .outputs
        .iter()
        .enumerate()
        .filter(|(_, output)| !output.dtype.is_float() && !output.dtype.is_complex());
    whole
        .map(|(index, output)| {
            let path = match spec.outputs.len() {
                1 => "stream".to_owned(),
                _ => format!("streams[{index}]"),
            };
            SpecProblem::new(
                path,
                format!(
                    "{}: pattern '{}' has fractions, which {:?} of {} cuts off",
                    spec.kind,
                    pattern.name(),
                    output.name,
                    output.dtype
                ),
            )
            .with_hint("make it float32, or choose a larger `amplitude`")
        })
        .collect()
}

/// Parameter `rate_hz`.
fn check_rate(check: &mut SpecChecker<'_>) -> Option<f64> {
    check.optional_number("rate_hz", "a positive number or null", |rate| rate > 0.0)
}

struct SyntheticArray {
    pattern: PatternSpec,
    dtype: DType,
    shape: Vec<usize>,
    pacer: Pacer,
    /// Made with the first frame.
    generator: Option<Generator>,
}

impl Source for SyntheticArray {
    fn produce(
        &mut self,
        context: &mut dyn SourceContext,
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<Produced, NodeError> {
        if self.pacer.wait(context) {
            return Ok(Produced::Nothing);
        }
        let generator = match &mut self.generator {
            Some(generator) => generator,
            unmade => {
                let made = Generator::new(&self.pattern, self.dtype, &self.shape)
                    .map_err(|error| NodeError::Failed(error.to_string()))?;
                unmade.insert(made)
            }
        };
        for output in outputs {
            generator.next_frame(output);
        }
        Ok(Produced::Frame { frame_id: None })
    }
}

fn build(spec: &NodeSpec) -> Result<Box<dyn Source>, Vec<SpecProblem>> {
    let mut check = SpecChecker::new(spec);
    let output = check.output();
    let pattern = PatternSpec::read(&mut check);
    let rate_hz = check_rate(&mut check);
    check.finish()?;
    let (dtype, shape) = output.map_or((DType::Float64, Vec::new()), |stream| {
        (stream.dtype, stream.shape.clone())
    });
    Ok(Box::new(SyntheticArray {
        pattern,
        dtype,
        shape,
        pacer: Pacer::new(rate_hz),
        generator: None,
    }))
}

#[cfg(test)]
mod tests;
