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

/// The holder, written by who holds the shared lock.
#[derive(Debug, Default)]
pub(crate) struct Holder {
    /// `thread << 32 | guards`; 0 when no thread of this process holds the lock. One word, because
    /// the last guard may be dropped by one thread while another one adds a guard.
    word: AtomicU64,
    /// In a forked child the parent's holder does not exist.
    fork_generation: AtomicU64,
}

impl Holder {
    /// Guards `thread` has taken.
    pub(crate) fn depth_of(&self, thread: ThreadKey) -> u32 {
        // Acquire pairs with the Release of `set`: no word of the parent's is seen any more.
        if self.fork_generation.load(Ordering::Acquire) != fork::generation() {
            return 0;
        }
        let word = self.word.load(Ordering::Relaxed);
        if word >> 32 == u64::from(thread.0) {
            word as u32
        } else {
            0
        }
    }

    /// The shared lock was just taken for `thread`, with one guard.
    pub(crate) fn set(&self, thread: ThreadKey) {
        self.word
            .store(u64::from(thread.0) << 32 | 1, Ordering::Relaxed);
        self.fork_generation
            .store(fork::generation(), Ordering::Release);
    }

    /// One more guard, if `thread` holds the lock.
    pub(crate) fn add(&self, thread: ThreadKey) -> bool {
        // What was read before may be out of date: another thread may have dropped the last guard.
        self.depth_of(thread) > 0
            && self
                .word
                .fetch_update(Ordering::Acquire, Ordering::Relaxed, |word| {
                    (word >> 32 == u64::from(thread.0)).then_some(word + 1)
                })
                .is_ok()
    }

    /// One guard less; true when it was the last, so that the shared lock is to be released.
    pub(crate) fn remove(&self) -> bool {
        // AcqRel: what every guard's user did comes before the release by the last.
        self.word
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |word| {
                let is_last = word as u32 <= 1;
                Some(if is_last { 0 } else { word - 1 })
            })
            .is_ok_and(|word| word as u32 == 1)
    }

    /// Removes the only guard, when no other thread can have one of the same thread's.
    pub(crate) fn clear(&self) {
        self.word.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_guards_of_one_thread() {
        let holder = Holder::default();
        let thread = ThreadKey::current();
        assert!(!holder.add(thread));
        holder.set(thread);
        assert!(holder.add(thread));
        assert_eq!(holder.depth_of(thread), 2);
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(!holder.add(ThreadKey::current())));
        });
        assert!(!holder.remove());
        assert!(holder.remove());
        assert_eq!(holder.depth_of(thread), 0);
    }
}
