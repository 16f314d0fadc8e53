//! What one handle has learnt about waiting for its stream: how long frames take, when the next one
//! is due, and whether spinning brings them.
//!
//! Frames that come soon are spun for as long as they usually take. For those of a steady pace that
//! is too slow for that, [`Rhythm`] tells when to spin.
//!
//! Where the writer and a spinning waiter share a CPU, the waiter spins in vain for as long as it
//! may, because the writer cannot run meanwhile. Nothing tells beforehand that they do, and the
//! scheduler may move either at any time. So spins are judged by what came of them: each failed one
//! doubles the number of waits before the next attempt, each one that brought a frame halves it.
//! Where they keep failing, the waiter tries another CPU ([`placement`](super::placement)).
//!
//! Two threads of real-time priority on one CPU of two: 52 us a round trip with every wait spinning
//! first, 7.9 us so, 7.5 us with none spinning.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::back_off::BackOff;
use super::placement::Moves;
use super::publication::Publication;
use super::rhythm::{ArrivalWindow, Rhythm};

/// Everybody may spin this long: the cost of one sleep and wake.
pub(crate) const GRACE_NS: u64 = 2_000;
/// Streams whose frames usually take longer than this to come are slept for.
const WORTH_SPINNING_NS: u64 = 50_000;
/// First guess of how long a frame takes.
const FIRST_GUESS_NS: u64 = 10_000;

/// Running figures of one handle. Racing threads may lose a sample: harmless.
#[derive(Debug)]
pub(crate) struct Cadence {
    usual_wait_ns: AtomicU64,
    /// Of spinning from the beginning of a wait.
    pub(crate) spins: BackOff,
    /// Of spinning in arrival windows.
    pub(crate) windows: BackOff,
    pub(crate) moves: Moves,
    /// Only ever tried: who finds it taken, also by a thread that a fork left behind, sleeps.
    rhythm: Mutex<Rhythm>,
}

/// How long a wait may spin before it sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpinBudget {
    /// Spinning failed lately: sleep at once.
    Nothing,
    /// Frames take too long to come. Look for an arrival window; without one spin no longer than a
    /// sleep costs.
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
            spins: BackOff::default(),
            windows: BackOff::default(),
            moves: Moves::default(),
            rhythm: Mutex::new(Rhythm::new()),
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
        if self.spins.sleeps() {
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

    /// When to spin for the frame after `newest`, for which a wait begins now.
    pub(crate) fn next_window(&self, newest: Publication, now_ns: u64) -> Option<ArrivalWindow> {
        let mut rhythm = self.rhythm.try_lock().ok()?;
        if newest.publish_ns != 0 {
            rhythm.arrived(newest.count, newest.publish_ns);
        }
        if self.windows.sleeps() {
            return None;
        }
        rhythm.next_window(now_ns)
    }

    /// A sleep before a window ended this long after the time that was asked for.
    pub(crate) fn woke_late(&self, late_ns: u64) {
        if let Ok(mut rhythm) = self.rhythm.try_lock() {
            rhythm.woke_late(late_ns);
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
                    cadence.spins.succeeded();
                } else {
                    cadence.spins.failed();
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
                cadence.spins.failed();
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
