//! A product with a published matrix into private memory, its rows shared between threads.

#![expect(unsafe_code, reason = "hands raw array memory to the product")]

use std::marker::PhantomData;
use std::ops::Range;

use thalweg_shm::{ArrayError, ArrayRef};

use super::half_matrix::HalfMatrix;
use super::lanes::Stored;
use super::level::SimdLevel;
use super::product::{Layout, Product};
use super::shards::Shards;
use crate::node::NodeError;
use crate::simd::number::Number;

/// Products of matrices of one shape.
#[derive(Debug)]
pub(crate) struct SharedProduct {
    level: SimdLevel,
    layout: Layout,
    shards: Shards,
}

impl SharedProduct {
    /// Products of `rows` times `columns` elements of `element_bytes` bytes, on at most `threads`
    /// threads.
    pub(crate) fn new(
        level: SimdLevel,
        [rows, columns]: [usize; 2],
        element_bytes: usize,
        threads: usize,
    ) -> Self {
        let matrix_bytes = rows.saturating_mul(columns).saturating_mul(element_bytes);
        Self {
            level,
            layout: Layout::dense(rows, columns),
            shards: Shards::new(threads, rows, matrix_bytes),
        }
    }

    /// `out = matrix * vector` for a matrix of elements `S`.
    ///
    /// # Errors
    ///
    /// When the matrix is not of this type and shape, or a thread cannot be started.
    ///
    /// # Panics
    ///
    /// When `vector` does not have one number per column, or `out` one per row.
    pub(crate) fn multiply<S: Stored + Number>(
        &mut self,
        matrix: ArrayRef<'_>,
        vector: &[S::Real],
        out: &mut [S::Real],
    ) -> Result<(), NodeError> {
        let Layout { rows, columns, .. } = self.layout;
        if matrix.dtype() != S::DTYPE {
            return Err(NodeError::Array(ArrayError::DType {
                expected: S::DTYPE,
                found: matrix.dtype(),
            }));
        }
        if matrix.shape() != [rows, columns] {
            return Err(NodeError::Failed(format!(
                "matrix has shape {:?}, expected {:?}",
                matrix.shape(),
                [rows, columns]
            )));
        }
        let (level, layout) = (self.level, self.layout);
        let task = Task::new(layout, vector, out);
        let matrix = Elements::<S>(matrix.as_bytes_ptr().cast());
        self.shards.run(&|rows: Range<usize>| {
            // SAFETY: matrix, vector and output have the sizes of the layout, as was checked;
            // shards are disjoint.
            let product =
                unsafe { Product::new(matrix.first(), layout, task.vector(), task.out(), rows) };
            S::multiply(level, product);
        })
    }

    /// `out = matrix * vector` for a matrix in half precision.
    ///
    /// # Errors
    ///
    /// When a thread cannot be started.
    ///
    /// # Panics
    ///
    /// When the matrix has another shape, `vector` not one number per column, or `out` not one per
    /// row.
    pub(crate) fn multiply_half(
        &mut self,
        matrix: &HalfMatrix,
        vector: &[f32],
        out: &mut [f32],
    ) -> Result<(), NodeError> {
        let (level, layout) = (self.level, self.layout);
        assert_eq!(
            matrix.shape(),
            (layout.rows, layout.columns),
            "matrix shape"
        );
        let task = Task::new(layout, vector, out);
        self.shards.run(&|rows: Range<usize>| {
            // SAFETY: vector and output have the sizes of the layout, which is the matrix's; shards
            // are disjoint.
            unsafe { matrix.multiply_rows(level, task.vector(), task.out(), rows) };
        })
    }
}

/// Vector and output of a product that several threads work on.
struct Task<'a, R> {
    vector: *const R,
    out: *mut R,
    memory: PhantomData<&'a mut [R]>,
}

// SAFETY: threads read the vector and write disjoint rows of the output.
unsafe impl<R: Send + Sync> Sync for Task<'_, R> {}

impl<'a, R> Task<'a, R> {
    fn new(layout: Layout, vector: &'a [R], out: &'a mut [R]) -> Self {
        assert_eq!(vector.len(), layout.columns, "one number per column");
        assert_eq!(out.len(), layout.rows, "one number per row");
        Self {
            vector: vector.as_ptr(),
            out: out.as_mut_ptr(),
            memory: PhantomData,
        }
    }

    // Methods, so that closures capture the whole.

    fn vector(&self) -> *const R {
        self.vector
    }

    fn out(&self) -> *mut R {
        self.out
    }
}

/// The first element of a matrix that several threads read.
struct Elements<S>(*const S);

// SAFETY: threads only read.
unsafe impl<S: Sync> Sync for Elements<S> {}

impl<S> Elements<S> {
    fn first(&self) -> *const S {
        self.0
    }
}
