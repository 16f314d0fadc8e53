//! The instruction sets the kernels are compiled for, and which of them this processor has.

#![cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "instructions beyond the baseline are unsafe until detected"
    )
)]

use std::fmt;

/// An instruction set a kernel is compiled for; later ones are faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SimdLevel {
    /// What the target guarantees: SSE2 on x86-64, NEON on aarch64.
    Portable,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, DQ and VL, besides all of [`SimdLevel::Avx2`].
    Avx512,
}

impl SimdLevel {
    /// Every level, slowest first.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    /// The fastest level of this processor.
    pub fn best() -> Self {
        Self::available().max().unwrap_or(Self::Portable)
    }

    /// The levels of this processor, slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|level| level.is_available())
    }

    /// Whether this processor has the level.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Avx2::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512::detect().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }
}

impl fmt::Display for SimdLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Portable => "portable",
            Self::Avx2 => "AVX2",
            Self::Avx512 => "AVX-512",
        })
    }
}

/// Stands for the baseline, which every processor of the target has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    /// Proof that this processor has AVX2, FMA and F16C.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Avx2(());

    impl Avx2 {
        /// The proof, where there is one.
        pub(crate) fn detect() -> Option<Self> {
            let found = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            found.then_some(Self(()))
        }

        /// Calls `task` where the compiler may use the level's instructions.
        #[inline]
        pub(crate) fn run<T: Vectorised<Self>>(self, task: T) -> T::Output {
            #[target_feature(enable = "avx2,fma,f16c")]
            fn inside<T: Vectorised<Avx2>>(simd: Avx2, task: T) -> T::Output {
                task.call(simd)
            }
            // SAFETY: `self` proves that the processor has these features.
            unsafe { inside(self, task) }
        }
    }

    /// Proof that this processor has AVX-512 F, BW, DQ and VL, and all of [`Avx2`].
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Avx512(());

    impl Avx512 {
        /// The proof, where there is one.
        pub(crate) fn detect() -> Option<Self> {
            let found = Avx2::detect().is_some()
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            found.then_some(Self(()))
        }

        /// Calls `task` where the compiler may use the level's instructions.
        #[inline]
        pub(crate) fn run<T: Vectorised<Self>>(self, task: T) -> T::Output {
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            fn inside<T: Vectorised<Avx512>>(simd: Avx512, task: T) -> T::Output {
                task.call(simd)
            }
            // SAFETY: `self` proves that the processor has these features.
            unsafe { inside(self, task) }
        }
    }

    use super::Vectorised;
}

/// Work written once over the operations of a level.
///
/// `call` and all it calls must be `#[inline(always)]`: only what ends up inside the function that
/// enables the level's instructions is compiled to them.
pub(crate) trait Vectorised<I> {
    /// What the work results in.
    type Output;

    /// Does the work.
    fn call(self, simd: I) -> Self::Output;
}

/// Does `task` on `level`, or on the best level below that this processor has.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn dispatch<T>(level: SimdLevel, task: T) -> <T as Vectorised<Portable>>::Output
where
    T: Vectorised<Portable>
        + Vectorised<Avx2, Output = <T as Vectorised<Portable>>::Output>
        + Vectorised<Avx512, Output = <T as Vectorised<Portable>>::Output>,
{
    if level >= SimdLevel::Avx512
        && let Some(simd) = Avx512::detect()
    {
        return simd.run(task);
    }
    if level >= SimdLevel::Avx2
        && let Some(simd) = Avx2::detect()
    {
        return simd.run(task);
    }
    task.call(Portable)
}

/// Does `task` on `level`, or on the best level below that this processor has.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(crate) fn dispatch<T>(level: SimdLevel, task: T) -> <T as Vectorised<Portable>>::Output
where
    T: Vectorised<Portable>,
{
    let _portable_only = level;
    task.call(Portable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_processor_has_the_portable_level() {
        assert_eq!(SimdLevel::available().next(), Some(SimdLevel::Portable));
        assert!(SimdLevel::best().is_available());
        for level in SimdLevel::ALL {
            assert_eq!(level.is_available(), level <= SimdLevel::best());
        }
    }
}
