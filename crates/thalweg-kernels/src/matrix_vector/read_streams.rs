//! How fast one core can read: the limit of a matrix-vector product.
//!
//! Sums memory and does nothing else, walking a number of rows side by side. Which number is best
//! depends on the processor, on the row length and on where the memory lies, so the limit is the
//! best of them all.

#![expect(unsafe_code, reason = "SIMD loads")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::lanes::Widen;
use super::level::{SimdLevel, Vectorised, dispatch};

/// Numbers of rows a read may walk side by side.
pub const STREAM_COUNTS: [usize; 8] = [1, 2, 3, 4, 6, 8, 12, 16];

/// The fastest way found to read some memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReadLimit {
    /// Bytes read per second.
    pub bytes_per_second: f64,
    /// Rows walked side by side.
    pub streams: usize,
    /// Median duration of one pass over all rows.
    pub pass: Duration,
}

/// Measures how fast the calling thread can read `rows`, rows of `columns` numbers: for every
/// entry of [`STREAM_COUNTS`] the median of `rounds` passes, taken in turns; the best of them.
///
/// Rows should be as long as those of the matrix in question, and the memory the same.
pub fn read_limit(rows: &[f32], columns: usize, rounds: usize) -> ReadLimit {
    let level = SimdLevel::best();
    let mut passes = [const { Vec::new() }; STREAM_COUNTS.len()];
    for _ in 0..rounds.max(1) {
        for (streams, passes) in STREAM_COUNTS.into_iter().zip(&mut passes) {
            let start = Instant::now();
            black_box(sum_rows(level, rows, columns, streams));
            passes.push(start.elapsed());
        }
    }
    let (pass, streams) = passes
        .into_iter()
        .map(|mut passes| {
            passes.sort_unstable();
            passes[passes.len() / 2]
        })
        .zip(STREAM_COUNTS)
        .min()
        .unwrap_or_default();
    ReadLimit {
        bytes_per_second: size_of_val(rows) as f64 / pass.as_secs_f64().max(f64::MIN_POSITIVE),
        streams,
        pass,
    }
}

/// The sum of `rows`, rows of `columns` numbers of which `streams` are walked side by side.
///
/// # Panics
///
/// When `streams` is not one of [`STREAM_COUNTS`].
pub fn sum_rows(level: SimdLevel, rows: &[f32], columns: usize, streams: usize) -> f32 {
    let columns = columns.clamp(1, rows.len().max(1));
    match streams {
        1 => dispatch(level, SumRows::<1> { rows, columns }),
        2 => dispatch(level, SumRows::<2> { rows, columns }),
        3 => dispatch(level, SumRows::<3> { rows, columns }),
        4 => dispatch(level, SumRows::<4> { rows, columns }),
        6 => dispatch(level, SumRows::<6> { rows, columns }),
        8 => dispatch(level, SumRows::<8> { rows, columns }),
        12 => dispatch(level, SumRows::<12> { rows, columns }),
        16 => dispatch(level, SumRows::<16> { rows, columns }),
        _ => panic!("{streams} streams: expected one of {STREAM_COUNTS:?}"),
    }
}

struct SumRows<'a, const STREAMS: usize> {
    rows: &'a [f32],
    columns: usize,
}

impl<I: Widen<f32>, const STREAMS: usize> Vectorised<I> for SumRows<'_, STREAMS> {
    type Output = f32;

    #[inline(always)]
    fn call(self, simd: I) -> f32 {
        let mut groups = self.rows.chunks_exact(self.columns * STREAMS);
        let mut total = 0.0;
        for group in groups.by_ref() {
            total += sum_side_by_side::<I, STREAMS>(simd, group, self.columns);
        }
        for row in groups.remainder().chunks(self.columns) {
            total += sum_side_by_side::<I, 1>(simd, row, row.len());
        }
        total
    }
}

/// The sum of `STREAMS` rows of `columns` numbers, which fill `group`.
#[inline(always)]
fn sum_side_by_side<I: Widen<f32>, const STREAMS: usize>(
    simd: I,
    group: &[f32],
    columns: usize,
) -> f32 {
    assert!(group.len() >= STREAMS * columns);
    // SAFETY: the array holds WIDTH numbers, the widest register there is.
    let ones = unsafe { simd.load([1.0f32; 16].as_ptr()) };
    let mut sums = [simd.zero(); STREAMS];
    let mut column = 0;
    while column < columns {
        let count = I::WIDTH.min(columns - column);
        for (index, sum) in sums.iter_mut().enumerate() {
            let from = group.as_ptr().wrapping_add(index * columns + column);
            let numbers = if count == I::WIDTH {
                // SAFETY: row `index` holds a whole register from `column` on.
                unsafe { simd.load(from) }
            } else {
                // SAFETY: row `index` holds `count` numbers from `column` on.
                unsafe { simd.load_part(from, count) }
            };
            *sum = simd.multiply_add(numbers, ones, *sum);
        }
        column += count;
    }
    sums.into_iter().map(|sum| simd.sum(sum)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_read_sees_all_numbers() {
        for level in SimdLevel::available() {
            for streams in STREAM_COUNTS {
                for (rows, columns) in [(1, 1), (37, 19), (16, 64), (50, 100)] {
                    let numbers: Vec<f32> = (0..rows * columns).map(|i| (i % 7) as f32).collect();
                    let expected: f32 = numbers.iter().sum();
                    assert_eq!(sum_rows(level, &numbers, columns, streams), expected);
                }
            }
        }
    }

    #[test]
    fn the_limit_is_one_of_the_ways() {
        let limit = read_limit(&vec![1.0; 1 << 16], 256, 3);
        assert!(STREAM_COUNTS.contains(&limit.streams));
        assert!(limit.bytes_per_second > 0.0);
    }
}
