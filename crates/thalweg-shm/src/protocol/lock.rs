//! The writer lock between processes: one futex word that holds its owner's identity.
//!
//! Uncontended it is one compare-exchange each way. A contender checks that the owner lives before
//! it sleeps and every 20 ms after, so a dead owner costs at most that.

use super::Words;
use super::sync::{AtomicU32, Ordering};
use super::words::{AttachmentId, LockWord};

/// One sleep on the lock: long enough to cost nothing, short enough to notice a death.
pub const SLICE_NS: u64 = 20_000_000;
/// How long a newcomer lets a woken waiter go first. Ends "release, take again, starve"; a timed
/// sleep, because yielding the processor takes arbitrarily long on a busy machine.
pub const POLITENESS_NS: u64 = 200_000;
/// Lost races for the lock after which the deadline is looked at in each round.
const LOST_ROUNDS: u32 = 1000;

/// What the lock needs from the outside.
pub trait LockEnvironment {
    /// Sleeps while `*word == expected`, at most `slice_ns`.
    fn sleep(&self, word: &AtomicU32, expected: u32, slice_ns: u64);
    /// Wakes one sleeper; whether there was one.
    fn wake_one(&self, word: &AtomicU32) -> bool;
    /// True when the process is known to have ended.
    fn is_dead(&self, owner: AttachmentId) -> bool;
    /// True when the caller does not want to wait any longer.
    fn gives_up(&self) -> bool;
}

/// How the lock was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// From nobody.
    Clean,
    /// From a dead owner: repair before anything else.
    FromDead,
}

/// The caller gave up. Carries who held the lock last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GaveUp(pub Option<AttachmentId>);

impl Words<'_> {
    /// Takes the lock for `owner`, who does not hold it.
    pub fn acquire(
        &self,
        owner: AttachmentId,
        environment: &impl LockEnvironment,
    ) -> Result<Acquired, GaveUp> {
        let lock = &self.control.writer.lock;
        let take = |expected: LockWord, taken: LockWord| {
            // Acquire pairs with the Release of `release`; Release with the Acquire load below:
            // whoever finds the new owner's id finds its row, too, and does not take it for dead.
            lock.compare_exchange(expected.0, taken.0, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        };
        if take(LockWord::FREE, LockWord::held(owner, false)) {
            return Ok(Acquired::Clean);
        }
        let (mut has_slept, mut was_polite) = (false, false);
        let mut lost = 0u32;
        loop {
            // Words that change before they can be taken, round after round, come from nobody who
            // follows this protocol: not even that may keep the caller here.
            if lost >= LOST_ROUNDS && environment.gives_up() {
                return Err(GaveUp(None));
            }
            let seen = LockWord(lock.load(Ordering::Acquire));
            if seen.is_free() {
                if seen == LockWord::FREE || has_slept || was_polite {
                    // Others may still sleep: once there were waiters the bit is kept.
                    let waiters = has_slept || seen.has_waiters();
                    if take(seen, LockWord::held(owner, waiters)) {
                        return Ok(Acquired::Clean);
                    }
                    lost = lost.saturating_add(1);
                } else {
                    was_polite = true;
                    environment.sleep(lock, seen.0, POLITENESS_NS);
                }
                continue;
            }
            // A word nobody writes is treated like a dead owner's: the lock must not stay stuck.
            let is_dead = seen
                .owner()
                .is_none_or(|holder| environment.is_dead(holder));
            if is_dead {
                if take(seen, LockWord::held(owner, true)) {
                    return Ok(Acquired::FromDead);
                }
                lost = lost.saturating_add(1);
                continue;
            }
            if environment.gives_up() {
                // This process may have been the one that was woken: pass it on.
                if has_slept {
                    environment.wake_one(lock);
                }
                return Err(GaveUp(seen.owner()));
            }
            let marked = seen.with_waiters();
            if seen != marked
                && lock
                    .compare_exchange(seen.0, marked.0, Ordering::Relaxed, Ordering::Relaxed)
                    .is_err()
            {
                continue;
            }
            environment.sleep(lock, marked.0, SLICE_NS);
            has_slept = true;
        }
    }

    /// Gives the lock back. The caller holds it as `owner`.
    pub fn release(&self, owner: AttachmentId, environment: &impl LockEnvironment) {
        let lock = &self.control.writer.lock;
        // Release pairs with the Acquire of `acquire`.
        let quiet = lock.compare_exchange(
            LockWord::held(owner, false).0,
            LockWord::FREE.0,
            Ordering::Release,
            Ordering::Relaxed,
        );
        if quiet.is_ok() {
            return;
        }
        // Exact: only the waiters bit may have changed. A word that names another owner is that
        // one's lock, however it came there.
        let handed_on = lock.compare_exchange(
            LockWord::held(owner, true).0,
            LockWord::FREE_WITH_WAITERS.0,
            Ordering::Release,
            Ordering::Relaxed,
        );
        if handed_on.is_err() {
            return;
        }
        if !environment.wake_one(lock) {
            // Nobody slept any more. Fails if somebody took the lock or came to wait: fine too.
            lock.compare_exchange(
                LockWord::FREE_WITH_WAITERS.0,
                LockWord::FREE.0,
                Ordering::Relaxed,
                Ordering::Relaxed,
            )
            .ok();
        }
    }
}
