//! Atomics and fences of the protocol: the processor's, or loom's when models are checked.

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Full barrier directly after a read-modify-write: the store of the read-modify-write is seen by
/// everybody before any load that follows.
///
/// On x86-64 the locked instruction is that barrier already (a fence would cost as much again), so
/// only the compiler has to be kept in line. loom treats `SeqCst` accesses as `AcqRel` and honours
/// `SeqCst` fences, which is why this is a fence and not an ordering.
pub fn full_fence_after_rmw() {
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(not(all(target_arch = "x86_64", not(loom), not(miri))))]
    fence(Ordering::SeqCst);
}
