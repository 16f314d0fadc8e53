//! What `cpu.affine_transform` asks of its specification.

use thalweg_shm::DType;

use super::affine_transform::AFFINE_TRANSFORM;
use super::half_matrix::HalfFormat;
use crate::check::SpecChecker;
use crate::node::{NodeSpec, SpecProblem, StreamSpec};
use crate::registry::{ArraySpec, ParameterDoc};

pub(crate) const BLAS_THREADS: ParameterDoc = ParameterDoc {
    name: "blas_threads",
    doc: "integer of at least 1, default 1: threads that share the rows of the matrix",
};

pub(crate) const MATRIX_STORAGE: ParameterDoc = ParameterDoc {
    name: "matrix_storage",
    doc: "source (default), float16 or bfloat16: what a float32 matrix is kept as; a half-precision \
          copy is made beside the frame path whenever the matrix is published, and its error is a \
          figure of the kernel",
};

/// The streams that go into a transform.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operands<'a> {
    /// The trigger.
    pub(super) vector: &'a StreamSpec,
    /// The first auxiliary stream.
    pub(super) matrix: &'a StreamSpec,
    /// Rows of the matrix.
    pub(super) rows: usize,
    /// Columns of the matrix.
    pub(super) columns: usize,
}

impl<'a> Operands<'a> {
    /// The operands, as far as they can be told; everything wrong with them is recorded.
    pub(super) fn check(check: &mut SpecChecker<'a>) -> Option<Self> {
        let kind = AFFINE_TRANSFORM.kind;
        let vector = check.input();
        let auxiliary = check.auxiliary(["matrix", "bias"]);
        let (vector, [matrix, bias]) = (vector?, auxiliary?);
        check.same_dtype("auxiliary[0]", vector, matrix);
        check.same_dtype("auxiliary[1]", vector, bias);
        let &[columns] = vector.shape.as_slice() else {
            let message = format!(
                "{kind} requires a 1-D input vector, got {:?} of shape {:?}",
                vector.name, vector.shape
            );
            let hint = "put a cpu.flatten before it";
            check.problem(SpecProblem::new("input", message).with_hint(hint));
            return None;
        };
        let &[rows, matrix_columns] = matrix.shape.as_slice() else {
            let message = format!(
                "{kind} requires a 2-D matrix of shape [m, {columns}], got {:?} of shape {:?}",
                matrix.name, matrix.shape
            );
            let hint = "the first auxiliary stream is the matrix, the second the bias";
            check.problem(SpecProblem::new("auxiliary[0]", message).with_hint(hint));
            return None;
        };
        if matrix_columns != columns {
            let message = format!(
                "{kind} requires matrix columns to match input vector length: matrix {:?} of \
                 shape {:?} has {matrix_columns} columns, input {:?} has {columns} elements",
                matrix.name, matrix.shape, vector.name
            );
            check.problem(SpecProblem::new("auxiliary[0]", message));
        }
        if bias.shape != [rows] {
            let message = format!(
                "{kind} requires a bias of one element per matrix row, shape [{rows}], got {:?} of \
                 shape {:?}",
                bias.name, bias.shape
            );
            check.problem(SpecProblem::new("auxiliary[1]", message));
        }
        Some(Self {
            vector,
            matrix,
            rows,
            columns,
        })
    }

    /// Records what is wrong with the output stream.
    pub(super) fn check_output(&self, check: &mut SpecChecker<'a>, output: &StreamSpec) {
        check.same_dtype("output", self.vector, output);
        if output.shape != [self.rows] {
            let message = format!(
                "{} requires an output of one element per matrix row, shape [{}], got {:?} of \
                 shape {:?}",
                AFFINE_TRANSFORM.kind, self.rows, output.name, output.shape
            );
            check.problem(SpecProblem::new("output", message));
        }
    }

    /// What comes out.
    pub(super) fn output(&self) -> ArraySpec {
        ArraySpec {
            dtype: self.vector.dtype,
            shape: vec![self.rows],
        }
    }
}

/// Parameter `blas_threads`.
pub(crate) fn check_threads(check: &mut SpecChecker<'_>, spec: &NodeSpec) -> usize {
    let name = "blas_threads";
    let Some(value) = spec.parameters.get(name) else {
        return 1;
    };
    let threads = value
        .as_u64()
        .and_then(|threads| usize::try_from(threads).ok());
    match threads {
        Some(threads) if threads > 0 => threads,
        _ => {
            check.parameter_problem(name, "a positive integer", value);
            1
        }
    }
}

/// Parameter `matrix_storage`; `None` stands for computing with the source.
pub(crate) fn check_storage(
    check: &mut SpecChecker<'_>,
    spec: &NodeSpec,
    matrix: &StreamSpec,
) -> Option<HalfFormat> {
    let name = "matrix_storage";
    let value = spec.parameters.get(name)?;
    let format = match value.as_str() {
        Some("source") => return None,
        // It is so already.
        Some("float16") if matrix.dtype == DType::Float16 => return None,
        Some("float16") => HalfFormat::Float16,
        Some("bfloat16") => HalfFormat::Bfloat16,
        _ => {
            check.parameter_problem(name, "one of source, float16, bfloat16", value);
            return None;
        }
    };
    if matrix.dtype != DType::Float32 {
        let message = format!(
            "{} requires float32 streams for '{name}' {value}, but matrix {:?} is {}",
            spec.kind, matrix.name, matrix.dtype
        );
        let hint = "make the streams float32, or leave the parameter out";
        check.problem(SpecProblem::new(format!("parameters.{name}"), message).with_hint(hint));
    }
    Some(format)
}
