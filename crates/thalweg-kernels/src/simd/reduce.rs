//! One number from many: sums, and the largest or smallest element.
//!
//! Floating-point sums are taken in double precision, eight partial sums side by side over blocks
//! that are then added up in pairs: the error grows with the logarithm of the number of elements.

use super::isa::{Isa, Vectorized};
use super::map::load;
use super::number::{Boolean, Number};
use super::run::ReadRun;

/// Partial results side by side.
const LANES: usize = 8;
/// Elements whose sum is taken without pairing.
const BLOCK: usize = 1024;
/// Blocks are paired this often at most: 2^54 of them.
const LEVELS: usize = 54;

/// An integer or truth value, whose sums are exact modulo 2^64.
pub(crate) trait Whole: Number {
    /// Its two's complement in 64 bits.
    fn to_bits(self) -> u64;
    /// The low bits; of truth values whether there is any.
    fn from_bits(bits: u64) -> Self;
}

macro_rules! whole {
    ($($type:ty),*) => {
        $(
            impl Whole for $type {
                #[inline(always)]
                fn to_bits(self) -> u64 {
                    self as u64
                }

                #[inline(always)]
                fn from_bits(bits: u64) -> Self {
                    bits as Self
                }
            }
        )*
    };
}

whole!(i8, i16, i32, i64, u8, u16, u32, u64);

impl Whole for Boolean {
    #[inline(always)]
    fn to_bits(self) -> u64 {
        u64::from(self.get())
    }

    #[inline(always)]
    fn from_bits(bits: u64) -> Self {
        Self::new(bits != 0)
    }
}

/// The sum of every `step`-th of `count * step` elements from element `first` on, in double
/// precision.
pub(crate) fn sum<T: Number>(
    isa: Isa,
    run: ReadRun<'_>,
    first: usize,
    step: usize,
    count: usize,
) -> f64 {
    let elements = run.elements::<T>(count * step);
    let mut paired = [0.0; LEVELS];
    let blocks = count.div_ceil(BLOCK);
    for block in 0..blocks {
        let start = block * BLOCK;
        let mut sum = isa.run(SumBlock {
            from: elements.wrapping_add(start * step + first),
            step,
            count: BLOCK.min(count - start),
        });
        // As a binary counter carries: a level is full where the block's number has a one.
        let mut level = 0;
        while block >> level & 1 == 1 {
            sum += paired[level];
            level += 1;
        }
        paired[level] = sum;
    }
    (0..LEVELS)
        .filter(|level| blocks >> level & 1 == 1)
        .fold(0.0, |sum, level| sum + paired[level])
}

/// The sum of `count` elements, modulo 2^64.
pub(crate) fn whole_sum<T: Whole>(isa: Isa, run: ReadRun<'_>, count: usize) -> u64 {
    isa.run(WholeSum {
        from: run.elements::<T>(count),
        count,
    })
}

/// The smallest or, with `largest`, the largest of `count` elements, at least one; NaN when any
/// is NaN.
///
/// # Panics
///
/// When there is no element.
pub(crate) fn extreme<T: Number>(isa: Isa, run: ReadRun<'_>, count: usize, largest: bool) -> T {
    let first = run.first::<T>();
    let from = run.elements::<T>(count);
    if largest {
        isa.run(Fold {
            from,
            count,
            first,
            function: T::larger,
        })
    } else {
        isa.run(Fold {
            from,
            count,
            first,
            function: T::smaller,
        })
    }
}

struct SumBlock<T> {
    from: *const T,
    step: usize,
    count: usize,
}

impl<T: Number> Vectorized for SumBlock<T> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        let element = |index: usize| {
            // SAFETY: `sum` checked that every element of the block is there.
            unsafe { load(self.from, index * self.step) }.to_f64()
        };
        let mut sums = [0.0; LANES];
        let whole = self.count / LANES * LANES;
        for start in (0..whole).step_by(LANES) {
            for (lane, sum) in sums.iter_mut().enumerate() {
                *sum += element(start + lane);
            }
        }
        for index in whole..self.count {
            sums[index - whole] += element(index);
        }
        let [a, b, c, d, e, f, g, h] = sums;
        ((a + b) + (c + d)) + ((e + f) + (g + h))
    }
}

struct WholeSum<T> {
    from: *const T,
    count: usize,
}

impl<T: Whole> Vectorized for WholeSum<T> {
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        (0..self.count).fold(0u64, |sum, index| {
            // SAFETY: `whole_sum` checked that `count` elements are there.
            sum.wrapping_add(unsafe { load(self.from, index) }.to_bits())
        })
    }
}

struct Fold<T, F> {
    from: *const T,
    count: usize,
    first: T,
    function: F,
}

impl<T: Number, F: Fn(T, T) -> T> Vectorized for Fold<T, F> {
    type Output = T;

    #[inline(always)]
    fn run(self) -> T {
        let element = |index: usize| {
            // SAFETY: `extreme` checked that `count` elements are there.
            unsafe { load(self.from, index) }
        };
        let mut results = [self.first; LANES];
        let whole = self.count / LANES * LANES;
        for start in (0..whole).step_by(LANES) {
            for (lane, result) in results.iter_mut().enumerate() {
                *result = (self.function)(*result, element(start + lane));
            }
        }
        for index in whole..self.count {
            results[0] = (self.function)(results[0], element(index));
        }
        let mut total = results[0];
        for result in results {
            total = (self.function)(total, result);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_every_length_and_step_are_complete() {
        let numbers: Vec<f64> = (0..5000).map(|index| f64::from(index % 97)).collect();
        for count in [0, 1, 7, 8, 9, 1023, 1024, 1025, 2048, 3072, 5000] {
            let expected: f64 = numbers[..count].iter().sum();
            for isa in Isa::available() {
                let run = ReadRun::of_slice(&numbers);
                assert_eq!(sum::<f64>(isa, run, 0, 1, count), expected);
            }
        }
        let expected: f64 = numbers.iter().skip(1).step_by(2).sum();
        let found = sum::<f64>(Isa::detect(), ReadRun::of_slice(&numbers), 1, 2, 2500);
        assert_eq!(found, expected);
    }

    #[test]
    fn errors_do_not_pile_up_and_infinities_stay() {
        let tenths = vec![0.1f64; 1 << 20];
        let found = sum::<f64>(Isa::detect(), ReadRun::of_slice(&tenths), 0, 1, 1 << 20);
        assert!((found - 104_857.6).abs() < 1e-8, "{found}");
        let numbers = [1.0, f64::INFINITY, 2.0];
        let found = sum::<f64>(Isa::detect(), ReadRun::of_slice(&numbers), 0, 1, 3);
        assert_eq!(found, f64::INFINITY);
    }

    #[test]
    fn whole_sums_wrap_and_extremes_propagate_nan() {
        let isa = Isa::detect();
        let bytes = [200u8, 100];
        let bits = whole_sum::<u8>(isa, ReadRun::of_slice(&bytes), 2);
        assert_eq!((bits, u8::from_bits(bits)), (300, 44));
        let negative = [-3i16, 1];
        let bits = whole_sum::<i16>(isa, ReadRun::of_slice(&negative), 2);
        assert_eq!((bits as i64, i16::from_bits(bits)), (-2, -2));
        for place in 0..20 {
            let mut numbers: Vec<f32> = (0..20).map(|index| index as f32).collect();
            let run = ReadRun::of_slice(&numbers);
            assert_eq!(extreme::<f32>(isa, run, place + 1, true), place as f32);
            assert_eq!(extreme::<f32>(isa, run, place + 1, false), 0.0);
            numbers[place] = f32::NAN;
            let run = ReadRun::of_slice(&numbers);
            assert!(extreme::<f32>(isa, run, 20, true).is_nan());
            assert!(extreme::<f32>(isa, run, 20, false).is_nan());
        }
    }
}
