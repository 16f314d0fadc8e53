//! Noticing a fork with one load: a page the kernel wipes in every child.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

const PAGE_BYTES: usize = 4096;

/// Number of this process in its line of forks: changes in every forked child, however it was
/// forked, and stays the same for the life of a process.
#[inline]
pub fn generation() -> u64 {
    static WITNESS: OnceLock<Option<&'static AtomicU64>> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let Some(witness) = WITNESS.get_or_init(map_witness) else {
        return u64::from(std::process::id());
    };
    let seen = witness.load(Ordering::Relaxed);
    if seen != 0 {
        return seen;
    }
    // First call, or first call after a fork. NEXT is copied by a fork, so parent and child part
    // here: the child counts on from its parent's number.
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    match witness.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => next,
        Err(other_thread) => other_thread,
    }
}

fn map_witness() -> Option<&'static AtomicU64> {
    // SAFETY: an anonymous private mapping at an address the kernel chooses touches nothing else.
    let page = unsafe {
        mmap_anonymous(
            std::ptr::null_mut(),
            PAGE_BYTES,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )
    }
    .ok()?;
    // SAFETY: the page was mapped above and is nobody else's.
    unsafe { madvise(page, PAGE_BYTES, Advice::LinuxWipeOnFork) }.ok()?;
    // SAFETY: page aligned, zeroed, never unmapped.
    Some(unsafe { AtomicU64::from_ptr(page.cast()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_stable_in_a_process() {
        assert_eq!(generation(), generation());
        assert_ne!(generation(), 0);
    }
}
