//! Registers of pixels: eight or four numbers in double precision, whatever the image holds.

#![expect(unsafe_code, reason = "loads from raw memory other processes own")]

use half::f16;

use super::tiles::Tiles;
use crate::matrix_vector::lanes::{Lanes, part};
use crate::matrix_vector::level::{Portable, SimdLevel, dispatch};
use crate::simd::number::{Boolean, Number};

/// Tiles whose sums are taken together.
pub(super) const BLOCK: usize = 8;

/// What centroids need of a register beside [`Lanes`]. Every method has to be `#[inline(always)]`.
pub(super) trait Sums: Lanes<f64> {
    /// A register of one number.
    fn splat(self, number: f64) -> Self::Register;

    /// The sum of all lanes of each register.
    fn sums(self, registers: [Self::Register; BLOCK]) -> [f64; BLOCK];
}

/// Registers that can be filled from pixels of type `T`.
pub(super) trait Pixels<T>: Sums {
    /// A register full of pixels.
    ///
    /// # Safety
    ///
    /// `from` is readable for `WIDTH` pixels.
    unsafe fn pixels(self, from: *const T) -> Self::Register;

    /// `count < WIDTH` pixels, then zeros.
    ///
    /// # Safety
    ///
    /// `from` is readable for `count` pixels.
    unsafe fn pixels_part(self, from: *const T, count: usize) -> Self::Register;
}

/// A pixel type centroids are computed of.
pub(super) trait Pixel: Number {
    /// Computes all centroids of an image with the instructions of `level`.
    fn centroids(level: SimdLevel, tiles: Tiles<'_, Self>);
}

impl Sums for Portable {
    #[inline(always)]
    fn splat(self, number: f64) -> Self::Register {
        [number; 8]
    }

    #[inline(always)]
    fn sums(self, registers: [Self::Register; BLOCK]) -> [f64; BLOCK] {
        registers.map(|lanes| self.sum(lanes))
    }
}

/// Pixels without an instruction of their own: the compiler finds what there is.
macro_rules! plain_pixels {
    ($level:ty, $width:literal, $from_array:path: $($pixel:ty),*) => {
        $(
            impl Pixels<$pixel> for $level {
                #[inline(always)]
                unsafe fn pixels(self, from: *const $pixel) -> Self::Register {
                    // SAFETY: the caller vouches for WIDTH pixels.
                    let pixels = unsafe { from.cast::<[$pixel; $width]>().read() };
                    $from_array(pixels.map(Number::to_f64))
                }

                #[inline(always)]
                unsafe fn pixels_part(self, from: *const $pixel, count: usize) -> Self::Register {
                    // SAFETY: the caller vouches for `count` pixels.
                    let pixels: [$pixel; $width] = unsafe { part(from, count) };
                    $from_array(pixels.map(Number::to_f64))
                }
            }
        )*
    };
}

plain_pixels!(
    Portable, 8, std::convert::identity:
    i8, i16, i32, i64, u8, u16, u32, u64, f16, f32, f64, Boolean
);

macro_rules! pixel_types {
    ($($pixel:ty),*) => {
        $(
            impl Pixel for $pixel {
                fn centroids(level: SimdLevel, tiles: Tiles<'_, Self>) {
                    dispatch(level, tiles);
                }
            }
        )*
    };
}

pixel_types!(i8, i16, i32, i64, u8, u16, u32, u64, f16, f32, f64, Boolean);

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use half::f16;

    use super::{BLOCK, Boolean, Number, Pixels, Sums, part};
    use crate::matrix_vector::lanes::Lanes;
    use crate::matrix_vector::level::{Avx2, Avx512};

    impl Sums for Avx512 {
        #[inline(always)]
        fn splat(self, number: f64) -> Self::Register {
            // SAFETY: `self` proves the level.
            unsafe { _mm512_set1_pd(number) }
        }

        /// Adds pairs of neighbouring lanes until one is left of each register, all at once.
        #[inline(always)]
        fn sums(self, r: [Self::Register; BLOCK]) -> [f64; BLOCK] {
            let pairs = |a, b| {
                // SAFETY: `self` proves the level.
                let even = unsafe { _mm512_unpacklo_pd(a, b) };
                // SAFETY: likewise.
                Lanes::<f64>::add(self, even, unsafe { _mm512_unpackhi_pd(a, b) })
            };
            let quarters = |a, b| {
                // SAFETY: `self` proves the level.
                let even = unsafe { _mm512_shuffle_f64x2::<0b10_00_10_00>(a, b) };
                // SAFETY: likewise.
                Lanes::<f64>::add(self, even, unsafe {
                    _mm512_shuffle_f64x2::<0b11_01_11_01>(a, b)
                })
            };
            let low = quarters(pairs(r[0], r[1]), pairs(r[2], r[3]));
            let high = quarters(pairs(r[4], r[5]), pairs(r[6], r[7]));
            let sums = quarters(low, high);
            // SAFETY: same size, and every bit pattern is valid.
            unsafe { std::mem::transmute(sums) }
        }
    }

    impl Sums for Avx2 {
        #[inline(always)]
        fn splat(self, number: f64) -> Self::Register {
            // SAFETY: `self` proves the level.
            unsafe { _mm256_set1_pd(number) }
        }

        #[inline(always)]
        fn sums(self, r: [Self::Register; BLOCK]) -> [f64; BLOCK] {
            // SAFETY: `self` proves the level.
            let pairs = |a, b| unsafe { _mm256_hadd_pd(a, b) };
            let halves = |a, b| {
                // SAFETY: `self` proves the level.
                let low = unsafe { _mm256_permute2f128_pd::<0x20>(a, b) };
                // SAFETY: likewise.
                Lanes::<f64>::add(self, low, unsafe { _mm256_permute2f128_pd::<0x31>(a, b) })
            };
            let sums = [
                halves(pairs(r[0], r[1]), pairs(r[2], r[3])),
                halves(pairs(r[4], r[5]), pairs(r[6], r[7])),
            ];
            // SAFETY: same size, and every bit pattern is valid.
            unsafe { std::mem::transmute(sums) }
        }
    }

    /// Bit `lane` set for each `lane < count`, with `count < 8`.
    #[inline(always)]
    fn first_lanes(count: usize) -> u8 {
        (1u8 << count) - 1
    }

    impl Pixels<f32> for Avx512 {
        #[inline(always)]
        unsafe fn pixels(self, from: *const f32) -> Self::Register {
            // SAFETY: `self` proves the level; the caller vouches for WIDTH pixels.
            let single = unsafe { _mm256_loadu_ps(from) };
            // SAFETY: `self` proves the level.
            unsafe { _mm512_cvtps_pd(single) }
        }

        #[inline(always)]
        unsafe fn pixels_part(self, from: *const f32, count: usize) -> Self::Register {
            // SAFETY: `self` proves the level; masked lanes are not read.
            let single = unsafe { _mm256_maskz_loadu_ps(first_lanes(count), from) };
            // SAFETY: `self` proves the level.
            unsafe { _mm512_cvtps_pd(single) }
        }
    }

    impl Pixels<f64> for Avx512 {
        #[inline(always)]
        unsafe fn pixels(self, from: *const f64) -> Self::Register {
            // SAFETY: `self` proves the level; the caller vouches for WIDTH pixels.
            unsafe { _mm512_loadu_pd(from) }
        }

        #[inline(always)]
        unsafe fn pixels_part(self, from: *const f64, count: usize) -> Self::Register {
            // SAFETY: `self` proves the level; masked lanes are not read.
            unsafe { _mm512_maskz_loadu_pd(first_lanes(count), from) }
        }
    }

    /// A mask of the first `count` of four lanes of 32 bits.
    #[inline(always)]
    fn first_of_four(_level: Avx2, count: usize) -> __m128i {
        const ENDS: [i32; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];
        // SAFETY: `count < 4`, so four numbers follow; `_level` proves the instruction.
        unsafe { _mm_loadu_si128(ENDS[4 - count..].as_ptr().cast()) }
    }

    impl Pixels<f32> for Avx2 {
        #[inline(always)]
        unsafe fn pixels(self, from: *const f32) -> Self::Register {
            // SAFETY: the caller vouches for WIDTH pixels.
            let single = unsafe { _mm_loadu_ps(from) };
            // SAFETY: `self` proves the level.
            unsafe { _mm256_cvtps_pd(single) }
        }

        #[inline(always)]
        unsafe fn pixels_part(self, from: *const f32, count: usize) -> Self::Register {
            let mask = first_of_four(self, count);
            // SAFETY: `self` proves the level; masked lanes are not read.
            let single = unsafe { _mm_maskload_ps(from, mask) };
            // SAFETY: `self` proves the level.
            unsafe { _mm256_cvtps_pd(single) }
        }
    }

    impl Pixels<f64> for Avx2 {
        #[inline(always)]
        unsafe fn pixels(self, from: *const f64) -> Self::Register {
            // SAFETY: `self` proves the level; the caller vouches for WIDTH pixels.
            unsafe { _mm256_loadu_pd(from) }
        }

        #[inline(always)]
        unsafe fn pixels_part(self, from: *const f64, count: usize) -> Self::Register {
            // SAFETY: `self` proves the level.
            let mask = unsafe { _mm256_cvtepi32_epi64(first_of_four(self, count)) };
            // SAFETY: `self` proves the level; masked lanes are not read.
            unsafe { _mm256_maskload_pd(from, mask) }
        }
    }

    #[inline(always)]
    fn eight(numbers: [f64; 8]) -> __m512d {
        // SAFETY: same size, and every bit pattern is valid.
        unsafe { std::mem::transmute(numbers) }
    }

    #[inline(always)]
    fn four(numbers: [f64; 4]) -> __m256d {
        // SAFETY: same size, and every bit pattern is valid.
        unsafe { std::mem::transmute(numbers) }
    }

    plain_pixels!(Avx512, 8, eight: i8, i16, i32, i64, u8, u16, u32, u64, f16, Boolean);
    plain_pixels!(Avx2, 4, four: i8, i16, i32, i64, u8, u16, u32, u64, f16, Boolean);
}
