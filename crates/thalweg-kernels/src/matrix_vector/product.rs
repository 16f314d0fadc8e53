//! The product itself: rows walked one by one or side by side, as the size of the matrix asks for.
//!
//! Beyond the second-level cache a matrix-vector product only reads, and how fast a core reads
//! depends on how many rows it reads at once; [`super::walk`] has the measurements and the choice.
//! Rows side by side have one register of partial sums each; a single row has four, so that no
//! addition waits for the one before. At the end of a group the hardware prefetcher has to find
//! the next rows, so the last bytes of every row ask for the first bytes of its successor.
//!
//! All rows of a matrix are summed in the same order, whatever group they fall into: the result
//! does not depend on how the rows are spread over threads.

#![expect(unsafe_code, reason = "loads from raw memory other processes own")]

use std::marker::PhantomData;
use std::ops::Range;

use super::lanes::{Stored, Widen};
use super::level::{SimdLevel, Vectorised};
use super::walk::{GROUP_ROWS, HALF_GROUP_ROWS, Walk};

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;
/// Sums of a row that is walked alone.
const CHAINS: usize = 4;
/// First choice for the rows that larger groups leave over.
const SMALL_GROUP_ROWS: usize = 4;

/// A row-major matrix in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// Rows.
    pub(crate) rows: usize,
    /// Elements of a row.
    pub(crate) columns: usize,
    /// Elements from the start of a row to the start of the next, at least `columns`.
    pub(crate) stride: usize,
}

impl Layout {
    /// Rows without gaps.
    pub(crate) fn dense(rows: usize, columns: usize) -> Self {
        Self {
            rows,
            columns,
            stride: columns,
        }
    }
}

/// `out = matrix * vector` for a row-major `matrix` with rows of `columns` numbers, on one thread.
///
/// # Panics
///
/// When `vector` does not have `columns` numbers, or `matrix` not `columns` for each of `out`.
pub fn multiply_f32(
    level: SimdLevel,
    matrix: &[f32],
    columns: usize,
    vector: &[f32],
    out: &mut [f32],
) {
    multiply(level, matrix, columns, vector, out);
}

/// As [`multiply_f32`], in double precision.
///
/// # Panics
///
/// As [`multiply_f32`].
pub fn multiply_f64(
    level: SimdLevel,
    matrix: &[f64],
    columns: usize,
    vector: &[f64],
    out: &mut [f64],
) {
    multiply(level, matrix, columns, vector, out);
}

pub(super) fn multiply<S: Stored>(
    level: SimdLevel,
    matrix: &[S],
    columns: usize,
    vector: &[S::Real],
    out: &mut [S::Real],
) {
    S::multiply(level, Product::of_slices(matrix, columns, vector, out));
}

/// As [`multiply`], walking as told.
#[cfg(test)]
pub(super) fn multiply_walking<S: Stored>(
    level: SimdLevel,
    walk: Walk,
    matrix: &[S],
    columns: usize,
    vector: &[S::Real],
    out: &mut [S::Real],
) {
    let product = Product::of_slices(matrix, columns, vector, out);
    S::multiply(level, Product { walk, ..product });
}

/// Some rows of `out = matrix * vector`.
#[derive(Debug)]
pub(crate) struct Product<'a, S: Stored> {
    matrix: *const S,
    layout: Layout,
    vector: *const S::Real,
    out: *mut S::Real,
    rows: Range<usize>,
    walk: Walk,
    memory: PhantomData<&'a mut [S::Real]>,
}

impl<'a, S: Stored> Product<'a, S> {
    /// All rows of the product of a matrix with rows of `columns` elements.
    fn of_slices(
        matrix: &'a [S],
        columns: usize,
        vector: &'a [S::Real],
        out: &'a mut [S::Real],
    ) -> Self {
        let rows = out.len();
        assert_eq!(vector.len(), columns, "one number per column");
        assert_eq!(Some(matrix.len()), rows.checked_mul(columns), "matrix size");
        let layout = Layout::dense(rows, columns);
        let (matrix, vector, out) = (matrix.as_ptr(), vector.as_ptr(), out.as_mut_ptr());
        // SAFETY: the slices have the lengths asked for, and `out` is borrowed exclusively.
        unsafe { Self::new(matrix, layout, vector, out, 0..rows) }
    }

    /// The rows `rows` of the product.
    ///
    /// # Safety
    ///
    /// During `'a`: `matrix` is readable as `layout` says, `vector` for
    /// `layout.columns` numbers, `out` writable for `layout.rows` numbers, of which nobody else
    /// touches those in `rows`; all are aligned for their type and nobody writes what is read.
    /// `rows` ends at `layout.rows` or before.
    pub(crate) unsafe fn new(
        matrix: *const S,
        layout: Layout,
        vector: *const S::Real,
        out: *mut S::Real,
        rows: Range<usize>,
    ) -> Self {
        Self {
            matrix,
            layout,
            vector,
            out,
            rows,
            memory: PhantomData,
            walk: Walk::of(layout.rows, layout.stride * size_of::<S>(), size_of::<S>()),
        }
    }

    /// All rows from `first` on, up to fewer than `COUNT` left over; returns the first of those.
    #[inline(always)]
    fn groups<I: Widen<S>, const COUNT: usize>(&self, simd: I, first: usize) -> usize {
        let mut row = first;
        while row + COUNT <= self.rows.end {
            let sums = self.group::<I, COUNT>(simd, row);
            for (index, sum) in sums.into_iter().enumerate() {
                // SAFETY: `row + index < rows.end`, and `out` holds every row.
                unsafe { self.out.wrapping_add(row + index).write(simd.sum(sum)) };
            }
            row += COUNT;
        }
        row
    }

    /// The sums of the rows `row..row + COUNT`, which exist, as one register each.
    #[inline(always)]
    fn group<I: Widen<S>, const COUNT: usize>(&self, simd: I, row: usize) -> [I::Register; COUNT] {
        let Layout {
            columns, stride, ..
        } = self.layout;
        let line = LINE_BYTES / size_of::<S>();
        let lines_end = columns / line * line;
        let distance = self.walk.prefetch.distance_bytes / size_of::<S>();
        let row_end = lines_end.saturating_sub(distance);
        let start = self.matrix.wrapping_add(row * stride);
        let mut sums = [simd.zero(); COUNT];

        let mut column = 0;
        if self.walk.prefetch.inside_rows {
            while column < row_end {
                let ahead = start.wrapping_add(column + distance);
                self.line::<I, COUNT>(simd, start, column, ahead, &mut sums);
                column += line;
            }
        } else {
            while column < row_end {
                self.step(simd, start, column, &mut sums);
                column += I::WIDTH;
            }
        }
        let successor = start.wrapping_add(COUNT * stride);
        while column < lines_end {
            let ahead = successor.wrapping_add(column - row_end);
            self.line::<I, COUNT>(simd, start, column, ahead, &mut sums);
            column += line;
        }
        self.rest(simd, start, column, &mut sums);
        sums
    }

    /// All rows, one after the other.
    #[inline(always)]
    fn one_by_one<I: Widen<S>>(&self, simd: I) {
        let chunk = CHAINS * I::WIDTH;
        let chunks_end = self.layout.columns / chunk * chunk;
        for row in self.rows.clone() {
            let start = self.matrix.wrapping_add(row * self.layout.stride);
            let mut sums = [[simd.zero()]; CHAINS];
            let mut column = 0;
            while column < chunks_end {
                for (chain, sum) in sums.iter_mut().enumerate() {
                    self.step(simd, start, column + chain * I::WIDTH, sum);
                }
                column += chunk;
            }
            let [[first], [second], [third], [fourth]] = sums;
            let mut sum = [simd.add(simd.add(first, second), simd.add(third, fourth))];
            self.rest(simd, start, column, &mut sum);
            // SAFETY: `row < rows.end`, and `out` holds every row.
            unsafe { self.out.wrapping_add(row).write(simd.sum(sum[0])) };
        }
    }

    /// Adds one cache line of every row, from `column` on, to `sums`. `ahead` is where the line
    /// lies that the first row will need later; those of the other rows follow at the stride.
    #[inline(always)]
    fn line<I: Widen<S>, const COUNT: usize>(
        &self,
        simd: I,
        start: *const S,
        column: usize,
        ahead: *const S,
        sums: &mut [I::Register; COUNT],
    ) {
        for index in 0..COUNT {
            simd.prefetch(ahead.wrapping_add(index * self.layout.stride).cast());
        }
        for step in 0..LINE_BYTES / size_of::<S>() / I::WIDTH {
            self.step(simd, start, column + step * I::WIDTH, sums);
        }
    }

    /// Adds one register of every row, from `column` on, to `sums`.
    #[inline(always)]
    fn step<I: Widen<S>, const COUNT: usize>(
        &self,
        simd: I,
        start: *const S,
        column: usize,
        sums: &mut [I::Register; COUNT],
    ) {
        // SAFETY: the callers stay inside the row; the vector has as many numbers.
        let vector = unsafe { simd.load(self.vector.wrapping_add(column)) };
        for (index, sum) in sums.iter_mut().enumerate() {
            let from = start.wrapping_add(index * self.layout.stride + column);
            // SAFETY: the callers' rows exist and hold a whole register from `column` on.
            let matrix = unsafe { simd.widen(from) };
            *sum = simd.multiply_add(matrix, vector, *sum);
        }
    }

    /// Adds what is left of every row from `first` on to `sums`.
    #[inline(always)]
    fn rest<I: Widen<S>, const COUNT: usize>(
        &self,
        simd: I,
        start: *const S,
        first: usize,
        sums: &mut [I::Register; COUNT],
    ) {
        let columns = self.layout.columns;
        let mut column = first;
        while column + I::WIDTH <= columns {
            self.step(simd, start, column, sums);
            column += I::WIDTH;
        }
        let count = columns - column;
        if count == 0 {
            return;
        }
        // SAFETY: `column + count` is the end of the row, and of the vector.
        let vector = unsafe { simd.load_part(self.vector.wrapping_add(column), count) };
        for (index, sum) in sums.iter_mut().enumerate() {
            let from = start.wrapping_add(index * self.layout.stride + column);
            // SAFETY: the callers' rows exist and end `count` elements after `column`.
            let matrix = unsafe { simd.widen_part(from, count) };
            *sum = simd.multiply_add(matrix, vector, *sum);
        }
    }
}

impl<S: Stored, I: Widen<S>> Vectorised<I> for Product<'_, S> {
    type Output = ();

    #[inline(always)]
    fn call(self, simd: I) {
        let mut row = self.rows.start;
        if I::SIDE_BY_SIDE {
            row = match self.walk.rows {
                GROUP_ROWS => self.groups::<I, GROUP_ROWS>(simd, row),
                HALF_GROUP_ROWS => self.groups::<I, HALF_GROUP_ROWS>(simd, row),
                _ => return self.one_by_one(simd),
            };
            row = self.groups::<I, SMALL_GROUP_ROWS>(simd, row);
        }
        self.groups::<I, 1>(simd, row);
    }
}
