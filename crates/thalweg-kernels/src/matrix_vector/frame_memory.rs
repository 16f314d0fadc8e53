//! The arrays of one frame of an affine transform, and rows of it in every element type.

#![expect(unsafe_code, reason = "loads from raw memory other processes own")]

use std::marker::PhantomData;
use std::ops::{Add, Range};

use half::f16;
use thalweg_shm::{ArrayError, ArrayMut, ArrayRef, DType};

use super::exact::{Complex, Ring, transform_rows};
use super::half_matrix::HalfMatrix;
use super::lanes::Stored;
use super::level::SimdLevel;
use super::product::{Layout, Product};
use crate::node::{FrameInputs, NodeError};
use crate::simd::half_float::{f32_to_half, half_to_f32};
use crate::simd::number::with_number;

/// The arrays of one frame: all of the dtype and the shapes the kernel was built for.
#[derive(Debug)]
pub(super) struct FrameMemory<'a> {
    layout: Layout,
    matrix: ArrayRef<'a>,
    vector: ArrayRef<'a>,
    bias: ArrayRef<'a>,
    out: *mut u8,
}

// SAFETY: threads write disjoint rows of `out`, as the methods demand, and only read the rest.
unsafe impl Sync for FrameMemory<'_> {}

impl<'a> FrameMemory<'a> {
    /// The arrays of a frame, after checking that they are what the kernel was built for.
    pub(super) fn check(
        dtype: DType,
        layout: Layout,
        inputs: &FrameInputs<'a>,
        outputs: &'a mut [ArrayMut<'_>],
    ) -> Result<Self, NodeError> {
        let ([vector], [matrix, bias], [out]) = (inputs.triggers, inputs.auxiliary, outputs) else {
            return Err(NodeError::Failed(
                "expected an input, two auxiliary arrays and an output".to_owned(),
            ));
        };
        let expect = |role: &str, found: DType, shape: &[usize], expected: &[usize]| {
            if found != dtype {
                return Err(NodeError::Array(ArrayError::DType {
                    expected: dtype,
                    found,
                }));
            }
            if shape != expected {
                return Err(NodeError::Failed(format!(
                    "{role} has shape {shape:?}, expected {expected:?}"
                )));
            }
            Ok(())
        };
        let Layout { rows, columns, .. } = layout;
        expect("input", vector.dtype(), vector.shape(), &[columns])?;
        expect("matrix", matrix.dtype(), matrix.shape(), &[rows, columns])?;
        expect("bias", bias.dtype(), bias.shape(), &[rows])?;
        expect("output", out.dtype(), out.shape(), &[rows])?;
        Ok(Self {
            layout,
            matrix: *matrix,
            vector: *vector,
            bias: *bias,
            out: out.as_bytes_mut_ptr(),
        })
    }

    fn matrix<T>(&self) -> *const T {
        self.matrix.as_bytes_ptr().cast()
    }

    fn vector<T>(&self) -> *const T {
        self.vector.as_bytes_ptr().cast()
    }

    fn bias<T>(&self) -> *const T {
        self.bias.as_bytes_ptr().cast()
    }

    fn out<T>(&self) -> *mut T {
        self.out.cast()
    }

    /// The rows `rows` of the transform, in the precision of the arrays.
    ///
    /// # Safety
    ///
    /// The arrays hold `R`, `rows` exist, and nobody else touches them in the output.
    pub(super) unsafe fn real_rows<R: Stored<Real = R> + Add<Output = R>>(
        &self,
        level: SimdLevel,
        rows: Range<usize>,
    ) {
        // SAFETY: the arrays have the shapes of the layout; the caller vouches for the rest.
        let product = unsafe {
            Product::new(
                self.matrix::<R>(),
                self.layout,
                self.vector(),
                self.out(),
                rows.clone(),
            )
        };
        R::multiply(level, product);
        // SAFETY: as for this function.
        unsafe { self.add_bias::<R>(rows) };
    }

    /// The rows `rows` of the transform of `float32` arrays, with `matrix` for their matrix.
    ///
    /// # Safety
    ///
    /// As [`FrameMemory::real_rows`] with `R = f32`; `matrix` has the shape of the layout.
    pub(super) unsafe fn half_rows(
        &self,
        level: SimdLevel,
        matrix: &HalfMatrix,
        rows: Range<usize>,
    ) {
        // SAFETY: as for this function.
        unsafe { matrix.multiply_rows(level, self.vector(), self.out(), rows.clone()) };
        // SAFETY: as for this function.
        unsafe { self.add_bias::<f32>(rows) };
    }

    /// # Safety
    ///
    /// As [`FrameMemory::real_rows`], after the product was written.
    unsafe fn add_bias<R: Copy + Add<Output = R>>(&self, rows: Range<usize>) {
        for row in rows {
            // SAFETY: the bias has every row.
            let bias = unsafe { self.bias::<R>().wrapping_add(row).read() };
            // SAFETY: the output has every row, and this one is the caller's alone.
            let sum = unsafe { &mut *self.out::<R>().wrapping_add(row) };
            *sum = *sum + bias;
        }
    }

    /// The input in single precision.
    ///
    /// # Safety
    ///
    /// The arrays hold `f16`.
    pub(super) unsafe fn widen_vector(&self, wide: &mut [f32]) {
        for (index, number) in wide.iter_mut().enumerate().take(self.layout.columns) {
            // SAFETY: the input has every column.
            *number = half_to_f32(unsafe { self.vector::<f16>().wrapping_add(index).read() });
        }
    }

    /// The rows `rows` of the transform of `float16` arrays. `vector` holds the input in single
    /// precision; `sums` is scratch.
    ///
    /// # Safety
    ///
    /// The arrays hold `f16`, `rows` exist, and nobody else touches them in the output and in
    /// `sums`.
    pub(super) unsafe fn float16_rows(
        &self,
        level: SimdLevel,
        vector: &[f32],
        sums: &Scratch<'_>,
        rows: Range<usize>,
    ) {
        assert_eq!(vector.len(), self.layout.columns);
        assert_eq!(sums.len, self.layout.rows);
        // SAFETY: the arrays have the shapes of the layout; the caller vouches for the rest.
        let product = unsafe {
            Product::new(
                self.matrix::<f16>(),
                self.layout,
                vector.as_ptr(),
                sums.first,
                rows.clone(),
            )
        };
        f16::multiply(level, product);
        for row in rows {
            // SAFETY: the scratch has every row.
            let sum = unsafe { sums.first.wrapping_add(row).read() };
            // SAFETY: the bias has every row.
            let bias = half_to_f32(unsafe { self.bias::<f16>().wrapping_add(row).read() });
            // SAFETY: the output has every row.
            unsafe {
                self.out::<f16>()
                    .wrapping_add(row)
                    .write(f32_to_half(sum + bias))
            };
        }
    }
}

/// Computes rows of a transform of one element type.
///
/// # Safety
///
/// The arrays hold that type, the rows exist, and nobody else touches them in the output.
pub(super) type ExactRows = unsafe fn(&FrameMemory<'_>, Range<usize>);

/// The function for a dtype that is computed exactly.
pub(super) fn exact_rows(dtype: DType) -> ExactRows {
    /// # Safety
    ///
    /// As [`ExactRows`].
    unsafe fn of<T: Ring>(memory: &FrameMemory<'_>, rows: Range<usize>) {
        // SAFETY: the arrays have the shapes of the layout; the caller vouches for the rest.
        unsafe {
            transform_rows::<T>(
                memory.matrix(),
                memory.layout.columns,
                memory.vector(),
                memory.bias(),
                memory.out(),
                rows,
            );
        };
    }
    let number = with_number!(dtype, T => of::<T> as ExactRows);
    match (number, dtype) {
        (Some(number), _) => number,
        (None, DType::Complex64) => of::<Complex<f32>>,
        (None, _) => of::<Complex<f64>>,
    }
}

/// Scratch rows that several threads write, each its own.
#[derive(Debug)]
pub(super) struct Scratch<'a> {
    first: *mut f32,
    len: usize,
    memory: PhantomData<&'a mut [f32]>,
}

// SAFETY: whoever writes through the pointer has to keep rows apart.
unsafe impl Sync for Scratch<'_> {}

impl<'a> Scratch<'a> {
    /// Rows in `memory`.
    pub(super) fn of(memory: &'a mut [f32]) -> Self {
        Self {
            first: memory.as_mut_ptr(),
            len: memory.len(),
            memory: PhantomData,
        }
    }
}
