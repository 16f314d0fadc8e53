//! A matrix kept in half precision: half the memory to read, about twice the speed.
//!
//! Every row is scaled by a power of two before it is rounded, so that neither small nor large
//! entries leave the range of `float16`; the product is scaled back exactly. The rounding error is
//! measured against the matrix it was made from.

#![expect(unsafe_code, reason = "hands raw memory to the product")]

use std::ops::Range;

use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};

use super::lanes::Stored;
use super::level::SimdLevel;
use super::product::{Layout, Product};

/// How a [`HalfMatrix`] keeps its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfFormat {
    /// IEEE half precision: 11 significant bits.
    Float16,
    /// The upper half of a `float32`: 8 significant bits.
    Bfloat16,
}

impl HalfFormat {
    /// Rounds `from` to the nearest numbers of the format, given as their bits in `to`.
    fn narrow(self, from: &[f32], to: &mut [u16]) {
        match self {
            Self::Float16 => to
                .reinterpret_cast_mut::<f16>()
                .convert_from_f32_slice(from),
            Self::Bfloat16 => to
                .reinterpret_cast_mut::<bf16>()
                .convert_from_f32_slice(from),
        }
    }

    /// The numbers whose bits are `from`.
    fn widen(self, from: &[u16], to: &mut [f32]) {
        match self {
            Self::Float16 => from.reinterpret_cast::<f16>().convert_to_f32_slice(to),
            Self::Bfloat16 => from.reinterpret_cast::<bf16>().convert_to_f32_slice(to),
        }
    }
}

/// Numbers in a cache line.
const LINE: usize = 32;

/// One cache line of numbers.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u16; LINE]);

/// A matrix of shape (rows, columns) in half precision.
#[derive(Debug)]
pub struct HalfMatrix {
    format: HalfFormat,
    columns: usize,
    lines: Vec<Line>,
    lines_per_row: usize,
    /// What the sum of each row has to be multiplied with; a power of two.
    row_factors: Vec<f32>,
    relative_error: f64,
}

impl HalfMatrix {
    /// A matrix of zeros.
    pub fn zeros(rows: usize, columns: usize, format: HalfFormat) -> Self {
        // An odd number of lines: rows then spread over all sets of the first-level cache.
        let lines_per_row = columns.div_ceil(LINE) | 1;
        Self {
            format,
            columns,
            lines: vec![Line([0; LINE]); rows * lines_per_row],
            lines_per_row,
            row_factors: vec![1.0; rows],
            relative_error: 0.0,
        }
    }

    /// Rounds a row-major `matrix` with rows of `columns` numbers.
    ///
    /// # Panics
    ///
    /// When the length of `matrix` is no multiple of `columns`.
    pub fn pack(matrix: &[f32], columns: usize, format: HalfFormat) -> Self {
        let rows = matrix.len().checked_div(columns).unwrap_or(0);
        assert_eq!(rows * columns, matrix.len(), "rows of {columns} numbers");
        let mut packed = Self::zeros(rows, columns, format);
        let filled: Result<(), std::convert::Infallible> = packed.fill(|row, numbers| {
            numbers.copy_from_slice(&matrix[row * columns..][..columns]);
            Ok(())
        });
        match filled {
            Ok(()) => packed,
        }
    }

    /// Rounds another matrix of the same shape into this one. `read_row` copies its row of the
    /// given index; after an error of `read_row` the contents are unspecified.
    pub fn fill<E>(
        &mut self,
        mut read_row: impl FnMut(usize, &mut [f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut source = vec![0.0f32; self.columns];
        let mut scaled = source.clone();
        let mut rounded = vec![0u16; self.columns];
        let (mut largest, mut largest_error) = (0.0f64, 0.0f64);
        let rows = self.lines.chunks_exact_mut(self.lines_per_row);
        for (row, (lines, factor)) in rows.zip(&mut self.row_factors).enumerate() {
            read_row(row, &mut source)?;
            let finite = source.iter().filter(|number| number.is_finite());
            let row_largest = finite.fold(0.0f32, |largest, number| largest.max(number.abs()));
            let scale = row_scale(row_largest);
            *factor = scale.recip();
            for (scaled, number) in scaled.iter_mut().zip(&source) {
                *scaled = number * scale;
            }
            self.format.narrow(&scaled, &mut rounded);
            for (line, numbers) in lines.iter_mut().zip(rounded.chunks(LINE)) {
                line.0[..numbers.len()].copy_from_slice(numbers);
            }
            self.format.widen(&rounded, &mut scaled);
            for (kept, number) in scaled.iter().zip(&source) {
                let error = (f64::from(kept * *factor) - f64::from(*number)).abs();
                if error.is_finite() {
                    largest_error = largest_error.max(error);
                }
            }
            largest = largest.max(f64::from(row_largest));
        }
        self.relative_error = if largest > 0.0 {
            largest_error / largest
        } else {
            0.0
        };
        Ok(())
    }

    /// Largest absolute rounding error of an entry over the largest absolute entry.
    pub fn relative_error(&self) -> f64 {
        self.relative_error
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.row_factors.len(), self.columns)
    }

    /// `out = self * vector`, accumulated in `f32`.
    ///
    /// # Panics
    ///
    /// When `vector` does not have one number per column, or `out` one per row.
    pub fn multiply(&self, level: SimdLevel, vector: &[f32], out: &mut [f32]) {
        assert_eq!(vector.len(), self.columns, "one number per column");
        assert_eq!(out.len(), self.row_factors.len(), "one number per row");
        // SAFETY: both slices have the lengths asked for, and `out` is borrowed exclusively.
        unsafe { self.multiply_rows(level, vector.as_ptr(), out.as_mut_ptr(), 0..out.len()) };
    }

    /// The rows `rows` of `out = self * vector`.
    ///
    /// # Safety
    ///
    /// `vector` is readable for one number per column, `out` writable for one number per row; both
    /// are aligned, nobody else touches `vector` or those of `out` in `rows`. `rows` exist.
    pub(crate) unsafe fn multiply_rows(
        &self,
        level: SimdLevel,
        vector: *const f32,
        out: *mut f32,
        rows: Range<usize>,
    ) {
        match self.format {
            // SAFETY: as for this function.
            HalfFormat::Float16 => unsafe {
                self.multiply_as::<f16>(level, vector, out, rows.clone());
            },
            // SAFETY: as for this function.
            HalfFormat::Bfloat16 => unsafe {
                self.multiply_as::<bf16>(level, vector, out, rows.clone());
            },
        }
        for row in rows {
            // SAFETY: the caller vouches for every row in `rows`.
            let sum = unsafe { &mut *out.wrapping_add(row) };
            *sum *= self.row_factors[row];
        }
    }

    /// # Safety
    ///
    /// As [`HalfMatrix::multiply_rows`]; `H` is the type of the format.
    unsafe fn multiply_as<H: Stored<Real = f32>>(
        &self,
        level: SimdLevel,
        vector: *const f32,
        out: *mut f32,
        rows: Range<usize>,
    ) {
        const { assert!(size_of::<H>() == size_of::<u16>()) };
        let layout = Layout {
            rows: self.row_factors.len(),
            columns: self.columns,
            stride: self.lines_per_row * LINE,
        };
        let first: *const H = self.lines.as_ptr().cast();
        // SAFETY: `lines` holds `rows` rows of `stride` numbers; the caller vouches for the rest.
        let product = unsafe { Product::new(first, layout, vector, out, rows) };
        H::multiply(level, product);
    }
}

/// The power of two that brings `largest`, the largest absolute entry of a row, to 256 and above,
/// but below 512: in the middle of what `float16` represents with full precision.
fn row_scale(largest: f32) -> f32 {
    const BIAS: i32 = 127;
    const TARGET: i32 = 8;
    if largest == 0.0 {
        return 1.0;
    }
    let exponent = (largest.to_bits() >> 23) as i32 - BIAS;
    // Both the scale and its reciprocal have to be normal numbers.
    let shift = (TARGET - exponent).clamp(1 - BIAS, BIAS - 1);
    f32::from_bits(((shift + BIAS) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_scales_are_powers_of_two_with_a_reciprocal() {
        for largest in [1e-45, 1e-38, 1e-6, 0.999, 1.0, 3.5, 1e5, 65520.0, f32::MAX] {
            let scale = row_scale(largest);
            assert_eq!(scale.to_bits() & 0x7f_ffff, 0, "{largest}");
            assert_eq!(scale * scale.recip(), 1.0, "{largest}");
            assert!(largest * scale < 512.0, "{largest}");
            assert!(largest < 1e-30 || largest * scale >= 256.0, "{largest}");
        }
    }

    #[test]
    fn rows_of_any_magnitude_keep_eleven_bits() {
        let rows = [1e-38f32, 1e-20, 1e-7, 1.0, 1e5, 1e30];
        let matrix: Vec<f32> = rows
            .iter()
            .flat_map(|magnitude| [1.0, -0.337, 0.123, 0.0].map(|entry| entry * magnitude))
            .collect();
        let packed = HalfMatrix::pack(&matrix, 4, HalfFormat::Float16);
        for level in SimdLevel::available() {
            for column in 0..4 {
                let mut vector = [0.0f32; 4];
                vector[column] = 1.0;
                let mut out = [0.0f32; 6];
                packed.multiply(level, &vector, &mut out);
                for (row, found) in out.into_iter().enumerate() {
                    let expected = matrix[row * 4 + column];
                    assert!((found - expected).abs() <= expected.abs() * 2f32.powi(-11));
                }
            }
        }
    }

    #[test]
    fn the_error_is_that_of_the_format() {
        let matrix: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.7).sin()).collect();
        let float16 = HalfMatrix::pack(&matrix, 50, HalfFormat::Float16).relative_error();
        let bfloat16 = HalfMatrix::pack(&matrix, 50, HalfFormat::Bfloat16).relative_error();
        assert!(float16 > 2e-5 && float16 <= 2f64.powi(-11), "{float16}");
        assert!(bfloat16 > 2e-4 && bfloat16 <= 2f64.powi(-8), "{bfloat16}");
        let exact = HalfMatrix::pack(&[1.0, 2.0, -3.0, 0.5], 2, HalfFormat::Float16);
        assert_eq!(exact.relative_error(), 0.0);
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        let matrix = [f32::NAN, 1.0, f32::INFINITY, 2.0];
        let packed = HalfMatrix::pack(&matrix, 2, HalfFormat::Float16);
        let mut out = [0.0; 2];
        packed.multiply(SimdLevel::best(), &[1.0, 1.0], &mut out);
        assert!(out[0].is_nan());
        assert_eq!(out[1], f32::INFINITY);
        assert_eq!(packed.relative_error(), 0.0);
    }
}
