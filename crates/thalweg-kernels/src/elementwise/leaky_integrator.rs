//! `cpu.leaky_integrator`: `u = leak * u + gain * e`, the state starting at zero.

use std::marker::PhantomData;

use thalweg_shm::{ArrayError, ArrayMut, ArrayRef, DType};

use super::{built, check_like_input, single};
use crate::check::SpecChecker;
use crate::node::{FrameInputs, Kernel, NodeError, NodeSpec, SpecProblem};
use crate::owned_array::OwnedArray;
use crate::registry::{Definition, NodeBuilder, ParameterDoc};
use crate::simd::isa::Isa;
use crate::simd::map::{Function2, map2_array};
use crate::simd::number::{Number, with_number};
use crate::simd::run::ReadRun;

pub(super) const LEAKY_INTEGRATOR: Definition = Definition {
    kind: "cpu.leaky_integrator",
    summary: "u = leak * u + gain * input, output = u; one-element auxiliary streams `leak` and \
              `gain` override the parameters, if `override_enabled` is bound only while it is not 0",
    parameters: &[
        ParameterDoc {
            name: "leak",
            doc: "number, required unless bound as auxiliary: what is kept of the last output",
        },
        ParameterDoc {
            name: "gain",
            doc: "number, required unless bound as auxiliary: what is added of the input",
        },
    ],
    builder: NodeBuilder::Kernel(build),
    infer: None,
    warn: Some(super::warn_of_fractions),
};

#[derive(Clone, Copy)]
struct Step<T> {
    leak: f64,
    gain: f64,
    element: PhantomData<T>,
}

impl<T: Number> Function2 for Step<T> {
    type A = T;
    type B = T;
    type R = T;

    #[inline(always)]
    fn apply(self, state: T, input: T) -> T {
        T::from_f64(self.leak * state.to_f64() + self.gain * input.to_f64())
    }
}

/// Where leak and gain come from: parameters, and positions among the auxiliary streams.
#[derive(Clone, Copy)]
struct Control {
    leak: f64,
    gain: f64,
    leak_stream: Option<usize>,
    gain_stream: Option<usize>,
    override_enabled_stream: Option<usize>,
}

impl Control {
    /// Leak and gain for this frame.
    fn current(&self, auxiliary: &[ArrayRef<'_>]) -> Result<(f64, f64), NodeError> {
        if let Some(index) = self.override_enabled_stream
            && scalar(auxiliary, index)? == 0.0
        {
            return Ok((self.leak, self.gain));
        }
        let value = |stream: Option<usize>, parameter: f64| match stream {
            Some(index) => scalar(auxiliary, index),
            None => Ok(parameter),
        };
        Ok((
            value(self.leak_stream, self.leak)?,
            value(self.gain_stream, self.gain)?,
        ))
    }
}

/// The first element of auxiliary array `index`.
fn scalar(auxiliary: &[ArrayRef<'_>], index: usize) -> Result<f64, NodeError> {
    let array = auxiliary
        .get(index)
        .filter(|array| !array.is_empty())
        .ok_or(ArrayError::Range {
            start: 0,
            end: 1,
            len: 0,
        })?;
    let dtype = array.dtype();
    with_number!(dtype, T => ReadRun::of_array(*array).first::<T>().to_f64()).ok_or_else(|| {
        NodeError::Failed(format!(
            "auxiliary array {index} holds {dtype}, not a real number"
        ))
    })
}

struct LeakyIntegrator<T> {
    isa: Isa,
    control: Control,
    state: OwnedArray,
    element: PhantomData<T>,
}

impl<T: Number> Kernel for LeakyIntegrator<T> {
    fn compute(
        &mut self,
        inputs: &FrameInputs<'_>,
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<(), NodeError> {
        let (input, output) = single(inputs, outputs)?;
        let (leak, gain) = self.control.current(inputs.auxiliary)?;
        let step = Step::<T> {
            leak,
            gain,
            element: PhantomData,
        };
        map2_array(self.isa, step, self.state.as_array(), input, output)?;
        // The state is what was stored, rounded or truncated to the dtype.
        self.state.as_array_mut().copy_from_array(output.as_ref())?;
        Ok(())
    }
}

fn build(spec: &NodeSpec) -> Result<Box<dyn Kernel>, Vec<SpecProblem>> {
    let mut check = SpecChecker::new(spec);
    let dtype = check_like_input(&mut check);
    if let [input] = spec.inputs.as_slice()
        && input.shape.len() != 1
    {
        check.problem(
            SpecProblem::new(
                "input",
                format!(
                    "cpu.leaky_integrator requires 1D input and output vectors, {:?} has shape {:?}",
                    input.name, input.shape
                ),
            )
            .with_hint("put a cpu.flatten stage before it"),
        );
    }
    let (mut leak_stream, mut gain_stream, mut override_enabled_stream) = (None, None, None);
    for (index, auxiliary) in spec.auxiliary.iter().enumerate() {
        let path = format!("auxiliary.{}", auxiliary.alias);
        let stream = &auxiliary.stream;
        let slot = match auxiliary.alias.as_str() {
            "leak" => &mut leak_stream,
            "gain" => &mut gain_stream,
            "override_enabled" => &mut override_enabled_stream,
            unknown => {
                check.problem(
                    SpecProblem::new(
                        path,
                        format!(
                            "cpu.leaky_integrator supports only auxiliary aliases 'gain', 'leak' \
                             and 'override_enabled', got {unknown:?}"
                        ),
                    )
                    .with_hint("map the stream to one of them: `auxiliary: {gain: <stream>}`"),
                );
                continue;
            }
        };
        *slot = Some(index);
        let switch = auxiliary.alias == "override_enabled" && stream.dtype == DType::Bool;
        if stream.shape.iter().product::<usize>() != 1 {
            check.problem(SpecProblem::new(
                &path,
                format!(
                    "cpu.leaky_integrator requires {:?} to be a scalar (exactly one numeric \
                     value), it has shape {:?}",
                    stream.name, stream.shape
                ),
            ));
        }
        if stream.dtype.is_complex() || stream.dtype == DType::Bool && !switch {
            check.problem(SpecProblem::new(
                &path,
                format!(
                    "cpu.leaky_integrator requires {:?} to have a real numeric dtype, it is {}",
                    stream.name, stream.dtype
                ),
            ));
        }
    }
    let mut parameter = |name, stream: Option<usize>| match stream {
        Some(_) => check.number_or(name, 0.0),
        None => check.number(name),
    };
    let control = Control {
        leak: parameter("leak", leak_stream),
        gain: parameter("gain", gain_stream),
        leak_stream,
        gain_stream,
        override_enabled_stream,
    };
    check.finish()?;
    let state = OwnedArray::zeros(dtype, &spec.inputs[0].shape)
        .map_err(|error| vec![SpecProblem::new("input", error.to_string())])?;
    let isa = Isa::detect();
    let kernel = with_number!(dtype, T => Box::new(LeakyIntegrator::<T> {
        isa,
        control,
        state,
        element: PhantomData,
    }) as Box<dyn Kernel>);
    built(kernel, spec)
}
