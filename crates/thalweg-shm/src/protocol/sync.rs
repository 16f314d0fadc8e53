//! Atomics and fences of the protocol: the processor's, or loom's when models are checked.

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

#[cfg(loom)]
pub use loom::hint::spin_loop;
#[cfg(not(loom))]
pub use std::hint::spin_loop;

/// Full barrier directly after a read-modify-write: the store of the read-modify-write is seen by
/// everybody before any load that follows.
///
/// On x86-64 the locked instruction is that barrier already (a fence would cost as much again), so
/// only the compiler has to be kept in line. loom treats `SeqCst` accesses as `AcqRel` and honours
/// `SeqCst` fences, which is why this is a fence and not an ordering.
pub fn full_fence_after_rmw() {
    #[cfg(loom)]
    if are_full_fences_removed() {
        return;
    }
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(not(all(target_arch = "x86_64", not(loom), not(miri))))]
    fence(Ordering::SeqCst);
}

#[cfg(loom)]
std::thread_local! {
    static FULL_FENCES_REMOVED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Takes the full barriers out of models run by this thread from now on, to show that the models
/// notice.
#[cfg(loom)]
pub fn remove_full_fences() {
    FULL_FENCES_REMOVED.set(true);
}

#[cfg(loom)]
fn are_full_fences_removed() -> bool {
    FULL_FENCES_REMOVED.get()
}
