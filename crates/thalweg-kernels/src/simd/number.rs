//! The element types kernels compute with, and how they convert and combine.
//!
//! Conversions from `f64` are those of C on x86-64, which today's users rely on: truncation
//! towards zero, then the low bits. Where C leaves the result open, it is fixed here to what that
//! processor does, on every platform:
//!
//! | target | outside the target's range | NaN |
//! | --- | --- | --- |
//! | 8 and 16 bits | low bits of the 32-bit integer; 0 beyond 32 bits | 0 |
//! | `int32`, `int64` | the smallest value | the smallest value |
//! | `uint32` | low bits of the 64-bit integer; 0 beyond 64 bits | 0 |
//! | `uint64` | low bits down to -2^63; below that 2^63; 0 from 2^64 on | 2^63 |
//! | `bool` | everything but zero is true | true |

use half::f16;
use thalweg_shm::DType;

use super::half_float::{f32_to_half, f64_to_half, half_to_f32};

/// One byte of a `bool` array: zero is false, everything else true.
#[derive(Clone, Copy, Debug, Default)]
#[repr(transparent)]
pub(crate) struct Boolean(u8);

impl Boolean {
    #[inline(always)]
    pub(crate) fn new(value: bool) -> Self {
        Self(u8::from(value))
    }

    #[inline(always)]
    pub(crate) fn get(self) -> bool {
        self.0 != 0
    }
}

/// A real element type.
///
/// # Safety
///
/// `Self` has the size of `DTYPE`, no padding, and every bit pattern is a value: it is read from
/// raw array memory.
pub(crate) unsafe trait Number: Copy + Default + Send + Sync + 'static {
    /// The dtype whose elements are `Self`.
    const DTYPE: DType;
    /// The nearest double; exact but for 64-bit integers above 2^53.
    fn to_f64(self) -> f64;
    /// As C converts; see the table above. Floats round to nearest, ties to even.
    fn from_f64(value: f64) -> Self;
    /// Sum; integers wrap, booleans or.
    fn plus(self, other: Self) -> Self;
    /// Difference; integers wrap, booleans exclusive-or.
    fn minus(self, other: Self) -> Self;
    /// Product; integers wrap, booleans and.
    fn times(self, other: Self) -> Self;
    /// Change of sign; integers wrap, booleans stay.
    fn opposite(self) -> Self;
    /// Magnitude; the smallest integer is its own.
    fn magnitude(self) -> Self;
    /// The smaller; NaN when either is NaN.
    fn smaller(self, other: Self) -> Self;
    /// The larger; NaN when either is NaN.
    fn larger(self, other: Self) -> Self;
    /// As [`Self::larger`], for a `bound` that is not NaN.
    #[inline(always)]
    fn at_least(self, bound: Self) -> Self {
        self.larger(bound)
    }
    /// As [`Self::smaller`], for a `bound` that is not NaN.
    #[inline(always)]
    fn at_most(self, bound: Self) -> Self {
        self.smaller(bound)
    }
}

/// A floating-point element type.
pub(crate) trait Float: Number {
    /// Quotient.
    fn divided_by(self, other: Self) -> Self;
}

/// Converts a value into a type that can hold every value of its own, or into the nearest float.
pub(crate) trait WidenTo<Wide>: Copy {
    /// The same number.
    fn widen(self) -> Wide;
}

/// Evaluates an expression with `$T` standing for the element type of a dtype; `None` for complex
/// dtypes.
macro_rules! with_number {
    ($dtype:expr, $T:ident => $body:expr) => {
        $crate::simd::number::with_number!(
            @match $dtype, $T => $body;
            Int8: i8, Int16: i16, Int32: i32, Int64: i64,
            Uint8: u8, Uint16: u16, Uint32: u32, Uint64: u64,
            Float16: half::f16, Float32: f32, Float64: f64,
            Bool: $crate::simd::number::Boolean
        )
    };
    (@match $dtype:expr, $T:ident => $body:expr; $($name:ident: $type:ty),*) => {
        match $dtype {
            $(
                thalweg_shm::DType::$name => {
                    type $T = $type;
                    Some($body)
                }
            )*
            thalweg_shm::DType::Complex64 | thalweg_shm::DType::Complex128 => None,
        }
    };
}

pub(crate) use with_number;

#[inline(always)]
fn truncate_i32(value: f64) -> i32 {
    let inside = value > -2_147_483_649.0 && value < 2_147_483_648.0;
    let value = if inside { value } else { -2_147_483_648.0 };
    // SAFETY: truncated, `value` lies in the range of `i32`. An ordinary cast saturates instead,
    // which costs loops their vectorisation.
    unsafe { value.to_int_unchecked() }
}

#[inline(always)]
fn truncate_i64(value: f64) -> i64 {
    const END: f64 = 9_223_372_036_854_775_808.0;
    let value = if (-END..END).contains(&value) {
        value
    } else {
        -END
    };
    // SAFETY: `value` lies in the range of `i64`.
    unsafe { value.to_int_unchecked() }
}

#[inline(always)]
fn truncate_u64(value: f64) -> u64 {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    if value >= HALF {
        (truncate_i64(value - HALF) as u64) ^ (1 << 63)
    } else {
        truncate_i64(value) as u64
    }
}

macro_rules! integers {
    ($($type:ty => $dtype:ident, $truncate:path, $magnitude:expr);* $(;)?) => {
        $(
            // SAFETY: a plain integer of the dtype's size.
            unsafe impl Number for $type {
                const DTYPE: DType = DType::$dtype;

                #[inline(always)]
                fn to_f64(self) -> f64 {
                    self as f64
                }

                #[inline(always)]
                fn from_f64(value: f64) -> Self {
                    $truncate(value) as Self
                }

                #[inline(always)]
                fn plus(self, other: Self) -> Self {
                    self.wrapping_add(other)
                }

                #[inline(always)]
                fn minus(self, other: Self) -> Self {
                    self.wrapping_sub(other)
                }

                #[inline(always)]
                fn times(self, other: Self) -> Self {
                    self.wrapping_mul(other)
                }

                #[inline(always)]
                fn opposite(self) -> Self {
                    self.wrapping_neg()
                }

                #[inline(always)]
                fn magnitude(self) -> Self {
                    let magnitude: fn(Self) -> Self = $magnitude;
                    magnitude(self)
                }

                #[inline(always)]
                fn smaller(self, other: Self) -> Self {
                    self.min(other)
                }

                #[inline(always)]
                fn larger(self, other: Self) -> Self {
                    self.max(other)
                }
            }
        )*
    };
}

integers! {
    i8 => Int8, truncate_i32, i8::wrapping_abs;
    i16 => Int16, truncate_i32, i16::wrapping_abs;
    i32 => Int32, truncate_i32, i32::wrapping_abs;
    i64 => Int64, truncate_i64, i64::wrapping_abs;
    u8 => Uint8, truncate_i32, std::convert::identity;
    u16 => Uint16, truncate_i32, std::convert::identity;
    u32 => Uint32, truncate_i64, std::convert::identity;
    u64 => Uint64, truncate_u64, std::convert::identity;
}

macro_rules! floats {
    ($($type:ty => $dtype:ident);* $(;)?) => {
        $(
            // SAFETY: a plain float of the dtype's size.
            unsafe impl Number for $type {
                const DTYPE: DType = DType::$dtype;

                #[inline(always)]
                fn to_f64(self) -> f64 {
                    f64::from(self)
                }

                #[inline(always)]
                fn from_f64(value: f64) -> Self {
                    value as Self
                }

                #[inline(always)]
                fn plus(self, other: Self) -> Self {
                    self + other
                }

                #[inline(always)]
                fn minus(self, other: Self) -> Self {
                    self - other
                }

                #[inline(always)]
                fn times(self, other: Self) -> Self {
                    self * other
                }

                #[inline(always)]
                fn opposite(self) -> Self {
                    -self
                }

                #[inline(always)]
                fn magnitude(self) -> Self {
                    self.abs()
                }

                #[inline(always)]
                fn smaller(self, other: Self) -> Self {
                    if self.is_nan() || self < other { self } else { other }
                }

                #[inline(always)]
                fn larger(self, other: Self) -> Self {
                    if self.is_nan() || self > other { self } else { other }
                }

                // A comparison with NaN is false, which keeps `self`: no test for NaN is needed.
                #[inline(always)]
                fn at_least(self, bound: Self) -> Self {
                    if self <= bound { bound } else { self }
                }

                #[inline(always)]
                fn at_most(self, bound: Self) -> Self {
                    if self >= bound { bound } else { self }
                }
            }

            impl Float for $type {
                #[inline(always)]
                fn divided_by(self, other: Self) -> Self {
                    self / other
                }
            }
        )*
    };
}

floats! {
    f32 => Float32;
    f64 => Float64;
}

// Every operation is done in single precision and rounded: for these operations that is the
// correctly rounded result, because 24 bits are twice 11 and two more.
// SAFETY: two bytes, as the dtype.
unsafe impl Number for f16 {
    const DTYPE: DType = DType::Float16;

    #[inline(always)]
    fn to_f64(self) -> f64 {
        half_to_f32(self).into()
    }

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        f64_to_half(value)
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        f32_to_half(half_to_f32(self) + half_to_f32(other))
    }

    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        f32_to_half(half_to_f32(self) - half_to_f32(other))
    }

    #[inline(always)]
    fn times(self, other: Self) -> Self {
        f32_to_half(half_to_f32(self) * half_to_f32(other))
    }

    #[inline(always)]
    fn opposite(self) -> Self {
        Self::from_bits(self.to_bits() ^ 0x8000)
    }

    #[inline(always)]
    fn magnitude(self) -> Self {
        Self::from_bits(self.to_bits() & 0x7fff)
    }

    #[inline(always)]
    fn smaller(self, other: Self) -> Self {
        let (a, b) = (half_to_f32(self), half_to_f32(other));
        if a.is_nan() || a < b { self } else { other }
    }

    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        let (a, b) = (half_to_f32(self), half_to_f32(other));
        if a.is_nan() || a > b { self } else { other }
    }
}

impl Float for f16 {
    #[inline(always)]
    fn divided_by(self, other: Self) -> Self {
        f32_to_half(half_to_f32(self) / half_to_f32(other))
    }
}

// SAFETY: one byte, as the dtype; every byte is a truth value.
unsafe impl Number for Boolean {
    const DTYPE: DType = DType::Bool;

    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(u8::from(self.get()))
    }

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        Self::new(value != 0.0)
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        Self::new(self.get() | other.get())
    }

    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        Self::new(self.get() ^ other.get())
    }

    #[inline(always)]
    fn times(self, other: Self) -> Self {
        Self::new(self.get() & other.get())
    }

    #[inline(always)]
    fn opposite(self) -> Self {
        Self::new(self.get())
    }

    #[inline(always)]
    fn magnitude(self) -> Self {
        Self::new(self.get())
    }

    #[inline(always)]
    fn smaller(self, other: Self) -> Self {
        self.times(other)
    }

    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        self.plus(other)
    }
}

macro_rules! widenings {
    ($($wide:ty: $($narrow:ty),*);* $(;)?) => {
        $($(
            impl WidenTo<$wide> for $narrow {
                #[inline(always)]
                fn widen(self) -> $wide {
                    self as $wide
                }
            }
        )*)*
    };
}

widenings! {
    i16: i8, u8;
    i32: i8, i16, u8, u16;
    i64: i8, i16, i32, u8, u16, u32;
    u16: u8;
    u32: u8, u16;
    u64: u8, u16, u32;
    f32: i8, i16, u8, u16;
    f64: i8, i16, i32, i64, u8, u16, u32, u64, f32;
}

macro_rules! boolean_widenings {
    ($($wide:ty),*) => {
        $(
            impl WidenTo<$wide> for Boolean {
                #[inline(always)]
                fn widen(self) -> $wide {
                    <$wide>::from(self.get())
                }
            }
        )*
    };
}

boolean_widenings!(i8, i16, i32, i64, u8, u16, u32, u64, f32, f64);

macro_rules! half_widenings {
    ($($narrow:ty),*) => {
        $(
            impl WidenTo<f16> for $narrow {
                #[inline(always)]
                fn widen(self) -> f16 {
                    f32_to_half(self.widen())
                }
            }
        )*
    };
}

half_widenings!(i8, u8, Boolean);

impl WidenTo<f32> for f16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        half_to_f32(self)
    }
}

impl WidenTo<f64> for f16 {
    #[inline(always)]
    fn widen(self) -> f64 {
        half_to_f32(self).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_become_integers_as_c_does() {
        assert_eq!(u8::from_f64(400.0), 144);
        assert_eq!(u8::from_f64(-1.9), 255);
        assert_eq!(u8::from_f64(1e10), 0);
        assert_eq!(u8::from_f64(f64::NAN), 0);
        assert_eq!(i8::from_f64(-129.0), 127);
        assert_eq!(i16::from_f64(-129.9), -129);
        assert_eq!(u16::from_f64(65536.0 + 7.5), 7);
        assert_eq!(i32::from_f64(f64::NAN), i32::MIN);
        assert_eq!(i32::from_f64(3e9), i32::MIN);
        assert_eq!(i32::from_f64(-2_147_483_648.9), i32::MIN);
        assert_eq!(i32::from_f64(2_147_483_647.9), i32::MAX);
        assert_eq!(u32::from_f64(-1.0), u32::MAX);
        assert_eq!(u32::from_f64(5e9), 705_032_704);
        assert_eq!(u32::from_f64(1e20), 0);
        assert_eq!(u32::from_f64(f64::NAN), 0);
        assert_eq!(i64::from_f64(1e20), i64::MIN);
        assert_eq!(i64::from_f64(f64::NEG_INFINITY), i64::MIN);
        assert_eq!(u64::from_f64(-1.0), u64::MAX);
        assert_eq!(u64::from_f64(1.8e19), 18_000_000_000_000_000_000);
        assert_eq!(u64::from_f64(1e20), 0);
        assert_eq!(u64::from_f64(-1e20), 1 << 63);
        assert_eq!(u64::from_f64(f64::NAN), 1 << 63);
        assert!(Boolean::from_f64(f64::NAN).get() && Boolean::from_f64(-0.5).get());
        assert!(!Boolean::from_f64(-0.0).get());
    }

    #[test]
    fn extremes_propagate_nan_and_wrap() {
        assert!(f32::NAN.smaller(1.0).is_nan() && 1.0f32.smaller(f32::NAN).is_nan());
        assert!(f64::NAN.larger(1.0).is_nan() && 1.0f64.larger(f64::NAN).is_nan());
        assert!(f16::NAN.larger(f16::ONE).is_nan() && f16::ONE.smaller(f16::NAN).is_nan());
        assert_eq!(i8::MIN.magnitude(), i8::MIN);
        assert_eq!(200u8.plus(100), 44);
        assert_eq!(i16::MAX.times(2), -2);
        assert_eq!(f16::from_f32(-2.5).magnitude(), f16::from_f32(2.5));
    }

    #[test]
    fn any_byte_is_a_truth_value() {
        let true_value: i32 = Boolean(7).widen();
        assert_eq!(true_value, 1);
        assert_eq!(Boolean(7).magnitude().0, 1);
        assert_eq!(Boolean(7).to_f64(), 1.0);
        let true_value: u64 = Boolean(255).widen();
        assert_eq!(true_value, 1);
    }
}
