//! `cpu.affine_transform`: output = matrix * input + bias.

#![expect(unsafe_code, reason = "hands raw array memory to the product")]

use std::any::Any;

use thalweg_shm::{ArrayMut, DType};

use super::frame_memory::{ExactRows, FrameMemory, Scratch, exact_rows};
use super::half_storage::HalfStorage;
use super::level::SimdLevel;
use super::operands::{BLAS_THREADS, MATRIX_STORAGE, Operands, check_storage, check_threads};
use super::product::Layout;
use super::shards::Shards;
use crate::check::SpecChecker;
use crate::node::{Figure, FrameInputs, Kernel, NodeError, NodeSpec, Preparer, SpecProblem};
use crate::registry::{ArraySpec, Definition, NodeBuilder};

pub(super) const AFFINE_TRANSFORM: Definition = Definition {
    kind: "cpu.affine_transform",
    summary: "output = matrix * input + bias; the auxiliary streams are the matrix (m, n) and the \
              bias (m), in this order, the input has shape (n), the output (m)",
    parameters: &[BLAS_THREADS, MATRIX_STORAGE],
    builder: NodeBuilder::Kernel(|spec| {
        let transform = AffineTransform::build(spec, SimdLevel::best())?;
        Ok(Box::new(transform))
    }),
    infer: Some(infer),
    warn: None,
};

fn infer(spec: &NodeSpec) -> Result<Vec<ArraySpec>, Vec<SpecProblem>> {
    let mut check = SpecChecker::new(spec);
    let operands = Operands::check(&mut check);
    check.finish()?;
    Ok(operands.iter().map(Operands::output).collect())
}

/// One transform of fixed shape and element type.
#[derive(Debug)]
pub(super) struct AffineTransform {
    level: SimdLevel,
    dtype: DType,
    layout: Layout,
    arithmetic: Arithmetic,
    shards: Shards,
}

/// What depends on the element type.
#[derive(Debug)]
enum Arithmetic {
    Float32(Option<HalfStorage>),
    Float64,
    /// Computed in single precision and rounded once, at the end.
    Float16 {
        vector: Vec<f32>,
        sums: Vec<f32>,
    },
    Exact(ExactRows),
}

impl AffineTransform {
    pub(super) fn build(spec: &NodeSpec, level: SimdLevel) -> Result<Self, Vec<SpecProblem>> {
        let mut check = SpecChecker::new(spec);
        let operands = Operands::check(&mut check);
        if let (Some(operands), Some(output)) = (&operands, check.output()) {
            operands.check_output(&mut check, output);
        }
        let threads = check_threads(&mut check, spec);
        let format = operands
            .as_ref()
            .and_then(|operands| check_storage(&mut check, spec, operands.matrix));
        check.finish()?;
        // Without a problem there are operands.
        let Some(operands) = operands else {
            return Err(Vec::new());
        };

        let (rows, columns) = (operands.rows, operands.columns);
        let dtype = operands.vector.dtype;
        let arithmetic = match dtype {
            DType::Float32 => {
                Arithmetic::Float32(format.map(|format| HalfStorage::new(rows, columns, format)))
            }
            DType::Float64 => Arithmetic::Float64,
            DType::Float16 => Arithmetic::Float16 {
                vector: vec![0.0; columns],
                sums: vec![0.0; rows],
            },
            _ => Arithmetic::Exact(exact_rows(dtype)),
        };
        let matrix_bytes = rows.saturating_mul(columns) * dtype.size_bytes();
        Ok(Self {
            level,
            dtype,
            layout: Layout::dense(rows, columns),
            arithmetic,
            shards: Shards::new(threads, rows, matrix_bytes),
        })
    }
}

impl Kernel for AffineTransform {
    fn compute(
        &mut self,
        inputs: &FrameInputs<'_>,
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<(), NodeError> {
        let level = self.level;
        let memory = FrameMemory::check(self.dtype, self.layout, inputs, outputs)?;
        match &mut self.arithmetic {
            Arithmetic::Float32(half) => {
                let half = half.as_ref().and_then(HalfStorage::matrix);
                self.shards.run(&|rows| match half {
                    // SAFETY: pieces are disjoint; `memory` was checked to be of this dtype.
                    Some(matrix) => unsafe { memory.half_rows(level, matrix, rows) },
                    // SAFETY: likewise.
                    None => unsafe { memory.real_rows::<f32>(level, rows) },
                })
            }
            Arithmetic::Float64 => self.shards.run(&|rows| {
                // SAFETY: pieces are disjoint; `memory` was checked to be of this dtype.
                unsafe { memory.real_rows::<f64>(level, rows) };
            }),
            Arithmetic::Float16 { vector, sums } => {
                // SAFETY: `memory` was checked to be of this dtype.
                unsafe { memory.widen_vector(vector) };
                let sums = Scratch::of(sums);
                self.shards.run(&|rows| {
                    // SAFETY: pieces are disjoint; `memory` was checked to be of this dtype.
                    unsafe { memory.float16_rows(level, vector, &sums, rows) };
                })
            }
            Arithmetic::Exact(exact_rows) => self.shards.run(&|rows| {
                // SAFETY: pieces are disjoint; the function was chosen for the dtype of `memory`.
                unsafe { exact_rows(&memory, rows) };
            }),
        }
    }

    fn preparer(&self, index: usize) -> Option<Box<dyn Preparer>> {
        match &self.arithmetic {
            Arithmetic::Float32(Some(half)) if index == 0 => Some(half.preparer()),
            _ => None,
        }
    }

    fn install(&mut self, _index: usize, prepared: Box<dyn Any + Send>) {
        if let Arithmetic::Float32(Some(half)) = &mut self.arithmetic {
            half.install(prepared);
        }
    }

    fn figure_definitions(&self) -> Vec<Figure> {
        match self.arithmetic {
            Arithmetic::Float32(Some(_)) => vec![HalfStorage::figure()],
            _ => Vec::new(),
        }
    }

    fn figures(&self, values: &mut [f64]) {
        if let (Arithmetic::Float32(Some(half)), [error]) = (&self.arithmetic, values) {
            *error = half.relative_error();
        }
    }
}
