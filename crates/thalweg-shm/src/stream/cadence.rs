//! What one handle has learnt about waiting for its stream: how long frames take, and whether
//! spinning brings them.
//!
//! Where the writer and a spinning waiter share a CPU, the waiter spins in vain for as long as it
//! may, because the writer cannot run meanwhile. Nothing tells beforehand that they do, and the
//! scheduler may move either at any time. So spins are judged by what came of them: each failed one
//! doubles the number of waits before the next attempt, each one that brought a frame halves it.
//!
//! Two threads of real-time priority on one CPU of two: 52 us a round trip with every wait spinning
//! first, 7.9 us so, 7.5 us with none spinning.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Everybody may spin this long: the cost of one sleep and wake.
pub(crate) const GRACE_NS: u64 = 2_000;
/// Streams whose frames usually take longer than this to come are slept for at once.
const WORTH_SPINNING_NS: u64 = 50_000;
/// First guess of how long a frame takes.
const FIRST_GUESS_NS: u64 = 10_000;
/// At most 2^8 waits are slept through between two attempts to spin. An attempt costs about as much
/// as one or two hand-offs between sleepers, so even hopeless ones cost less than a hundredth; and
/// 256 hand-offs take a few milliseconds, after which spinning is found to work again.
const LONGEST_BACK_OFF: u32 = 8;

/// Running figures of one handle. Racing threads may lose a sample: harmless.
#[derive(Debug)]
pub(crate) struct Cadence {
    usual_wait_ns: AtomicU64,
    /// Failed spins less those that brought a frame, 0 to `LONGEST_BACK_OFF`.
    failures: AtomicU32,
    /// Waits still to be slept through before the next attempt to spin.
    to_sleep_through: AtomicU32,
}

/// How long a wait may spin before it sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpinBudget {
    /// Spinning failed lately: sleep at once.
    Nothing,
    /// No longer than a sleep costs, because frames take too long to come.
    Grace,
    /// This long, with a permit.
    Window {
        /// From the beginning of the wait.
        budget_ns: u64,
    },
}

impl Cadence {
    pub(crate) fn new() -> Self {
        Self {
            usual_wait_ns: AtomicU64::new(FIRST_GUESS_NS),
            failures: AtomicU32::new(0),
            to_sleep_through: AtomicU32::new(0),
        }
    }

    /// Running mean over about eight waits.
    pub(crate) fn learn(&self, waited_ns: u64) {
        let usual = self.usual_wait_ns.load(Ordering::Relaxed);
        // A pause of minutes says no more than one of a few milliseconds.
        let sample = waited_ns.min(64 * WORTH_SPINNING_NS);
        let next = usual - usual / 8 + sample / 8;
        self.usual_wait_ns.store(next, Ordering::Relaxed);
    }

    /// What the wait that begins now may spend on spinning. One that is to sleep counts as slept
    /// through.
    pub(crate) fn next_budget(&self) -> SpinBudget {
        let usual = self.usual_wait_ns.load(Ordering::Relaxed);
        if usual > WORTH_SPINNING_NS {
            return SpinBudget::Grace;
        }
        let left = self.to_sleep_through.load(Ordering::Relaxed);
        if left > 0 {
            self.to_sleep_through.store(left - 1, Ordering::Relaxed);
            return SpinBudget::Nothing;
        }
        SpinBudget::Window {
            // Never longer than what is worth it: a spinner that shares its CPU with the writer
            // keeps it from writing.
            budget_ns: usual
                .saturating_mul(4)
                .clamp(5 * GRACE_NS, WORTH_SPINNING_NS),
        }
    }

    /// A whole window was spun away, and nothing came.
    pub(crate) fn spun_in_vain(&self) {
        let failures = self.failures.load(Ordering::Relaxed);
        let failures = (failures + 1).min(LONGEST_BACK_OFF);
        self.failures.store(failures, Ordering::Relaxed);
        self.to_sleep_through
            .store(1 << failures, Ordering::Relaxed);
    }

    /// A frame came while spinning. One step back only: where spinning brings every other frame, the
    /// failures still cost more than is won.
    pub(crate) fn spun_with_success(&self) {
        let failures = self.failures.load(Ordering::Relaxed);
        if failures > 0 {
            self.failures.store(failures - 1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `waits` waits of 20 us each, of which spinning would bring those that `would_come`
    /// says; returns how many spun.
    fn spins(cadence: &Cadence, waits: u32, would_come: impl Fn(u32) -> bool) -> u32 {
        let mut spun = 0;
        for wait in 0..waits {
            if matches!(cadence.next_budget(), SpinBudget::Window { .. }) {
                spun += 1;
                if would_come(wait) {
                    cadence.spun_with_success();
                } else {
                    cadence.spun_in_vain();
                }
            }
            cadence.learn(20_000);
        }
        spun
    }

    #[test]
    fn spinning_that_works_is_always_done() {
        let cadence = Cadence::new();
        assert_eq!(spins(&cadence, 1000, |_| true), 1000);
    }

    #[test]
    fn spinning_that_fails_is_tried_ever_more_rarely() {
        let cadence = Cadence::new();
        let mut gaps = Vec::new();
        let mut slept = 0;
        while gaps.len() < 10 {
            if cadence.next_budget() == SpinBudget::Nothing {
                slept += 1;
            } else {
                gaps.push(std::mem::take(&mut slept));
                cadence.spun_in_vain();
            }
        }
        assert_eq!(gaps, [0, 2, 4, 8, 16, 32, 64, 128, 256, 256]);
    }

    #[test]
    fn spinning_comes_back_when_it_works_again() {
        let cadence = Cadence::new();
        spins(&cadence, 5000, |_| false);
        let spun = spins(&cadence, 1000, |_| true);
        assert!(spun >= 1000 - 256, "only {spun} of 1000 waits spun");
        assert_eq!(spins(&cadence, 1000, |_| true), 1000);
        let back_off = spins(&cadence, 4, |_| false);
        assert!(back_off <= 2, "what was unlearnt does not count any more");
    }

    #[test]
    fn spinning_that_brings_less_than_every_other_frame_is_given_up() {
        // Without a period that the doubling could keep in step with.
        let scattered = |wait: u32| {
            let mixed = (wait ^ wait >> 7).wrapping_mul(0x9e37_79b9);
            (mixed ^ mixed >> 15).wrapping_mul(0x85eb_ca6b) >> 24
        };
        let cadence = Cadence::new();
        let spun = spins(&cadence, 10_000, |wait| scattered(wait) < 85);
        assert!(spun < 500, "{spun} of 10000 waits spun");
        let cadence = Cadence::new();
        let spun = spins(&cadence, 10_000, |wait| scattered(wait) >= 25);
        assert!(spun > 5000, "only {spun} of 10000 waits spun");
    }

    #[test]
    fn slow_streams_get_no_more_than_the_grace_time() {
        let cadence = Cadence::new();
        (0..50).for_each(|_| cadence.learn(1_000_000));
        assert_eq!(cadence.next_budget(), SpinBudget::Grace);
        (0..100).for_each(|_| cadence.learn(1_000));
        let SpinBudget::Window { budget_ns } = cadence.next_budget() else {
            panic!("the stream is fast again");
        };
        assert!((5 * GRACE_NS..=WORTH_SPINNING_NS).contains(&budget_ns));
    }
}
