//! `synthetic.array`: a source of test patterns.

mod generator;
mod pattern;

use thalweg_shm::{ArrayMut, DType};

use crate::check::SpecChecker;
use crate::node::{NodeError, NodeSpec, Produced, Source, SourceContext, SpecProblem};
use crate::pacing::Pacer;
use crate::registry::{Definition, NodeBuilder, ParameterDoc};
use generator::Generator;
use pattern::PatternSpec;

/// The kinds of this module.
pub(crate) const DEFINITIONS: &[Definition] = &[Definition {
    kind: "synthetic.array",
    summary: "test patterns, as fast as possible or at a rate",
    parameters: &[
        ParameterDoc {
            name: "pattern",
            doc: "constant, random (default), ramp, sine, impulse or checkerboard",
        },
        ParameterDoc {
            name: "rate_hz",
            doc: "positive number or null (default): frames per second; null is unthrottled",
        },
        ParameterDoc {
            name: "seed",
            doc: "integer, default 0: of `random`, the numbers of NumPy's default_rng(seed)",
        },
        ParameterDoc {
            name: "amplitude",
            doc: "number, default 1: scale of every pattern but constant",
        },
        ParameterDoc {
            name: "offset",
            doc: "number, default 0: added to every pattern",
        },
        ParameterDoc {
            name: "period",
            doc: "positive number of elements, default 64: of ramp and sine, tile of checkerboard",
        },
        ParameterDoc {
            name: "constant",
            doc: "number, default 0: value of `constant`",
        },
        ParameterDoc {
            name: "impulse_interval",
            doc: "integer of at least 1, default 64: frames from one impulse to the next",
        },
    ],
    builder: NodeBuilder::Source(build),
    infer: None,
    warn: None,
}];

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
    let rate_hz = check.optional_number("rate_hz", "a positive number or null", |rate| rate > 0.0);
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
