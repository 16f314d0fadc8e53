//! `cpu.scale` and `cpu.add_constant`: a number applied to every element.

use std::marker::PhantomData;

use thalweg_shm::{ArrayMut, DType};

use super::{built, check_like_input, single};
use crate::check::SpecChecker;
use crate::node::{FrameInputs, Kernel, NodeError, NodeSpec, SpecProblem};
use crate::registry::{Definition, NodeBuilder, ParameterDoc};
use crate::simd::isa::Isa;
use crate::simd::map::{Function1, map1_array};
use crate::simd::number::{Number, with_number};

pub(super) const SCALE: Definition = Definition {
    kind: "cpu.scale",
    summary: "output = input * factor",
    parameters: &[ParameterDoc {
        name: "factor",
        doc: "number, required: what every element is multiplied by, in double precision",
    }],
    builder: NodeBuilder::Kernel(build_scale),
    infer: None,
    warn: Some(super::warn_of_fractions),
};

pub(super) const ADD_CONSTANT: Definition = Definition {
    kind: "cpu.add_constant",
    summary: "output = input + constant",
    parameters: &[ParameterDoc {
        name: "constant",
        doc: "number, required: what is added to every element, in double precision",
    }],
    builder: NodeBuilder::Kernel(build_add_constant),
    infer: None,
    warn: Some(super::warn_of_fractions),
};

#[derive(Clone, Copy)]
struct Scale<T>(f64, PhantomData<T>);

impl<T: Number> Function1 for Scale<T> {
    type A = T;
    type R = T;

    #[inline(always)]
    fn apply(self, a: T) -> T {
        T::from_f64(a.to_f64() * self.0)
    }
}

#[derive(Clone, Copy)]
struct AddConstant<T>(f64, PhantomData<T>);

impl<T: Number> Function1 for AddConstant<T> {
    type A = T;
    type R = T;

    #[inline(always)]
    fn apply(self, a: T) -> T {
        T::from_f64(a.to_f64() + self.0)
    }
}

/// Applies one function to every element.
struct Map<F> {
    isa: Isa,
    function: F,
}

impl<F: Function1 + Send> Kernel for Map<F> {
    fn compute(
        &mut self,
        inputs: &FrameInputs<'_>,
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<(), NodeError> {
        let (input, output) = single(inputs, outputs)?;
        map1_array(self.isa, self.function, input, output)?;
        Ok(())
    }
}

fn build_scale(spec: &NodeSpec) -> Result<Box<dyn Kernel>, Vec<SpecProblem>> {
    let (dtype, factor) = check(spec, "factor")?;
    let isa = Isa::detect();
    let kernel = with_number!(dtype, T => Box::new(Map {
        isa,
        function: Scale::<T>(factor, PhantomData),
    }) as Box<dyn Kernel>);
    built(kernel, spec)
}

fn build_add_constant(spec: &NodeSpec) -> Result<Box<dyn Kernel>, Vec<SpecProblem>> {
    let (dtype, constant) = check(spec, "constant")?;
    let isa = Isa::detect();
    let kernel = with_number!(dtype, T => Box::new(Map {
        isa,
        function: AddConstant::<T>(constant, PhantomData),
    }) as Box<dyn Kernel>);
    built(kernel, spec)
}

/// The dtype, a real one, and the value of the one parameter.
fn check(spec: &NodeSpec, parameter: &str) -> Result<(DType, f64), Vec<SpecProblem>> {
    let mut check = SpecChecker::new(spec);
    let dtype = check_like_input(&mut check);
    check.auxiliary([]);
    let value = check.number(parameter);
    check.finish()?;
    Ok((dtype, value))
}
