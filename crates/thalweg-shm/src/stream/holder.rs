//! Which thread of this process holds the writer lock.
//!
//! The shared word says only which process holds it, and that is enough to keep everybody else
//! out, this process's other threads included. Kept here is what makes the lock re-entrant: the
//! thread, and how many guards it has taken. Handles of one stream share it.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use thalweg_os::fork;

/// A thread of this process, never 0, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadKey(u32);

impl ThreadKey {
    /// The calling thread's.
    pub(crate) fn current() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        thread_local! {
            static KEY: Cell<u32> = const { Cell::new(0) };
        }
        KEY.with(|key| {
            if key.get() == 0 {
                key.set(NEXT.fetch_add(1, Ordering::Relaxed).max(1));
            }
            Self(key.get())
        })
    }
}

/// The holder, written only by who holds the shared lock.
#[derive(Debug, Default)]
pub(crate) struct Holder {
    thread: AtomicU32,
    depth: AtomicU32,
    /// In a forked child the parent's holder does not exist.
    fork_generation: AtomicU64,
}

impl Holder {
    /// True when `thread` holds the lock. Only the thread itself can ask: what another thread
    /// stores is never its own key.
    pub(crate) fn is(&self, thread: ThreadKey) -> bool {
        self.thread.load(Ordering::Relaxed) == thread.0
            && self.fork_generation.load(Ordering::Relaxed) == fork::generation()
    }

    /// Guards `thread` has taken.
    pub(crate) fn depth_of(&self, thread: ThreadKey) -> u32 {
        if self.is(thread) {
            self.depth.load(Ordering::Relaxed)
        } else {
            0
        }
    }

    /// The shared lock was just taken for `thread`.
    pub(crate) fn set(&self, thread: ThreadKey) {
        self.fork_generation
            .store(fork::generation(), Ordering::Relaxed);
        self.depth.store(1, Ordering::Relaxed);
        self.thread.store(thread.0, Ordering::Relaxed);
    }

    /// One more guard of the thread that holds the lock.
    pub(crate) fn add(&self) {
        // A read-modify-write, because guards may be dropped by other threads.
        self.depth.fetch_add(1, Ordering::Relaxed);
    }

    /// One guard less; true when it was the last, so that the shared lock is to be released.
    pub(crate) fn remove(&self) -> bool {
        // AcqRel: what every guard's user did comes before the release by the last.
        let is_last = self.depth.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_last {
            self.clear();
        }
        is_last
    }

    /// Nobody holds the lock any more, about to be released.
    pub(crate) fn clear(&self) {
        self.thread.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_guards_of_one_thread() {
        let holder = Holder::default();
        let thread = ThreadKey::current();
        assert!(!holder.is(thread));
        holder.set(thread);
        holder.add();
        assert_eq!(holder.depth_of(thread), 2);
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(holder.depth_of(ThreadKey::current()), 0));
        });
        assert!(!holder.remove());
        assert!(holder.remove());
        assert!(!holder.is(thread));
    }
}
