//! Writing a frame: claim a slot, fill it, publish it with one compare-exchange.
//!
//! Everything in here but [`Words::event`] is for the holder of the writer lock.

use super::room::{BeginError, Kept, RoomEnvironment};
use super::sync::{Ordering, fence, full_fence_after_rmw};
use super::words::{Head, Live, Sequence, Ticket};
use super::{Corrupt, Words};

/// Bits of the `state` word. They are set once and stay.
pub mod state {
    /// The name was removed.
    pub const UNLINKED: u32 = 1;
    /// The name leads to a newer stream.
    pub const REPLACED: u32 = 2;
    /// The writer declared the end of the stream.
    pub const ENDED: u32 = 4;
}

/// Rounds over all slots before a claim calls the segment corrupt. A live borrower can cost one
/// candidate each time it moves its ticket, and must complete a whole retry of its own to do so; a
/// lossless reader, each time it leaves and somebody pins with its ticket.
const CLAIM_ROUNDS: usize = 64;

/// A slot marked busy by this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The slot.
    pub slot: usize,
    /// Number of the frame being written.
    pub count: u64,
    attempt: u32,
}

impl Claim {
    /// What the slot's sequence says while it is written.
    pub(super) fn busy(self) -> Sequence {
        Sequence::busy(self.count, self.attempt)
    }
}

/// What is published beside the payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Id stamped by the writer.
    pub frame_id: u64,
    /// Wall time in ns since 1970.
    pub wall_ns: u64,
    /// Monotonic time of publication in ns.
    pub publish_ns: u64,
    /// Monotonic time in ns at which the data entered the system.
    pub origin_ns: u64,
}

impl Words<'_> {
    /// Claims a slot for the frame after `head`: neither the last published, nor a pinned one, nor
    /// one that a lossless reader has not read. Waits for lossless readers, if it has to, before
    /// anything is claimed.
    pub fn begin(
        &self,
        head: Head,
        environment: &impl RoomEnvironment,
    ) -> Result<Claim, BeginError> {
        if head.count() >= Sequence::MAX_COUNT {
            return Err(BeginError::Corrupt(Corrupt(
                "head counts more frames than can ever have been written",
            )));
        }
        for _ in 0..CLAIM_ROUNDS {
            // Anew in each round: what is kept and who holds tickets have to belong together.
            let kept = self.wait_for_room(head, environment)?;
            if let Some(claim) = self.claim(head, kept) {
                return Ok(claim);
            }
        }
        Err(BeginError::Corrupt(Corrupt(
            "every slot is pinned, which tickets rule out",
        )))
    }

    /// Looks at every slot once.
    fn claim(&self, head: Head, kept: Kept) -> Option<Claim> {
        let slots = self.slots.len();
        let count = head.count() + 1;
        // Only lock holders write `attempts`.
        let attempt = self.control.writer.attempts.load(Ordering::Relaxed);
        let busy = Sequence::busy(count, attempt);
        for step in 1..slots {
            let slot = self.candidate(head, step);
            let claim = Claim {
                slot,
                count,
                attempt,
            };
            let sequence = &self.slots[slot].sequence;
            // Never marked, because its reader looks for it by its sequence and reads it without a
            // ticket. Only lock holders write sequences.
            if kept.includes(|| Sequence(sequence.load(Ordering::Relaxed))) {
                continue;
            }
            if slots == 2 {
                // No tickets, hence no reader whose mark could be missed: ordering the mark before
                // the payload is enough. Pairs with the Acquire fence of `is_current`.
                sequence.store(busy.0, Ordering::Relaxed);
                fence(Ordering::Release);
                return Some(claim);
            }
            // Mark first, then look for tickets; a borrower writes its ticket first and then looks
            // for the mark. With a full barrier on both sides at least one sees the other. Also
            // the seqlock's release: no payload store may become visible before the mark.
            let old = sequence.swap(busy.0, Ordering::AcqRel);
            full_fence_after_rmw();
            if !self.is_pinned(slot) {
                return Some(claim);
            }
            // Release: the content is intact, and copies under way may go on believing in it.
            sequence.store(old, Ordering::Release);
        }
        None
    }

    /// The slot to try as the `step`th, from 1, of those that are not the newest frame's.
    ///
    /// Going round all slots keeps every frame as long as it can be kept. Starting over from the
    /// lowest keeps two slots in use while nobody holds any: of large frames, two fit into a cache
    /// that four do not.
    fn candidate(&self, head: Head, step: usize) -> usize {
        if !self.reuses_slots {
            (head.slot() + step) % self.slots.len()
        } else if step <= head.slot() {
            step - 1
        } else {
            step
        }
    }

    pub(super) fn is_pinned(&self, slot: usize) -> bool {
        // Acquire pairs with the Release of `unpin`: the borrower's last access happened before.
        (0..self.ticket_count())
            .any(|index| Ticket(self.control.ticket(index).load(Ordering::Acquire)).names(slot))
    }

    /// Publishes the claimed slot. `head` is the holder's private copy and moves on; `wake` wakes
    /// every sleeper on the head word and is called only if somebody may sleep.
    pub fn commit(
        &self,
        head: &mut Head,
        claim: Claim,
        record: Record,
        wake_always: bool,
        wake: impl FnOnce(),
    ) -> Result<(), Corrupt> {
        let slot = &self.slots[claim.slot];
        slot.frame_id.store(record.frame_id, Ordering::Relaxed);
        slot.wall_ns.store(record.wall_ns, Ordering::Relaxed);
        slot.publish_ns.store(record.publish_ns, Ordering::Relaxed);
        slot.origin_ns.store(record.origin_ns, Ordering::Relaxed);
        let complete = Sequence::complete(claim.count, claim.attempt);
        // Release: pairs with the Acquire of `snapshot` and `pin`; payload and record come first.
        slot.sequence.store(complete.0, Ordering::Release);
        // What this publication answers is `parks` from before the change: whoever is counted in
        // it had read an older head. Read after the change it could count a sleeper of the next
        // frame as answered. Acquire pairs with the increment in `announce_park`.
        let answered = self.control.request.parks.load(Ordering::Acquire);
        let mut current = *head;
        loop {
            let next = current.published(claim.slot, claim.count);
            // AcqRel: publishes the slot to whoever reads the head with Acquire.
            match self.control.head.head.compare_exchange(
                current.0,
                next.0,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    *head = next;
                    break;
                }
                Err(seen) if Head(seen).same_frame(current) => current = Head(seen),
                Err(_) => return Err(Corrupt("head was moved by a process without the lock")),
            }
        }
        // The change of head before the look at `parks`; a sleeper increments `parks` before it
        // looks at head. Pairs with the barrier in `announce_park`.
        full_fence_after_rmw();
        let writer = &self.control.writer;
        let parked = self.control.request.parks.load(Ordering::Relaxed);
        if wake_always || parked != writer.woken.load(Ordering::Relaxed) {
            wake();
            writer.woken.store(answered, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Gives the claimed slot back, empty. The last published frame stays what it was, except that
    /// a strict stream marks it as abandoned. Sleepers hear of it from the next event.
    pub fn abort(&self, claim: Claim, is_strict: bool) {
        // First, as in `repair`: once the slot is empty nobody could tell that this is due.
        if is_strict {
            self.event(0, true, || {});
        }
        self.control
            .head
            .live
            .store(Live::NONE.0, Ordering::Relaxed);
        self.count_attempt();
        self.slots[claim.slot]
            .sequence
            .store(Sequence::EMPTY.0, Ordering::Release);
    }

    /// Removes what a holder that died left behind. A half-written frame marks the newest one of a
    /// strict stream as abandoned; sleepers hear of it from the next event.
    ///
    /// Idempotent, and the repairer may die, too: the half-written slots are what tells the next
    /// one that there is something to do, so they are emptied last.
    pub fn repair(&self, head: Head, is_strict: bool) {
        let debris = || {
            self.slots.iter().filter_map(|slot| {
                let sequence = Sequence(slot.sequence.load(Ordering::Relaxed));
                let is_left = sequence.is_busy() || sequence.count() > head.count();
                is_left.then_some((slot, sequence))
            })
        };
        if is_strict && debris().any(|(_, sequence)| sequence.is_busy()) {
            self.event(0, true, || {});
        }
        self.control
            .head
            .live
            .store(Live::NONE.0, Ordering::Relaxed);
        if debris().next().is_some() {
            self.count_attempt();
        }
        for (slot, _) in debris() {
            slot.sequence.store(Sequence::EMPTY.0, Ordering::Release);
        }
        self.restore_demands();
    }

    fn count_attempt(&self) {
        let attempts = &self.control.writer.attempts;
        // Only lock holders write it, so a load and a store are enough.
        let counted = attempts.load(Ordering::Relaxed).wrapping_add(1);
        attempts.store(counted, Ordering::Relaxed);
    }

    /// Sets `bits` of the state word and has every sleeper look again. Anybody may do this; it
    /// costs a colliding publication one retry. `invalidate` marks the newest frame of a strict
    /// stream as abandoned, which only the lock holder may do.
    pub fn event(&self, bits: u32, invalidate: bool, wake: impl FnOnce()) {
        // AcqRel: whoever sees the changed head also sees the bits.
        self.control.head.state.fetch_or(bits, Ordering::AcqRel);
        let head = &self.control.head.head;
        let mut current = Head(head.load(Ordering::Acquire));
        while let Err(seen) = head.compare_exchange_weak(
            current.0,
            current.with_event(invalidate).0,
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            current = Head(seen);
        }
        wake();
    }

    /// The newest publication as the head announces it.
    pub fn head(&self) -> Head {
        // Acquire pairs with the compare-exchange of `commit`.
        Head(self.control.head.head.load(Ordering::Acquire))
    }

    /// True when a slot is marked as being written with the frame after `head`: by a writer at work,
    /// or by one that died and was not cleared up after yet.
    pub fn is_being_written(&self, head: Head) -> bool {
        self.slots.iter().any(|slot| {
            let sequence = Sequence(slot.sequence.load(Ordering::Relaxed));
            sequence.is_busy() && sequence.count() == head.count() + 1
        })
    }

    /// Bits of [`state`].
    pub fn state(&self) -> u32 {
        self.control.head.state.load(Ordering::Acquire)
    }

    /// True when some writing was given up, by an abort or by a death.
    pub fn has_attempts(&self) -> bool {
        self.control.writer.attempts.load(Ordering::Relaxed) != 0
    }
}
