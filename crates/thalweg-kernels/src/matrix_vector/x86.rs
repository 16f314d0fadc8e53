//! AVX2 and AVX-512 registers.
//!
//! The methods enable no instructions themselves: they are inlined into a function that does (see
//! [`super::level::Vectorised`]), which the proof `self` of the level shows to be allowed.

#![expect(unsafe_code, reason = "SIMD intrinsics and loads from raw memory")]

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::lanes::{Lanes, Widen, part};
use super::level::{Avx2, Avx512};

/// Bit `lane` set for each `lane < count`.
#[inline(always)]
fn first_lanes(count: usize) -> u16 {
    ((1u32 << count) - 1) as u16
}

macro_rules! x86_lanes {
    (
        $level:ty, $real:ty, $register:ty, $width:literal,
        zero: $zero:ident, load: $load:ident, multiply_add: $multiply_add:ident, add: $add:ident,
        load_part: |$from:ident, $count:ident| $load_part:expr,
        sum: |$lanes:ident| $sum:expr $(,)?
    ) => {
        impl Lanes<$real> for $level {
            type Register = $register;
            const WIDTH: usize = $width;
            const SIDE_BY_SIDE: bool = true;

            #[inline(always)]
            fn zero(self) -> Self::Register {
                // SAFETY: `self` proves the level.
                unsafe { $zero() }
            }

            #[inline(always)]
            unsafe fn load(self, from: *const $real) -> Self::Register {
                // SAFETY: `self` proves the level; the caller vouches for WIDTH numbers.
                unsafe { $load(from) }
            }

            #[inline(always)]
            unsafe fn load_part(self, $from: *const $real, $count: usize) -> Self::Register {
                $load_part
            }

            #[inline(always)]
            fn multiply_add(
                self,
                a: Self::Register,
                b: Self::Register,
                sum: Self::Register,
            ) -> Self::Register {
                // SAFETY: `self` proves the level.
                unsafe { $multiply_add(a, b, sum) }
            }

            #[inline(always)]
            fn add(self, a: Self::Register, b: Self::Register) -> Self::Register {
                // SAFETY: `self` proves the level.
                unsafe { $add(a, b) }
            }

            #[inline(always)]
            fn sum(self, $lanes: Self::Register) -> $real {
                $sum
            }

            #[inline(always)]
            fn prefetch(self, at: *const u8) {
                // SAFETY: a hint; it never faults.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
            }
        }

        impl Widen<$real> for $level {
            #[inline(always)]
            unsafe fn widen(self, from: *const $real) -> Self::Register {
                // SAFETY: as for this function.
                unsafe { self.load(from) }
            }

            #[inline(always)]
            unsafe fn widen_part(self, from: *const $real, count: usize) -> Self::Register {
                // SAFETY: as for this function.
                unsafe { self.load_part(from, count) }
            }
        }
    };
}

x86_lanes!(
    Avx512, f32, __m512, 16,
    zero: _mm512_setzero_ps, load: _mm512_loadu_ps, multiply_add: _mm512_fmadd_ps, add: _mm512_add_ps,
    // SAFETY: the level is proved; masked lanes are not read.
    load_part: |from, count| unsafe { _mm512_maskz_loadu_ps(first_lanes(count), from) },
    // SAFETY: the level is proved.
    sum: |lanes| unsafe { _mm512_reduce_add_ps(lanes) },
);

x86_lanes!(
    Avx512, f64, __m512d, 8,
    zero: _mm512_setzero_pd, load: _mm512_loadu_pd, multiply_add: _mm512_fmadd_pd, add: _mm512_add_pd,
    // SAFETY: the level is proved; masked lanes are not read.
    load_part: |from, count| unsafe { _mm512_maskz_loadu_pd(first_lanes(count) as u8, from) },
    // SAFETY: the level is proved.
    sum: |lanes| unsafe { _mm512_reduce_add_pd(lanes) },
);

x86_lanes!(
    Avx2, f32, __m256, 8,
    zero: _mm256_setzero_ps, load: _mm256_loadu_ps, multiply_add: _mm256_fmadd_ps, add: _mm256_add_ps,
    // SAFETY: the caller vouches for `count` numbers.
    load_part: |from, count| from_array_f32(unsafe { part(from, count) }),
    sum: |lanes| to_array_f32(lanes).into_iter().sum(),
);

x86_lanes!(
    Avx2, f64, __m256d, 4,
    zero: _mm256_setzero_pd, load: _mm256_loadu_pd, multiply_add: _mm256_fmadd_pd, add: _mm256_add_pd,
    // SAFETY: the caller vouches for `count` numbers.
    load_part: |from, count| from_array_f64(unsafe { part(from, count) }),
    sum: |lanes| to_array_f64(lanes).into_iter().sum(),
);

// Arrays and registers of the same size: once per row, so the way through memory costs nothing.

#[inline(always)]
fn from_array_f32(numbers: [f32; 8]) -> __m256 {
    // SAFETY: same size, and every bit pattern is valid.
    unsafe { std::mem::transmute(numbers) }
}

#[inline(always)]
fn to_array_f32(lanes: __m256) -> [f32; 8] {
    // SAFETY: same size, and every bit pattern is valid.
    unsafe { std::mem::transmute(lanes) }
}

#[inline(always)]
fn from_array_f64(numbers: [f64; 4]) -> __m256d {
    // SAFETY: same size, and every bit pattern is valid.
    unsafe { std::mem::transmute(numbers) }
}

#[inline(always)]
fn to_array_f64(lanes: __m256d) -> [f64; 4] {
    // SAFETY: same size, and every bit pattern is valid.
    unsafe { std::mem::transmute(lanes) }
}

macro_rules! x86_widen {
    ($level:ty, $half:ty, load: $load:ident, load_part: |$from:ident, $count:ident| $load_part:expr, $widen:ident) => {
        impl Widen<$half> for $level {
            #[inline(always)]
            unsafe fn widen(self, from: *const $half) -> <Self as Lanes<f32>>::Register {
                // SAFETY: `self` proves the level; the caller vouches for WIDTH elements.
                let stored = unsafe { $load(from.cast()) };
                $widen(self, stored)
            }

            #[inline(always)]
            unsafe fn widen_part(
                self,
                $from: *const $half,
                $count: usize,
            ) -> <Self as Lanes<f32>>::Register {
                $widen(self, $load_part)
            }
        }
    };
}

x86_widen!(
    Avx512, f16, load: _mm256_loadu_si256,
    // SAFETY: the level is proved; masked lanes are not read.
    load_part: |from, count| unsafe { _mm256_maskz_loadu_epi16(first_lanes(count), from.cast()) },
    widen_f16_avx512
);
x86_widen!(
    Avx512, bf16, load: _mm256_loadu_si256,
    // SAFETY: the level is proved; masked lanes are not read.
    load_part: |from, count| unsafe { _mm256_maskz_loadu_epi16(first_lanes(count), from.cast()) },
    widen_bf16_avx512
);
x86_widen!(
    Avx2, f16, load: _mm_loadu_si128,
    // SAFETY: the caller vouches for `count` elements.
    load_part: |from, count| from_array_u16(unsafe { part(from.cast(), count) }),
    widen_f16_avx2
);
x86_widen!(
    Avx2, bf16, load: _mm_loadu_si128,
    // SAFETY: the caller vouches for `count` elements.
    load_part: |from, count| from_array_u16(unsafe { part(from.cast(), count) }),
    widen_bf16_avx2
);

#[inline(always)]
fn from_array_u16(numbers: [u16; 8]) -> __m128i {
    // SAFETY: same size, and every bit pattern is valid.
    unsafe { std::mem::transmute(numbers) }
}

#[inline(always)]
fn widen_f16_avx512(_level: Avx512, stored: __m256i) -> __m512 {
    // SAFETY: the argument proves the level.
    unsafe { _mm512_cvtph_ps(stored) }
}

/// A bfloat16 is the upper half of a `f32`.
#[inline(always)]
fn widen_bf16_avx512(_level: Avx512, stored: __m256i) -> __m512 {
    // SAFETY: the argument proves the level.
    let wide = unsafe { _mm512_cvtepu16_epi32(stored) };
    // SAFETY: likewise.
    let shifted = unsafe { _mm512_slli_epi32::<16>(wide) };
    // SAFETY: likewise.
    unsafe { _mm512_castsi512_ps(shifted) }
}

#[inline(always)]
fn widen_f16_avx2(_level: Avx2, stored: __m128i) -> __m256 {
    // SAFETY: the argument proves the level.
    unsafe { _mm256_cvtph_ps(stored) }
}

/// A bfloat16 is the upper half of a `f32`.
#[inline(always)]
fn widen_bf16_avx2(_level: Avx2, stored: __m128i) -> __m256 {
    // SAFETY: the argument proves the level.
    let wide = unsafe { _mm256_cvtepu16_epi32(stored) };
    // SAFETY: likewise.
    let shifted = unsafe { _mm256_slli_epi32::<16>(wide) };
    // SAFETY: likewise.
    unsafe { _mm256_castsi256_ps(shifted) }
}
