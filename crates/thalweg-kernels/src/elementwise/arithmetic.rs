//! `cpu.elementwise_add`, `_subtract`, `_multiply` and `_divide`: two arrays, element by element.
//!
//! Computed in the dtype of the arrays, as NumPy's operators do: integers wrap, a float divided by
//! zero is infinite or NaN, and truth values are joined by `or` and `and`. What NumPy refuses is
//! refused when the configuration is checked: the difference of truth values, and quotients of
//! anything but floating-point or complex numbers, which are no elements of such an array.

use std::marker::PhantomData;

use half::f16;
use thalweg_shm::{ArrayMut, ArrayRef, DType};

use super::single;
use crate::check::SpecChecker;
use crate::node::{FrameInputs, Kernel, NodeError, NodeSpec, SpecProblem};
use crate::registry::{Definition, NodeBuilder};
use crate::simd::complex::{ComplexFunction, map2_complex};
use crate::simd::isa::Isa;
use crate::simd::map::{Function2, Operand, map2, map2_array};
use crate::simd::number::{Float, Number, with_number};
use crate::simd::run::{ReadRun, WriteRun};

pub(super) const ADD: Definition = Definition {
    kind: "cpu.elementwise_add",
    summary: "output = input + the auxiliary stream; all of one shape and dtype, integers wrap",
    parameters: &[],
    builder: NodeBuilder::Kernel(|spec| build(spec, Operation::Add)),
    infer: None,
    warn: None,
};

pub(super) const SUBTRACT: Definition = Definition {
    kind: "cpu.elementwise_subtract",
    summary: "output = input - the auxiliary stream; all of one shape and dtype but bool, integers \
              wrap",
    builder: NodeBuilder::Kernel(|spec| build(spec, Operation::Subtract)),
    ..ADD
};

pub(super) const MULTIPLY: Definition = Definition {
    kind: "cpu.elementwise_multiply",
    summary: "output = input * the auxiliary stream; all of one shape and dtype, integers wrap",
    builder: NodeBuilder::Kernel(|spec| build(spec, Operation::Multiply)),
    ..ADD
};

pub(super) const DIVIDE: Definition = Definition {
    kind: "cpu.elementwise_divide",
    summary: "output = input / the auxiliary stream; all of one shape and one floating-point or \
              complex dtype; x / 0 is infinite, 0 / 0 is NaN",
    builder: NodeBuilder::Kernel(|spec| build(spec, Operation::Divide)),
    ..ADD
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
}

macro_rules! functions {
    ($($name:ident: $bound:ident, $method:ident;)*) => {
        $(
            #[derive(Clone, Copy, Default)]
            struct $name<T>(PhantomData<T>);

            impl<T: $bound> Function2 for $name<T> {
                type A = T;
                type B = T;
                type R = T;

                #[inline(always)]
                fn apply(self, a: T, b: T) -> T {
                    a.$method(b)
                }
            }
        )*
    };
}

functions! {
    Sum: Number, plus;
    Difference: Number, minus;
    Product: Number, times;
    Quotient: Float, divided_by;
}

/// Input and auxiliary array of a frame.
fn pair<'f, 'o, 'a>(
    inputs: &FrameInputs<'f>,
    outputs: &'o mut [ArrayMut<'a>],
) -> Result<(ArrayRef<'f>, ArrayRef<'f>, &'o mut ArrayMut<'a>), NodeError> {
    let (input, output) = single(inputs, outputs)?;
    match inputs.auxiliary {
        [other] => Ok((input, *other, output)),
        auxiliary => Err(NodeError::Failed(format!(
            "expected 1 auxiliary array, got {}",
            auxiliary.len()
        ))),
    }
}

/// One function of two numbers, on whole arrays.
struct Elementwise<F> {
    isa: Isa,
    function: F,
}

impl<F: Function2 + Send> Kernel for Elementwise<F> {
    fn compute(
        &mut self,
        inputs: &FrameInputs<'_>,
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<(), NodeError> {
        let (a, b, output) = pair(inputs, outputs)?;
        map2_array(self.isa, self.function, a, b, output)?;
        Ok(())
    }
}

/// A function of two real numbers, on both parts of complex ones.
struct OnParts<F> {
    isa: Isa,
    dtype: DType,
    function: F,
}

impl<F: Function2 + Send> Kernel for OnParts<F> {
    fn compute(
        &mut self,
        inputs: &FrameInputs<'_>,
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<(), NodeError> {
        let (a, b, output) = pair(inputs, outputs)?;
        let count = output.len();
        let fits = |dtype: DType, len: usize| dtype == self.dtype && len == count;
        if !fits(a.dtype(), a.len()) || !fits(b.dtype(), b.len()) || output.dtype() != self.dtype {
            return Err(NodeError::Failed(format!(
                "expected three arrays of {count} elements of {}",
                self.dtype
            )));
        }
        map2(
            self.isa,
            self.function,
            Operand::Each(ReadRun::of_array(a)),
            Operand::Each(ReadRun::of_array(b)),
            WriteRun::of_array(output),
            2 * count,
        );
        Ok(())
    }
}

/// A product or quotient of complex numbers with parts of type `R`.
struct OfComplex<R> {
    isa: Isa,
    dtype: DType,
    function: ComplexFunction,
    part: PhantomData<R>,
}

impl<R: Float> Kernel for OfComplex<R> {
    fn compute(
        &mut self,
        inputs: &FrameInputs<'_>,
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<(), NodeError> {
        let (a, b, output) = pair(inputs, outputs)?;
        map2_complex::<R>(self.isa, self.function, self.dtype, [a, b], output)?;
        Ok(())
    }
}

fn build(spec: &NodeSpec, operation: Operation) -> Result<Box<dyn Kernel>, Vec<SpecProblem>> {
    let mut check = SpecChecker::new(spec);
    let (input, output) = (check.input(), check.output());
    if let (Some(input), Some(output)) = (input, output) {
        check.same_shape("output", input, output);
        check.same_dtype("output", input, output);
    }
    if let (Some([other]), Some(input)) = (check.auxiliary(["the other array"]), input) {
        check.same_shape("auxiliary", input, other);
        check.same_dtype("auxiliary", input, other);
    }
    if let Some(input) = input {
        let dtype = input.dtype;
        let is_refused = match operation {
            Operation::Subtract => dtype == DType::Bool,
            Operation::Divide => !dtype.is_float() && !dtype.is_complex(),
            Operation::Add | Operation::Multiply => false,
        };
        if is_refused {
            let (needed, hint) = match operation {
                Operation::Divide => (
                    "floating-point or complex numbers, because quotients are no integers",
                    "make the three streams float32 or float64",
                ),
                _ => (
                    "numbers, because truth values have no difference",
                    "make the three streams int8, or use cpu.custom_operation",
                ),
            };
            check.problem(
                SpecProblem::new(
                    "input",
                    format!("{} needs {needed}; {:?} is {dtype}", spec.kind, input.name),
                )
                .with_hint(hint),
            );
        }
    }
    check.finish()?;
    let dtype = input.map_or(DType::Float64, |input| input.dtype);
    Ok(kernel(dtype, operation))
}

/// The kernel for a dtype that [`build`] let through.
fn kernel(dtype: DType, operation: Operation) -> Box<dyn Kernel> {
    match (dtype, operation) {
        (DType::Complex64, _) => complex_kernel::<f32>(dtype, operation),
        (DType::Complex128, _) => complex_kernel::<f64>(dtype, operation),
        (DType::Float16, Operation::Divide) => of(Quotient::<f16>::default()),
        (DType::Float32, Operation::Divide) => of(Quotient::<f32>::default()),
        (_, Operation::Divide) => of(Quotient::<f64>::default()),
        _ => with_number!(dtype, T => match operation {
            Operation::Add => of(Sum::<T>::default()),
            Operation::Subtract => of(Difference::<T>::default()),
            _ => of(Product::<T>::default()),
        })
        .unwrap_or_else(|| of(Sum::<f64>::default())),
    }
}

fn of<F: Function2 + Send + 'static>(function: F) -> Box<dyn Kernel> {
    Box::new(Elementwise {
        isa: Isa::detect(),
        function,
    })
}

fn complex_kernel<R: Float>(dtype: DType, operation: Operation) -> Box<dyn Kernel> {
    let isa = Isa::detect();
    let function = match operation {
        Operation::Add => {
            let function = Sum::<R>::default();
            return Box::new(OnParts {
                isa,
                dtype,
                function,
            });
        }
        Operation::Subtract => {
            let function = Difference::<R>::default();
            return Box::new(OnParts {
                isa,
                dtype,
                function,
            });
        }
        Operation::Multiply => ComplexFunction::Product,
        Operation::Divide => ComplexFunction::Quotient,
    };
    Box::new(OfComplex::<R> {
        isa,
        dtype,
        function,
        part: PhantomData,
    })
}
