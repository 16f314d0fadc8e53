//! Trying ever more rarely what keeps failing.

use std::sync::atomic::{AtomicU32, Ordering};

/// At most 2^8 waits are slept through between two attempts to spin. An attempt costs about as much
/// as one or two hand-offs between sleepers, so even hopeless ones cost less than a hundredth; and
/// 256 hand-offs take a few milliseconds, after which spinning is found to work again.
const LONGEST: u32 = 8;
/// From here on it is no accident.
const REPEATED: u32 = 2;

/// How often spinning failed lately. Racing threads may lose a count: harmless.
#[derive(Debug, Default)]
pub(crate) struct BackOff {
    /// Failures less successes, 0 to `LONGEST`.
    failures: AtomicU32,
    /// Waits still to be slept through before the next attempt.
    to_sleep_through: AtomicU32,
}

impl BackOff {
    /// True if the wait that begins now is to be slept through, as which it then counts.
    pub(crate) fn sleeps(&self) -> bool {
        let left = self.to_sleep_through.load(Ordering::Relaxed);
        if left > 0 {
            self.to_sleep_through.store(left - 1, Ordering::Relaxed);
        }
        left > 0
    }

    /// True if the attempts have failed repeatedly by now.
    pub(crate) fn failed(&self) -> bool {
        let failures = self.failures.load(Ordering::Relaxed);
        let failures = (failures + 1).min(LONGEST);
        self.failures.store(failures, Ordering::Relaxed);
        self.to_sleep_through
            .store(1 << failures, Ordering::Relaxed);
        failures >= REPEATED
    }

    /// Something has changed: what failed before may work now.
    pub(crate) fn forget(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.to_sleep_through.store(0, Ordering::Relaxed);
    }

    /// One step back only: where spinning brings every other frame, the failures still cost more
    /// than is won.
    pub(crate) fn succeeded(&self) {
        let failures = self.failures.load(Ordering::Relaxed);
        if failures > 0 {
            self.failures.store(failures - 1, Ordering::Relaxed);
        }
    }
}
