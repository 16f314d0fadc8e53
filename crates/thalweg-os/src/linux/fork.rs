//! Forks: noticing one with a load, and being ready for one.
//!
//! A fork copies one thread, and every lock as it is. What another thread holds at that moment is
//! held for ever in the child, unless somebody takes it before the fork and gives it back after.

use std::io;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

const PAGE_BYTES: usize = 4096;

/// A page the kernel wipes in every child; null until the first look.
static WITNESS: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());

/// Number of this process in its line of forks: changes in every forked child, however it was
/// forked, and stays the same for the life of a process.
#[inline]
pub fn generation() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let Some(witness) = witness() else {
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

#[inline]
fn witness() -> Option<&'static AtomicU64> {
    // Acquire pairs with the Release in `map_witness`.
    let known = WITNESS.load(Ordering::Acquire);
    // SAFETY: null, or a page that is never unmapped.
    unsafe { known.as_ref() }.or_else(map_witness)
}

/// Not with a `OnceLock`: a child forked while another thread fills it would wait for that.
#[cold]
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
    let advised = unsafe { madvise(page, PAGE_BYTES, Advice::LinuxWipeOnFork) };
    let exchanged = advised.is_ok().then(|| {
        WITNESS.compare_exchange(
            std::ptr::null_mut(),
            page.cast(),
            Ordering::AcqRel,
            Ordering::Acquire,
        )
    });
    if !matches!(exchanged, Some(Ok(_))) {
        // SAFETY: mapped above and seen by nobody else. If it fails, a page is wasted.
        unsafe { munmap(page, PAGE_BYTES) }.ok();
    }
    let kept = WITNESS.load(Ordering::Acquire);
    // SAFETY: null, or page aligned, zeroed and never unmapped.
    unsafe { kept.as_ref() }
}

/// Has three functions called around every fork that goes through the C library, by the thread that
/// forks: `prepare` before, `in_parent` and `in_child` after. Those registered last are prepared
/// first. Nothing can take them back.
pub fn call_around(
    prepare: extern "C" fn(),
    in_parent: extern "C" fn(),
    in_child: extern "C" fn(),
) -> io::Result<()> {
    // SAFETY: the functions are safe to call from anywhere, and functions live for ever.
    let refused = unsafe { libc::pthread_atfork(Some(prepare), Some(in_parent), Some(in_child)) };
    if refused == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(refused))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn is_stable_in_a_process() {
        assert_eq!(generation(), generation());
        assert_ne!(generation(), 0);
    }

    #[test]
    fn handlers_run_on_both_sides() {
        thread_local! {
            // Of this thread's forks: other tests of the process fork, too.
            static CALLS: Cell<u64> = const { Cell::new(0) };
        }
        extern "C" fn prepare() {
            CALLS.set(CALLS.get() + 1);
        }
        extern "C" fn in_parent() {
            CALLS.set(CALLS.get() + 100);
        }
        extern "C" fn in_child() {
            CALLS.set(CALLS.get() + 10_000);
        }
        call_around(prepare, in_parent, in_child).unwrap();
        let before = generation();
        // SAFETY: the child only computes and ends.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let is_right = CALLS.get() == 10_001 && generation() != before;
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(i32::from(!is_right)) };
        }
        let mut status = 0;
        // SAFETY: `status` is a local the kernel fills in.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        assert_eq!((waited, status), (pid, 0), "the child saw other calls");
        assert_eq!(CALLS.get(), 101);
    }
}
