//! A futex for models: a mutex and a condition variable, and a barrier before the look at the word.
//!
//! A little stronger than the kernel's, which orders less. There are no time-outs, so the slices of
//! the real sleeps cannot hide a lost wake-up: it shows as a deadlock.

use loom::sync::atomic::{Ordering, fence};
use loom::sync::{Condvar, Mutex};

pub(crate) struct Futex {
    sleepers: Mutex<usize>,
    bell: Condvar,
}

impl Futex {
    pub(crate) fn new() -> Self {
        Self {
            sleepers: Mutex::new(0),
            bell: Condvar::new(),
        }
    }

    /// Sleeps if `is_unchanged`, until woken.
    pub(crate) fn sleep_if(&self, is_unchanged: impl FnOnce() -> bool) {
        let mut sleepers = self.sleepers.lock().expect("no panic");
        fence(Ordering::SeqCst);
        if is_unchanged() {
            *sleepers += 1;
            drop(self.bell.wait(sleepers).expect("no panic"));
        }
    }

    /// Wakes up to `count` sleepers; whether there was one.
    pub(crate) fn wake(&self, count: usize) -> bool {
        let mut sleepers = self.sleepers.lock().expect("no panic");
        let woken = count.min(*sleepers);
        *sleepers -= woken;
        for _ in 0..woken {
            self.bell.notify_one();
        }
        woken > 0
    }
}
