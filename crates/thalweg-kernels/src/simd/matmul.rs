//! Matrix products of expressions.
//!
//! Sums run over a fixed number of partial sums in a fixed order, so that every processor gets
//! the same result. Products are rounded before they are added.

use super::isa::{Isa, Vectorized};
use super::map::{load, store};
use super::number::{Boolean, Number};
use super::run::{ReadRun, WriteRun};

/// Rows computed together: a row of the right matrix is loaded once for all of them.
const ROWS: usize = 4;
/// Columns computed together, and partial sums of a dot product.
const COLUMNS: usize = 64;

/// Extents of `(rows, inner) @ (inner, columns)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extents {
    pub(crate) rows: usize,
    pub(crate) inner: usize,
    pub(crate) columns: usize,
}

/// A number with the type its products are summed in.
pub(crate) trait Summand: Number {
    /// The type of the sum.
    type Sum: Number;
    /// The number as a sum.
    fn wide(self) -> Self::Sum;
    /// The sum rounded to the number's type.
    fn narrow(sum: Self::Sum) -> Self;
}

macro_rules! summed_in_own_type {
    ($($type:ty),*) => {
        $(
            impl Summand for $type {
                type Sum = Self;

                #[inline(always)]
                fn wide(self) -> Self {
                    self
                }

                #[inline(always)]
                fn narrow(sum: Self) -> Self {
                    sum
                }
            }
        )*
    };
}

summed_in_own_type!(i8, i16, i32, i64, u8, u16, u32, u64, f32, f64, Boolean);

impl Summand for half::f16 {
    type Sum = f32;

    #[inline(always)]
    fn wide(self) -> f32 {
        super::half_float::half_to_f32(self)
    }

    #[inline(always)]
    fn narrow(sum: f32) -> Self {
        super::half_float::f32_to_half(sum)
    }
}

/// `out = a @ b` for row-major matrices.
///
/// # Panics
///
/// When a run is too short: a plan that was checked when it was made is wrong.
pub(crate) fn matmul<T: Summand>(
    isa: Isa,
    a: ReadRun<'_>,
    b: ReadRun<'_>,
    out: WriteRun<'_>,
    extents: Extents,
) {
    let Extents {
        rows,
        inner,
        columns,
    } = extents;
    isa.run(MatMul::<T> {
        a: a.elements(rows * inner),
        b: b.elements(inner * columns),
        out: out.elements(rows * columns),
        extents,
    });
}

struct MatMul<T> {
    a: *const T,
    b: *const T,
    out: *mut T,
    extents: Extents,
}

impl<T: Summand> Vectorized for MatMul<T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let rows = self.extents.rows;
        let whole = rows - rows % ROWS;
        for row in (0..whole).step_by(ROWS) {
            self.some_rows::<ROWS>(row);
        }
        for row in whole..rows {
            self.some_rows::<1>(row);
        }
    }
}

impl<T: Summand> MatMul<T> {
    /// Rows `first_row` to `first_row + R`.
    #[inline(always)]
    fn some_rows<const R: usize>(&self, first_row: usize) {
        if self.extents.columns == 1 {
            self.dot_products::<R>(first_row);
            return;
        }
        let columns = self.extents.columns;
        let whole = columns - columns % COLUMNS;
        for column in (0..whole).step_by(COLUMNS) {
            self.panel::<R>(first_row, column, COLUMNS);
        }
        if whole < columns {
            self.panel::<R>(first_row, whole, columns - whole);
        }
    }

    /// `R` rows of `width <= COLUMNS` columns.
    #[inline(always)]
    fn panel<const R: usize>(&self, first_row: usize, first_column: usize, width: usize) {
        let Extents { inner, columns, .. } = self.extents;
        let mut sums = [[T::Sum::default(); COLUMNS]; R];
        for k in 0..inner {
            for (r, sums) in sums.iter_mut().enumerate() {
                // SAFETY: row below `rows`, `k` below `inner`; `matmul` checked the length.
                let a = unsafe { load(self.a, (first_row + r) * inner + k) }.wide();
                for (offset, sum) in sums[..width].iter_mut().enumerate() {
                    let index = k * columns + first_column + offset;
                    // SAFETY: `k` below `inner`, the column below `columns`.
                    let b = unsafe { load(self.b, index) }.wide();
                    *sum = sum.plus(a.times(b));
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (offset, sum) in sums[..width].iter().enumerate() {
                let index = (first_row + r) * columns + first_column + offset;
                // SAFETY: the row is below `rows`, the column below `columns`.
                unsafe { store(self.out, index, T::narrow(*sum)) };
            }
        }
    }

    /// `R` rows times the only column.
    #[inline(always)]
    fn dot_products<const R: usize>(&self, first_row: usize) {
        let inner = self.extents.inner;
        let mut sums = [[T::Sum::default(); COLUMNS]; R];
        let whole = inner - inner % COLUMNS;
        for start in (0..whole).step_by(COLUMNS) {
            for (r, sums) in sums.iter_mut().enumerate() {
                for (offset, sum) in sums.iter_mut().enumerate() {
                    let k = start + offset;
                    // SAFETY: the row is below `rows`, `k` below `inner`.
                    let a = unsafe { load(self.a, (first_row + r) * inner + k) }.wide();
                    // SAFETY: `k` is below `inner`, and there is one column.
                    let b = unsafe { load(self.b, k) }.wide();
                    *sum = sum.plus(a.times(b));
                }
            }
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            for k in whole..inner {
                // SAFETY: the row is below `rows`, `k` below `inner`.
                let a = unsafe { load(self.a, (first_row + r) * inner + k) }.wide();
                // SAFETY: `k` is below `inner`, and there is one column.
                let b = unsafe { load(self.b, k) }.wide();
                sums[k - whole] = sums[k - whole].plus(a.times(b));
            }
            let mut half = COLUMNS / 2;
            while half > 0 {
                let (low, high) = sums.split_at_mut(half);
                for (low, high) in low.iter_mut().zip(high) {
                    *low = low.plus(*high);
                }
                half /= 2;
            }
            // SAFETY: the row is below `rows`, and there is one column.
            unsafe { store(self.out, first_row + r, T::narrow(sums[0])) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product<T: Summand>(isa: Isa, a: &[T], b: &[T], extents: Extents) -> Vec<T> {
        let mut out = vec![T::default(); extents.rows * extents.columns];
        let size_bytes = size_of_val(out.as_slice());
        // SAFETY: `out` is not touched otherwise until the product is computed.
        let run = unsafe { WriteRun::from_raw(out.as_mut_ptr().cast(), size_bytes) };
        matmul::<T>(
            isa,
            ReadRun::of_slice(a),
            ReadRun::of_slice(b),
            run,
            extents,
        );
        out
    }

    #[test]
    fn every_extent_is_covered() {
        for rows in [1, 3, 4, 9] {
            for inner in [0, 1, 5, 63, 64, 200] {
                for columns in [1, 2, 63, 64, 65, 130] {
                    let a: Vec<i32> = (0..rows * inner).map(|i| (i % 17) as i32 - 8).collect();
                    let b: Vec<i32> = (0..inner * columns).map(|i| (i % 13) as i32 - 6).collect();
                    let mut expected = vec![0i32; rows * columns];
                    for r in 0..rows {
                        for c in 0..columns {
                            expected[r * columns + c] = (0..inner)
                                .map(|k| a[r * inner + k] * b[k * columns + c])
                                .sum();
                        }
                    }
                    let extents = Extents {
                        rows,
                        inner,
                        columns,
                    };
                    let singles = |elements: &[i32]| elements.iter().map(|&e| e as f32).collect();
                    let (a_single, b_single): (Vec<f32>, Vec<f32>) = (singles(&a), singles(&b));
                    for isa in Isa::available() {
                        assert_eq!(product(isa, &a, &b, extents), expected, "{extents:?}");
                        let single = product(isa, &a_single, &b_single, extents);
                        assert_eq!(single, singles(&expected), "{extents:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn integers_wrap_and_halves_sum_in_single_precision() {
        let isa = Isa::detect();
        let extents = Extents {
            rows: 1,
            inner: 2,
            columns: 1,
        };
        assert_eq!(product(isa, &[200u8, 100], &[2, 1], extents), [244]);
        let half = half::f16::from_f32;
        let a = [half(2048.0), half(1.0)];
        let b = [half(1.0), half(1.0)];
        // 2049 is no half; the sum is rounded once, at the end, to even.
        assert_eq!(product(isa, &a, &b, extents), [half(2048.0)]);
        let a = [half(60000.0), half(-60000.0)];
        let b = [half(2.0), half(2.0)];
        assert_eq!(product(isa, &a, &b, extents), [half(0.0)]);
    }

    #[test]
    fn the_result_does_not_depend_on_the_processor() {
        let a: Vec<f32> = (0..1000u16).map(|i| f32::from(i).sin()).collect();
        let b: Vec<f32> = (0..1000u16).map(|i| f32::from(i).cos()).collect();
        let extents = Extents {
            rows: 1,
            inner: 1000,
            columns: 1,
        };
        let results: Vec<_> = Isa::available()
            .into_iter()
            .map(|isa| product(isa, &a, &b, extents)[0].to_bits())
            .collect();
        assert!(
            results.windows(2).all(|pair| pair[0] == pair[1]),
            "{results:?}"
        );
    }
}
