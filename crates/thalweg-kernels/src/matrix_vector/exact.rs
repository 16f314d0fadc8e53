//! Affine transforms of element types that need no speed: integers, complex numbers and booleans.

#![expect(unsafe_code, reason = "loads from raw memory other processes own")]

use std::ops::Range;

use crate::simd::number::Number;

/// An element type with sums of products; its default is the empty sum.
pub(super) trait Ring: Copy + Default {
    /// `self + other`; integers wrap, booleans or.
    fn plus(self, other: Self) -> Self;
    /// `self * other`; integers wrap, booleans and.
    fn times(self, other: Self) -> Self;
}

impl<T: Number> Ring for T {
    fn plus(self, other: Self) -> Self {
        Number::plus(self, other)
    }
    fn times(self, other: Self) -> Self {
        Number::times(self, other)
    }
}

/// A complex number as NumPy keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub(super) struct Complex<R> {
    real: R,
    imaginary: R,
}

macro_rules! complex {
    ($($real:ty),*) => {
        $(
            impl Ring for Complex<$real> {
                fn plus(self, other: Self) -> Self {
                    Self {
                        real: self.real + other.real,
                        imaginary: self.imaginary + other.imaginary,
                    }
                }
                fn times(self, other: Self) -> Self {
                    Self {
                        real: self.real * other.real - self.imaginary * other.imaginary,
                        imaginary: self.real * other.imaginary + self.imaginary * other.real,
                    }
                }
            }
        )*
    };
}

complex!(f32, f64);

/// The rows `rows` of `out = matrix * vector + bias`, for a matrix of `columns` columns.
///
/// # Safety
///
/// `matrix` is readable for the rows in `rows`, `vector` for `columns` elements, `bias` and `out`
/// for the elements in `rows`, which nobody else touches in `out`; all are aligned.
pub(super) unsafe fn transform_rows<T: Ring>(
    matrix: *const T,
    columns: usize,
    vector: *const T,
    bias: *const T,
    out: *mut T,
    rows: Range<usize>,
) {
    for row in rows {
        let mut sum = T::default();
        for column in 0..columns {
            // SAFETY: the caller vouches for the row.
            let entry = unsafe { matrix.wrapping_add(row * columns + column).read() };
            // SAFETY: the caller vouches for every column.
            let component = unsafe { vector.wrapping_add(column).read() };
            sum = sum.plus(entry.times(component));
        }
        // SAFETY: the caller vouches for the row.
        let offset = unsafe { bias.wrapping_add(row).read() };
        // SAFETY: likewise.
        unsafe { out.wrapping_add(row).write(sum.plus(offset)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::number::Boolean;

    fn transform<T: Ring>(matrix: &[T], vector: &[T], bias: &[T]) -> Vec<T> {
        assert_eq!(matrix.len(), vector.len() * bias.len());
        let mut out = vec![T::default(); bias.len()];
        let (rows, columns) = (bias.len(), vector.len());
        let (matrix, vector, bias) = (matrix.as_ptr(), vector.as_ptr(), bias.as_ptr());
        // SAFETY: the slices have the lengths asked for.
        unsafe { transform_rows(matrix, columns, vector, bias, out.as_mut_ptr(), 0..rows) };
        out
    }

    #[test]
    fn integers_wrap() {
        assert_eq!(
            transform(&[200u8, 100, 1, 1], &[2, 3], &[5, 250]),
            [193, 255]
        );
        assert_eq!(transform(&[i64::MAX], &[2], &[3]), [1]);
    }

    #[test]
    fn truth_is_and_then_or() {
        let [no, yes] = [false, true].map(Boolean::new);
        let out = transform(&[yes, no, yes, yes], &[no, yes], &[no, no]);
        assert_eq!(
            out.into_iter().map(Boolean::get).collect::<Vec<_>>(),
            [false, true]
        );
        assert!(transform(&[no, no], &[yes, yes], &[yes])[0].get());
    }

    #[test]
    fn complex_numbers_multiply() {
        let number = |real: f64, imaginary: f64| Complex { real, imaginary };
        let matrix = [number(1.0, 2.0), number(0.0, -1.0)];
        let vector = [number(3.0, -1.0), number(2.0, 2.0)];
        assert_eq!(
            transform(&matrix, &vector, &[number(0.5, 0.25)]),
            [number(7.5, 3.25)]
        );
    }
}
