//! Waiting for a newer frame: spinning where that pays, sleeping otherwise.

use std::sync::atomic::{AtomicBool, Ordering};

use thalweg_os::clock::monotonic_ns;
use thalweg_os::futex::{self, Wake};

use super::attachment::{Attachment, stale_state};
use super::back_off::BackOff;
use super::cadence::{Cadence, GRACE_NS, SpinBudget};
use super::error::WaitError;
use super::lock::Patience;
use super::rhythm::ArrivalWindow;
use super::spin::{self, SpinPermit};
use crate::protocol::words::Head;

/// How to pass the time until a frame comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WaitPolicy {
    /// Sleep at once: a few microseconds slower, no CPU time.
    Park,
    /// Never sleep: fastest, one CPU busy. The caller has a CPU to spare.
    Spin,
    /// Spin as long as frames of this stream usually take, if a CPU is to spare, then sleep.
    #[default]
    Adaptive,
}

/// A sleep is cut into slices of this length, only to survive a notifier that died between
/// publishing and waking, and to look whether the name still leads here.
pub(crate) const SLICE_NS: u64 = 100_000_000;
/// Where the kernel cannot watch several words at once, sleeps are this short at first.
pub(crate) const FIRST_NAP_NS: u64 = 50_000;
/// They double up to this.
pub(crate) const LONGEST_NAP_NS: u64 = 1_000_000;
/// What came of spinning or of a sleep.
enum Passed {
    /// A newer frame, seen at about this monotonic time.
    New { count: u64, seen_ns: u64 },
    /// Nothing in all the time it had, which is over by now.
    InVain { now_ns: u64 },
    /// No time at all: spinning is not wanted, or as many processes as may are spinning already.
    Refused,
}

impl Passed {
    fn is_new(&self) -> bool {
        matches!(self, Self::New { .. })
    }
}

/// Sleeps until one of `waiters` has a count above the one given beside it; returns its index.
///
/// One system call watches all heads. Kernels without that call get short sleeps instead, from
/// 50 us doubling to 1 ms.
pub(crate) fn wait_any(waiters: &[(Waiter<'_>, u64)]) -> Result<usize, WaitError> {
    let Some((first, _)) = waiters.first() else {
        // Nothing will ever come from no stream.
        return Err(WaitError::NoStream);
    };
    let mut nap_ns = FIRST_NAP_NS;
    loop {
        let mut words = Vec::with_capacity(waiters.len());
        for (index, (waiter, after)) in waiters.iter().enumerate() {
            let head = waiter.attachment.words().head();
            if waiter.look(*after)?.is_some() {
                return Ok(index);
            }
            words.push((waiter.attachment.futex_word(), head.futex()));
        }
        for (waiter, _) in waiters {
            if waiter.attachment.is_writable() {
                waiter.attachment.words().announce_park();
            }
        }
        let now_ns = monotonic_ns();
        let deadline = first.patience.deadline_ns.unwrap_or(u64::MAX);
        let end_ns = deadline.min(now_ns + SLICE_NS);
        if futex::wait_any(&words, end_ns).is_none() {
            let (word, expected) = words[0];
            futex::wait(word, expected, Some(end_ns.min(now_ns + nap_ns)));
            nap_ns = (2 * nap_ns).min(LONGEST_NAP_NS);
        }
        let now_ns = monotonic_ns();
        for (waiter, after) in waiters {
            if now_ns >= end_ns {
                waiter.slice_checks(*after)?;
            } else {
                waiter.check_interrupt()?;
            }
        }
        if now_ns >= deadline {
            let ready = waiters
                .iter()
                .position(|(waiter, after)| matches!(waiter.look(*after), Ok(Some(_))));
            if let Some(index) = ready {
                return Ok(index);
            }
            first.check_deadline(waiters[0].1, now_ns)?;
        }
    }
}

/// The newest count of a stream if it is above `after`; an error if it never will be. A frame that was
/// given up is one, too, if `heeds_aborts`.
pub(crate) fn look(
    attachment: &Attachment,
    closed: &AtomicBool,
    heeds_aborts: bool,
    after: u64,
) -> Result<Option<u64>, WaitError> {
    let words = attachment.words();
    let head = words.head();
    let name = || attachment.name();
    if closed.load(Ordering::Relaxed) {
        return Err(WaitError::Closed { name: name() });
    }
    if heeds_aborts {
        attachment
            .check_consistent(head)
            .map_err(|()| WaitError::Inconsistent { name: name() })?;
    }
    if head.count() > after {
        return Ok(Some(head.count()));
    }
    match stale_state(words.state()) {
        Some(reason) => Err(WaitError::Stale {
            name: name(),
            reason,
        }),
        None => Ok(None),
    }
}

/// Everything a wait looks at beside the stream.
pub(crate) struct Waiter<'a> {
    pub(crate) attachment: &'a Attachment,
    pub(crate) closed: &'a AtomicBool,
    pub(crate) cadence: &'a Cadence,
    pub(crate) policy: WaitPolicy,
    pub(crate) patience: Patience<'a>,
    /// Whether a frame that was given up ends the wait with an error.
    pub(crate) heeds_aborts: bool,
}

impl Waiter<'_> {
    /// Waits for a publication with a count above `after`; returns the newest count.
    pub(crate) fn wait_after(&self, after: u64) -> Result<u64, WaitError> {
        if let Some(count) = self.look(after)? {
            return Ok(count);
        }
        let began_ns = monotonic_ns();
        let mut passed = match self.policy {
            WaitPolicy::Park => Passed::Refused,
            WaitPolicy::Spin => self.spin(after, began_ns, u64::MAX)?,
            WaitPolicy::Adaptive => self.adapt(after, began_ns)?,
        };
        loop {
            if let Passed::New { count, seen_ns } = passed {
                self.cadence.learn(seen_ns.saturating_sub(began_ns));
                return Ok(count);
            }
            passed = self.sleep(after, u64::MAX)?;
        }
    }

    /// The newest count if it is above `after`; an error if it never will be.
    fn look(&self, after: u64) -> Result<Option<u64>, WaitError> {
        look(self.attachment, self.closed, self.heeds_aborts, after)
    }

    /// Spins when, and for as long as, this stream has been found to be worth it.
    fn adapt(&self, after: u64, began_ns: u64) -> Result<Passed, WaitError> {
        if !spin::another_cpu_is_allowed(began_ns) {
            return Ok(Passed::Refused);
        }
        match self.cadence.next_budget() {
            SpinBudget::Nothing => Ok(Passed::Refused),
            SpinBudget::Window { budget_ns } => {
                self.attempt(after, began_ns, began_ns + budget_ns, &self.cadence.spins)
            }
            SpinBudget::Grace => {
                // The frame before is still the newest one: its record is at hand, and looking at
                // it delays nobody.
                let newest = self.attachment.newest();
                match self.cadence.next_window(newest, began_ns) {
                    Some(window) => self.await_window(after, began_ns, window),
                    // No attempt: it costs no more than the sleep it may save.
                    None => self.spin(after, began_ns, began_ns + GRACE_NS),
                }
            }
        }
    }

    /// Sleeps until shortly before the frame is due, and spins for the moment around it.
    fn await_window(
        &self,
        after: u64,
        began_ns: u64,
        window: ArrivalWindow,
    ) -> Result<Passed, WaitError> {
        let mut now_ns = began_ns;
        if window.sleep_until_ns > began_ns {
            let passed = self.sleep(after, window.sleep_until_ns)?;
            let (Passed::New {
                seen_ns: ended_ns, ..
            }
            | Passed::InVain { now_ns: ended_ns }) = passed
            else {
                return Ok(passed);
            };
            // Also where a frame came first: if it was due later, the wake is what was late.
            if ended_ns > window.sleep_until_ns {
                self.cadence.woke_late(ended_ns - window.sleep_until_ns);
            }
            if passed.is_new() {
                return Ok(passed);
            }
            now_ns = ended_ns;
        }
        let end_ns = window.closes_ns.min(now_ns + window.budget_ns);
        if now_ns >= end_ns {
            return Ok(Passed::Refused);
        }
        self.attempt(after, now_ns, end_ns, &self.cadence.windows)
    }

    /// Spins, and has `attempts` learn what came of it.
    fn attempt(
        &self,
        after: u64,
        began_ns: u64,
        end_ns: u64,
        attempts: &BackOff,
    ) -> Result<Passed, WaitError> {
        let passed = self.spin(after, began_ns, end_ns)?;
        let moves = &self.cadence.moves;
        match passed {
            Passed::New { .. } => {
                moves.spun(true);
                attempts.succeeded();
            }
            Passed::InVain { now_ns } => {
                moves.spun(false);
                // Perhaps the writer could not run because of this spin.
                if attempts.failed() && moves.leave_this_cpu(now_ns) {
                    attempts.forget();
                }
            }
            Passed::Refused => {}
        }
        Ok(passed)
    }

    /// Looks until `end_ns`, for longer than the grace time only with a permit. Who has chosen to
    /// spin needs none.
    fn spin(&self, after: u64, began_ns: u64, end_ns: u64) -> Result<Passed, WaitError> {
        let head = &self.attachment.words().control.head.head;
        let mut permit: Option<SpinPermit> = None;
        let mut seen = head.load(Ordering::Acquire);
        let mut next_interrupt_ns = began_ns + SLICE_NS;
        let mut now_ns = began_ns;
        loop {
            // The head is the only line that changes once per frame: poll that alone.
            for _ in 0..32 {
                let current = head.load(Ordering::Acquire);
                if current != seen || Head(current).count() > after {
                    seen = current;
                    if let Some(count) = self.look(after)? {
                        // The clock was read a few polls ago: near enough to learn from, and
                        // another reading would delay the caller by half a hand-off.
                        return Ok(Passed::New {
                            count,
                            seen_ns: now_ns,
                        });
                    }
                }
                std::hint::spin_loop();
            }
            now_ns = monotonic_ns();
            self.check_deadline(after, now_ns)?;
            if self.policy == WaitPolicy::Spin {
                if now_ns >= next_interrupt_ns {
                    next_interrupt_ns = now_ns + SLICE_NS;
                    self.slice_checks(after)?;
                }
                continue;
            }
            if now_ns >= end_ns {
                return Ok(Passed::InVain { now_ns });
            }
            if now_ns.saturating_sub(began_ns) > GRACE_NS && permit.is_none() {
                match SpinPermit::take() {
                    Some(taken) => permit = Some(taken),
                    None => return Ok(Passed::Refused),
                }
            }
        }
    }

    /// Sleeps until there is a newer frame, or until `until_ns`.
    fn sleep(&self, after: u64, until_ns: u64) -> Result<Passed, WaitError> {
        let words = self.attachment.words();
        let mut slice_end_ns = monotonic_ns() + SLICE_NS;
        loop {
            let head = words.head();
            if let Some(count) = self.look(after)? {
                return Ok(Passed::New {
                    count,
                    seen_ns: monotonic_ns(),
                });
            }
            if self.attachment.is_writable() {
                words.announce_park();
            }
            let deadline_ns = self.patience.deadline_ns.unwrap_or(u64::MAX);
            let wake = futex::wait(
                self.attachment.futex_word(),
                head.futex(),
                Some(deadline_ns.min(until_ns).min(slice_end_ns)),
            );
            let now_ns = monotonic_ns();
            if let Some(count) = self.look(after)? {
                return Ok(Passed::New {
                    count,
                    seen_ns: now_ns,
                });
            }
            if wake == Wake::Interrupted || now_ns >= slice_end_ns {
                self.slice_checks(after)?;
                slice_end_ns = now_ns + SLICE_NS;
            } else {
                // Woken for nothing new: perhaps by somebody who wants this wait to end.
                self.check_interrupt()?;
            }
            self.check_deadline(after, now_ns)?;
            if now_ns >= until_ns {
                return Ok(Passed::InVain { now_ns });
            }
        }
    }

    fn check_deadline(&self, after: u64, now_ns: u64) -> Result<(), WaitError> {
        match self.patience.deadline_ns {
            Some(deadline) if now_ns >= deadline => Err(WaitError::TimedOut {
                name: self.attachment.name(),
                after,
            }),
            _ => Ok(()),
        }
    }

    fn check_interrupt(&self) -> Result<(), WaitError> {
        if self.patience.interrupt.is_some_and(|interrupt| interrupt()) {
            return Err(WaitError::Interrupted {
                name: self.attachment.name(),
            });
        }
        Ok(())
    }

    /// What is looked at rarely: the caller's interrupt, and whether the name still leads here.
    fn slice_checks(&self, after: u64) -> Result<(), WaitError> {
        self.check_interrupt()?;
        // Also finds a writer that died, which tells nobody.
        let newer = self.look(after)?;
        if let Some(reason) = self.attachment.stale_reason()
            && newer.is_none()
            && self.look(after)?.is_none()
        {
            return Err(WaitError::Stale {
                name: self.attachment.name(),
                reason,
            });
        }
        Ok(())
    }
}
