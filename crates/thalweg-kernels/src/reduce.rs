//! `cpu.reduce`: the sum, mean, largest or smallest element of an array.

use std::marker::PhantomData;

use serde_json::Value;
use thalweg_shm::array::element_count;
use thalweg_shm::{ArrayMut, ArrayRef, DType};

use crate::check::SpecChecker;
use crate::node::{FrameInputs, Kernel, NodeError, NodeSpec, SpecProblem};
use crate::registry::{ArraySpec, Definition, NodeBuilder, ParameterDoc};
use crate::simd::isa::Isa;
use crate::simd::number::{Boolean, Number, with_number};
use crate::simd::reduce::{Whole, extreme, sum, whole_sum};
use crate::simd::run::{ReadRun, WriteRun};

/// The kinds of this module.
pub(crate) const DEFINITIONS: &[Definition] = &[Definition {
    kind: "cpu.reduce",
    summary: "output, one element, = the sum, mean, largest or smallest element of the input; NaN \
              propagates. Of the input's dtype, where integer sums wrap and means are cut off; sums \
              and means of integers may have the dtype NumPy gives them instead",
    parameters: &[ParameterDoc {
        name: "operation",
        doc: "sum, mean (default), max or min",
    }],
    builder: NodeBuilder::Kernel(build),
    infer: Some(infer),
    warn: Some(warn),
}];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Sum,
    Mean,
    Max,
    Min,
}

impl Operation {
    /// Parameter `operation`.
    fn read(check: &mut SpecChecker<'_>) -> Self {
        let Some(value) = check.spec().parameters.get("operation") else {
            return Self::Mean;
        };
        let operation = match value.as_str().map(str::trim) {
            Some("sum") => Some(Self::Sum),
            Some("mean") => Some(Self::Mean),
            Some("max") => Some(Self::Max),
            Some("min") => Some(Self::Min),
            _ => None,
        };
        operation.unwrap_or_else(|| {
            let mut message = format!("unsupported reduce operation {value}");
            if let Value::String(text) = value {
                message = format!("unsupported reduce operation '{text}'");
            }
            check.problem(
                SpecProblem::new(
                    "parameters.operation",
                    format!("{}: {message}", check.spec().kind),
                )
                .with_hint("use one of sum, mean, max, min"),
            );
            Self::Mean
        })
    }
}

/// The dtype of NumPy's result, where it is another one than the array's.
fn wide_dtype(operation: Operation, dtype: DType) -> Option<DType> {
    use DType::{Bool, Float64, Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64};
    match (operation, dtype) {
        (Operation::Sum, Bool | Int8 | Int16 | Int32) => Some(Int64),
        (Operation::Sum, Uint8 | Uint16 | Uint32) => Some(Uint64),
        (
            Operation::Mean,
            Bool | Int8 | Int16 | Int32 | Int64 | Uint8 | Uint16 | Uint32 | Uint64,
        ) => Some(Float64),
        _ => None,
    }
}

fn build(spec: &NodeSpec) -> Result<Box<dyn Kernel>, Vec<SpecProblem>> {
    let mut check = SpecChecker::new(spec);
    let operation = Operation::read(&mut check);
    check.auxiliary([]);
    let (input, output) = (check.input(), check.output());
    if let (Some(input), Some(output)) = (input, output) {
        let wide = wide_dtype(operation, input.dtype);
        if output.dtype != input.dtype && Some(output.dtype) != wide {
            let or_wide = wide.map_or_else(String::new, |wide| format!(" or {wide}"));
            check.problem(SpecProblem::new(
                "output",
                format!(
                    "cpu.reduce requires an output stream of dtype {}{or_wide}, {:?} is {}",
                    input.dtype, output.name, output.dtype
                ),
            ));
        }
        if element_count(&output.shape) != 1 {
            check.problem(
                SpecProblem::new(
                    "output",
                    format!(
                        "cpu.reduce requires a scalar output stream (exactly one element), {:?} \
                         has shape {:?}",
                        output.name, output.shape
                    ),
                )
                .with_hint(format!("give {:?} the shape [1]", output.name)),
            );
        }
        let is_extreme = matches!(operation, Operation::Max | Operation::Min);
        if is_extreme && input.dtype.is_complex() {
            check.problem(SpecProblem::new(
                "input",
                format!(
                    "cpu.reduce: complex numbers have no order, so no max and min; {:?} is {}",
                    input.name, input.dtype
                ),
            ));
        }
        if is_extreme && element_count(&input.shape) == 0 {
            check.problem(SpecProblem::new(
                "input",
                format!("cpu.reduce: {:?} has no elements", input.name),
            ));
        }
    }
    check.finish()?;
    let (Some(input), Some(output)) = (input, output) else {
        return Err(Vec::new());
    };
    Ok(kernel(operation, input.dtype, output.dtype))
}

fn infer(spec: &NodeSpec) -> Result<Vec<ArraySpec>, Vec<SpecProblem>> {
    let mut check = SpecChecker::new(spec);
    let outputs = check.input().map(|input| ArraySpec {
        dtype: input.dtype,
        shape: vec![1],
    });
    check.finish()?;
    Ok(outputs.into_iter().collect())
}

fn warn(spec: &NodeSpec) -> Vec<SpecProblem> {
    let operation = Operation::read(&mut SpecChecker::new(spec));
    let ([input], [output]) = (spec.inputs.as_slice(), spec.outputs.as_slice()) else {
        return Vec::new();
    };
    let Some(wide) = wide_dtype(operation, input.dtype) else {
        return Vec::new();
    };
    if output.dtype == wide {
        return Vec::new();
    }
    let what = match operation {
        Operation::Mean => "the mean is cut off to an integer",
        _ => "a sum beyond its range wraps",
    };
    vec![
        SpecProblem::new(
            "output",
            format!(
                "cpu.reduce: {:?} is {}, so {what}",
                output.name, output.dtype
            ),
        )
        .with_hint(format!("give {:?} the dtype {wide}", output.name)),
    ]
}

/// Reads an array, writes one element.
trait Reduction: Send {
    /// Element type of the output.
    type Out: Number;
    fn of(&self, isa: Isa, input: ArrayRef<'_>) -> Self::Out;
}

/// The kernel of a reduction of arrays of `dtype`.
struct Reduce<R> {
    isa: Isa,
    dtype: DType,
    reduction: R,
}

impl<R: Reduction> Kernel for Reduce<R> {
    fn compute(
        &mut self,
        inputs: &FrameInputs<'_>,
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<(), NodeError> {
        let ([input], [output]) = (inputs.triggers, outputs) else {
            return Err(NodeError::Failed(
                "expected one input and one output array".to_owned(),
            ));
        };
        if input.dtype() != self.dtype || output.dtype() != R::Out::DTYPE || output.len() != 1 {
            return Err(NodeError::Failed(format!(
                "expected an input of {} and an output of one {}",
                self.dtype,
                R::Out::DTYPE
            )));
        }
        let result = [self.reduction.of(self.isa, *input)];
        WriteRun::of_array(output).copy_from(ReadRun::of_slice(&result));
        Ok(())
    }
}

/// Sum, or mean, in double precision.
struct InDouble<T, O> {
    is_mean: bool,
    types: PhantomData<(T, O)>,
}

impl<T: Number, O: Number> Reduction for InDouble<T, O> {
    type Out = O;

    fn of(&self, isa: Isa, input: ArrayRef<'_>) -> O {
        let count = input.len();
        let sum = sum::<T>(isa, ReadRun::of_array(input), 0, 1, count);
        O::from_f64(if self.is_mean {
            sum / count as f64
        } else {
            sum
        })
    }
}

/// Sum of integers or truth values.
struct Exact<T, O>(PhantomData<(T, O)>);

impl<T: Whole, O: Whole> Reduction for Exact<T, O> {
    type Out = O;

    fn of(&self, isa: Isa, input: ArrayRef<'_>) -> O {
        O::from_bits(whole_sum::<T>(isa, ReadRun::of_array(input), input.len()))
    }
}

struct Extreme<T> {
    largest: bool,
    element: PhantomData<T>,
}

impl<T: Number> Reduction for Extreme<T> {
    type Out = T;

    fn of(&self, isa: Isa, input: ArrayRef<'_>) -> T {
        extreme(isa, ReadRun::of_array(input), input.len(), self.largest)
    }
}

/// Sum, or mean, of complex numbers with parts of type `T`.
struct Complex<T> {
    isa: Isa,
    dtype: DType,
    is_mean: bool,
    part: PhantomData<T>,
}

impl<T: Number> Kernel for Complex<T> {
    fn compute(
        &mut self,
        inputs: &FrameInputs<'_>,
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<(), NodeError> {
        let ([input], [output]) = (inputs.triggers, outputs) else {
            return Err(NodeError::Failed(
                "expected one input and one output array".to_owned(),
            ));
        };
        if input.dtype() != self.dtype || output.dtype() != self.dtype || output.len() != 1 {
            return Err(NodeError::Failed(format!(
                "expected an input and an output of one {}",
                self.dtype
            )));
        }
        let count = input.len();
        let result: [T; 2] = std::array::from_fn(|part| {
            let sum = sum::<T>(self.isa, ReadRun::of_array(*input), part, 2, count);
            T::from_f64(if self.is_mean {
                sum / count as f64
            } else {
                sum
            })
        });
        WriteRun::of_array(output).copy_from(ReadRun::of_slice(&result));
        Ok(())
    }
}

/// The kernel for dtypes that [`build`] let through.
fn kernel(operation: Operation, dtype: DType, output: DType) -> Box<dyn Kernel> {
    let is_mean = operation == Operation::Mean;
    let isa = Isa::detect();
    match dtype {
        DType::Complex64 => {
            return Box::new(Complex::<f32> {
                isa,
                dtype,
                is_mean,
                part: PhantomData,
            });
        }
        DType::Complex128 => {
            return Box::new(Complex::<f64> {
                isa,
                dtype,
                is_mean,
                part: PhantomData,
            });
        }
        _ => {}
    }
    if operation == Operation::Sum
        && let Some(kernel) = exact_sum(dtype, output)
    {
        return kernel;
    }
    let of_type = with_number!(dtype, T => match operation {
        Operation::Sum | Operation::Mean if output == DType::Float64 => {
            reduce(dtype, InDouble::<T, f64> { is_mean, types: PhantomData })
        }
        Operation::Sum | Operation::Mean => {
            reduce(dtype, InDouble::<T, T> { is_mean, types: PhantomData })
        }
        Operation::Max | Operation::Min => {
            let largest = operation == Operation::Max;
            reduce(dtype, Extreme::<T> { largest, element: PhantomData })
        }
    });
    of_type.unwrap_or_else(|| {
        reduce(
            dtype,
            InDouble::<f64, f64> {
                is_mean,
                types: PhantomData,
            },
        )
    })
}

/// The sum of integers or truth values; `None` for floats.
fn exact_sum(dtype: DType, output: DType) -> Option<Box<dyn Kernel>> {
    fn of<T: Whole>(dtype: DType, output: DType) -> Box<dyn Kernel> {
        match output {
            DType::Int64 => reduce(dtype, Exact::<T, i64>(PhantomData)),
            DType::Uint64 => reduce(dtype, Exact::<T, u64>(PhantomData)),
            _ => reduce(dtype, Exact::<T, T>(PhantomData)),
        }
    }
    let of: fn(DType, DType) -> Box<dyn Kernel> = match dtype {
        DType::Int8 => of::<i8>,
        DType::Int16 => of::<i16>,
        DType::Int32 => of::<i32>,
        DType::Int64 => of::<i64>,
        DType::Uint8 => of::<u8>,
        DType::Uint16 => of::<u16>,
        DType::Uint32 => of::<u32>,
        DType::Uint64 => of::<u64>,
        DType::Bool => of::<Boolean>,
        _ => return None,
    };
    Some(of(dtype, output))
}

fn reduce<R: Reduction + 'static>(dtype: DType, reduction: R) -> Box<dyn Kernel> {
    Box::new(Reduce {
        isa: Isa::detect(),
        dtype,
        reduction,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::{NodeRole, Registry};
    use crate::testing::{compute, spec};

    fn reduced<T: thalweg_shm::Element, O: thalweg_shm::Element>(
        operation: &str,
        numbers: &[T],
    ) -> O {
        let shape = [numbers.len()];
        let spec = spec("cpu.reduce")
            .input(T::DTYPE, &shape)
            .output(O::DTYPE, &[1])
            .parameter("operation", json!(operation))
            .build();
        let mut kernel = build(&spec).unwrap();
        let output = [ArraySpec {
            dtype: O::DTYPE,
            shape: vec![1],
        }];
        let input = [ArrayRef::from_slice(numbers, &shape)];
        let outputs = compute(&mut *kernel, &input, &[], &output).unwrap();
        outputs[0].to_vec::<O>().unwrap()[0]
    }

    #[test]
    fn integers_wrap_and_are_cut_off_unless_there_is_room() {
        assert_eq!(reduced::<u8, u8>("sum", &[200, 100]), 44);
        assert_eq!(reduced::<u8, u64>("sum", &[200, 100]), 300);
        assert_eq!(reduced::<i8, i64>("sum", &[-100, -100]), -200);
        assert_eq!(reduced::<i16, i16>("mean", &[-3, -4]), -3);
        assert_eq!(reduced::<i16, f64>("mean", &[-3, -4]), -3.5);
        let large = [i64::MAX, 1, i64::MAX];
        assert_eq!(reduced::<i64, i64>("sum", &large), -1);
        assert_eq!(reduced::<i64, i64>("max", &large), i64::MAX);
        assert_eq!(reduced::<u32, u32>("min", &[5, 3, 9]), 3);
        assert!(reduced::<f32, f32>("max", &[1.0, f32::NAN]).is_nan());
    }

    #[test]
    fn what_integers_lose_is_told_before_the_start() {
        let definition = *Registry::builtin()
            .get(NodeRole::Kernel, "cpu.reduce")
            .unwrap();
        let told = |input, output, operation: &str| {
            let spec = spec("cpu.reduce")
                .input(input, &[3])
                .output(output, &[1])
                .parameter("operation", json!(operation))
                .build();
            definition
                .warnings(&spec)
                .iter()
                .map(|warning| warning.message.clone())
                .collect::<String>()
        };
        assert!(told(DType::Uint8, DType::Uint8, "sum").contains("wraps"));
        assert!(told(DType::Int32, DType::Int32, "mean").contains("cut off"));
        assert_eq!(told(DType::Uint8, DType::Uint64, "sum"), "");
        assert_eq!(told(DType::Int32, DType::Int32, "max"), "");
        assert_eq!(told(DType::Float32, DType::Float32, "mean"), "");
    }

    #[test]
    fn outputs_of_other_shapes_and_dtypes_are_refused() {
        let spec = spec("cpu.reduce")
            .input(DType::Uint8, &[3])
            .output(DType::Float32, &[2])
            .parameter("operation", json!("sum"))
            .build();
        let problems = build(&spec).err().unwrap();
        let messages: Vec<_> = problems.iter().map(|one| one.message.as_str()).collect();
        assert!(
            messages[0].contains("output stream of dtype uint8 or uint64"),
            "{messages:?}"
        );
        assert!(messages[1].contains("scalar output stream"), "{messages:?}");
    }
}
