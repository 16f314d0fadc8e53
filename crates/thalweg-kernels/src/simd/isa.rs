//! Which instructions this processor has, and code compiled for them.

/// A set of instructions this processor was seen to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Isa(Level);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// What the compilation target guarantees.
    Portable,
    /// 256-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// A loop to be compiled for every instruction set. `run` and all it calls must be
/// `#[inline(always)]`, so that they become part of the function compiled for the set.
pub(crate) trait Vectorized {
    /// What the loop returns.
    type Output;
    /// Runs the loop.
    fn run(self) -> Self::Output;
}

impl Isa {
    /// The widest set this processor has.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                return Self(Level::Avx512);
            }
            if is_x86_feature_detected!("avx2") {
                return Self(Level::Avx2);
            }
        }
        Self(Level::Portable)
    }

    /// Every set this processor has, for tests that compare them.
    #[cfg(test)]
    pub(crate) fn available() -> Vec<Self> {
        let mut sets = vec![Self(Level::Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                sets.push(Self(Level::Avx2));
            }
            if Self::detect() == Self(Level::Avx512) {
                sets.push(Self(Level::Avx512));
            }
        }
        sets
    }

    /// Runs the variant of `work` compiled for this set.
    #[inline]
    pub(crate) fn run<W: Vectorized>(self, work: W) -> W::Output {
        match self.0 {
            Level::Portable => work.run(),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => {
                // SAFETY: an `Isa` of this level exists only where the processor has the feature.
                unsafe { run_avx2(work) }
            }
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => {
                // SAFETY: an `Isa` of this level exists only where the processor has the features.
                unsafe { run_avx512(work) }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn run_avx2<W: Vectorized>(work: W) -> W::Output {
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
fn run_avx512<W: Vectorized>(work: W) -> W::Output {
    work.run()
}
