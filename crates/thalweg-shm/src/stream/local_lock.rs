//! The half of the writer lock that lives in the process: owner thread and depth.
//!
//! Handles of one stream share it, so that re-entrancy, and "another thread holds it", are decided
//! here, and only the outermost level touches the word other processes see.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use thalweg_os::clock::monotonic_ns;
use thalweg_os::{fork, futex};

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
                // Half of the range: the word below keeps one bit for itself.
                key.set(NEXT.fetch_add(1, Ordering::Relaxed) & (u32::MAX >> 1) | 1 << 30);
            }
            Self(key.get())
        })
    }
}

/// What entering found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entered {
    /// The thread did not hold the lock: the shared word comes next.
    Outermost,
    /// The thread holds it already.
    Nested,
}

/// Longest sleep before the deadline and the interrupt are looked at again.
const SLICE_NS: u64 = 100_000_000;

/// Owner `key << 1 | waiters` and depth.
#[derive(Debug, Default)]
pub(crate) struct LocalLock {
    word: AtomicU32,
    /// Written by the owner alone.
    depth: AtomicU32,
    fork_generation: AtomicU64,
}

impl LocalLock {
    /// Enters for `thread`; `None` when `gives_up` says so first.
    pub(crate) fn enter(&self, thread: ThreadKey, gives_up: impl Fn() -> bool) -> Option<Entered> {
        self.forget_parent();
        let mine = thread.0 << 1;
        loop {
            // Acquire pairs with the Release of `leave`.
            match self
                .word
                .compare_exchange(0, mine, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => {
                    self.depth.store(1, Ordering::Relaxed);
                    return Some(Entered::Outermost);
                }
                Err(held) if held & !1 == mine => {
                    self.depth.fetch_add(1, Ordering::Relaxed);
                    return Some(Entered::Nested);
                }
                Err(held) => {
                    if gives_up() {
                        return None;
                    }
                    let marked = held | 1;
                    let is_marked = held == marked
                        || self
                            .word
                            .compare_exchange(held, marked, Ordering::Relaxed, Ordering::Relaxed)
                            .is_ok();
                    if is_marked {
                        futex::wait(&self.word, marked, Some(monotonic_ns() + SLICE_NS));
                    }
                }
            }
        }
    }

    /// Leaves one level; true when it was the outermost, whose shared word `release` gives back
    /// before another thread can enter.
    pub(crate) fn leave(&self, release: impl FnOnce()) {
        let depth = self.depth.load(Ordering::Relaxed).saturating_sub(1);
        self.depth.store(depth, Ordering::Relaxed);
        if depth == 0 {
            release();
            // Release pairs with the Acquire of `enter`.
            if self.word.swap(0, Ordering::Release) & 1 != 0 {
                // All: the woken ones mark the word again if they have to go on waiting.
                futex::wake(&self.word, u32::MAX);
            }
        }
    }

    /// Levels `thread` holds.
    pub(crate) fn depth_of(&self, thread: ThreadKey) -> u32 {
        // In a forked child the parent's thread of this key is another one.
        let is_parents = self.fork_generation.load(Ordering::Relaxed) != fork::generation();
        if !is_parents && self.word.load(Ordering::Relaxed) & !1 == thread.0 << 1 {
            self.depth.load(Ordering::Relaxed)
        } else {
            0
        }
    }

    /// In a forked child the parent's owner does not exist.
    fn forget_parent(&self) {
        let generation = fork::generation();
        if self.fork_generation.load(Ordering::Relaxed) != generation {
            let stale = self.word.load(Ordering::Relaxed);
            let seen = self.fork_generation.swap(generation, Ordering::Relaxed);
            // A word that was free may be taken by another thread of the child by now.
            if seen != 0 && seen != generation && stale != 0 {
                self.depth.store(0, Ordering::Relaxed);
                self.word.store(0, Ordering::Release);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_reentrant_and_exclusive() {
        let lock = LocalLock::default();
        let thread = ThreadKey::current();
        assert_eq!(lock.enter(thread, || false), Some(Entered::Outermost));
        assert_eq!(lock.enter(thread, || false), Some(Entered::Nested));
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(lock.enter(ThreadKey::current(), || true), None));
        });
        let released = Cell::new(0);
        lock.leave(|| released.set(released.get() + 1));
        assert_eq!((released.get(), lock.depth_of(thread)), (0, 1));
        lock.leave(|| released.set(released.get() + 1));
        assert_eq!((released.get(), lock.depth_of(thread)), (1, 0));
    }

    #[test]
    fn threads_take_turns() {
        let lock = LocalLock::default();
        let inside = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let thread = ThreadKey::current();
                    for _ in 0..2000 {
                        lock.enter(thread, || false).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                        assert_eq!(inside.fetch_sub(1, Ordering::Relaxed), 1);
                        lock.leave(|| {});
                    }
                });
            }
        });
    }
}
