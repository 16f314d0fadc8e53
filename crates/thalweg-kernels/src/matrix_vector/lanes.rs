//! One vector register: what the product needs of it, and its portable form.
//!
//! [`Lanes`] is arithmetic on registers of `f32` or `f64`; [`Widen`] fills one from matrix elements
//! as they are stored, which may be half as wide.

#![expect(unsafe_code, reason = "loads from raw memory other processes own")]

use std::ops::{Add, Mul};

use half::{bf16, f16};

use super::level::{Portable, SimdLevel, dispatch};
use super::product::Product;

/// A number the product computes with.
pub(crate) trait Real:
    Copy + Default + Send + Sync + Add<Output = Self> + Mul<Output = Self>
{
}

impl Real for f32 {}
impl Real for f64 {}

/// A matrix element as it lies in memory.
pub(crate) trait Stored: Copy + Send + Sync + 'static {
    /// What it is widened to; also the type of the vector and of the result.
    type Real: Real;

    /// Computes `product` with the instructions of `level`.
    fn multiply(level: SimdLevel, product: Product<'_, Self>);
}

macro_rules! stored {
    ($($stored:ty => $real:ty),* $(,)?) => {
        $(
            impl Stored for $stored {
                type Real = $real;

                fn multiply(level: SimdLevel, product: Product<'_, Self>) {
                    dispatch(level, product);
                }
            }
        )*
    };
}

stored!(f32 => f32, f64 => f64, f16 => f32, bf16 => f32);

/// Registers of `R`. Every method has to be `#[inline(always)]`.
pub(crate) trait Lanes<R: Real>: Copy {
    /// One register.
    type Register: Copy;

    /// Numbers in a register; divides the elements of a cache line for every stored type.
    const WIDTH: usize;

    /// Whether several rows can be walked side by side, one register of sums each.
    const SIDE_BY_SIDE: bool;

    /// A register of zeros.
    fn zero(self) -> Self::Register;

    /// A register full of numbers.
    ///
    /// # Safety
    ///
    /// `from` is readable for `WIDTH` numbers.
    unsafe fn load(self, from: *const R) -> Self::Register;

    /// `count <= WIDTH` numbers, then zeros.
    ///
    /// # Safety
    ///
    /// `from` is readable for `count` numbers.
    unsafe fn load_part(self, from: *const R, count: usize) -> Self::Register;

    /// `a * b + sum`, lane by lane; fused where the level has it.
    fn multiply_add(
        self,
        a: Self::Register,
        b: Self::Register,
        sum: Self::Register,
    ) -> Self::Register;

    /// `a + b`, lane by lane.
    fn add(self, a: Self::Register, b: Self::Register) -> Self::Register;

    /// The sum of all lanes.
    fn sum(self, lanes: Self::Register) -> R;

    /// Asks for the cache line at `at`, which need not be readable.
    fn prefetch(self, at: *const u8);
}

/// Registers that can be filled from elements of type `S`.
pub(crate) trait Widen<S: Stored>: Lanes<S::Real> {
    /// A register full of matrix elements.
    ///
    /// # Safety
    ///
    /// `from` is readable for `WIDTH` elements.
    unsafe fn widen(self, from: *const S) -> Self::Register;

    /// `count <= WIDTH` matrix elements, then zeros.
    ///
    /// # Safety
    ///
    /// `from` is readable for `count` elements.
    unsafe fn widen_part(self, from: *const S, count: usize) -> Self::Register;
}

/// `count` elements from `from` on, then zeros.
///
/// # Safety
///
/// `from` is readable for `count <= WIDTH` elements.
#[inline(always)]
pub(crate) unsafe fn part<T: Copy + Default, const WIDTH: usize>(
    from: *const T,
    count: usize,
) -> [T; WIDTH] {
    std::array::from_fn(|lane| {
        if lane < count {
            // SAFETY: `lane < count`.
            unsafe { from.wrapping_add(lane).read() }
        } else {
            T::default()
        }
    })
}

macro_rules! portable_lanes {
    ($real:ty, $width:literal) => {
        impl Lanes<$real> for Portable {
            type Register = [$real; $width];
            const WIDTH: usize = $width;
            // The compiler would mix the rows of a group in one register, at a third of the speed.
            const SIDE_BY_SIDE: bool = false;

            #[inline(always)]
            fn zero(self) -> Self::Register {
                [0.0; $width]
            }

            #[inline(always)]
            unsafe fn load(self, from: *const $real) -> Self::Register {
                // SAFETY: the caller vouches for WIDTH numbers.
                unsafe { from.cast::<Self::Register>().read() }
            }

            #[inline(always)]
            unsafe fn load_part(self, from: *const $real, count: usize) -> Self::Register {
                // SAFETY: the caller vouches for `count` numbers.
                unsafe { part(from, count) }
            }

            #[inline(always)]
            fn multiply_add(
                self,
                a: Self::Register,
                b: Self::Register,
                sum: Self::Register,
            ) -> Self::Register {
                std::array::from_fn(|lane| {
                    // Without the instruction, `mul_add` is a slow library call.
                    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
                        a[lane].mul_add(b[lane], sum[lane])
                    } else {
                        a[lane] * b[lane] + sum[lane]
                    }
                })
            }

            #[inline(always)]
            fn add(self, a: Self::Register, b: Self::Register) -> Self::Register {
                std::array::from_fn(|lane| a[lane] + b[lane])
            }

            #[inline(always)]
            fn sum(self, lanes: Self::Register) -> $real {
                lanes.into_iter().sum()
            }

            #[inline(always)]
            fn prefetch(self, _at: *const u8) {}
        }

        impl Widen<$real> for Portable {
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

portable_lanes!(f32, 16);
portable_lanes!(f64, 8);

macro_rules! portable_widen {
    ($half:ty) => {
        impl Widen<$half> for Portable {
            #[inline(always)]
            unsafe fn widen(self, from: *const $half) -> Self::Register {
                // SAFETY: the caller vouches for WIDTH elements.
                let stored = unsafe { from.cast::<[$half; 16]>().read() };
                stored.map(<$half>::to_f32)
            }

            #[inline(always)]
            unsafe fn widen_part(self, from: *const $half, count: usize) -> Self::Register {
                // SAFETY: the caller vouches for `count` elements.
                let stored: [$half; 16] = unsafe { part(from, count) };
                stored.map(<$half>::to_f32)
            }
        }
    };
}

portable_widen!(f16);
portable_widen!(bf16);
