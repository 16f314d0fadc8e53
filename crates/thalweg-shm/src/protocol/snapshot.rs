//! Copying readers: they write nothing, register nowhere, and there may be any number of them.

use super::publish::Record;
use super::sync::{Ordering, fence};
use super::words::{Head, Sequence};
use super::{Corrupt, Words};

/// A complete frame as it was a moment ago. What was copied from its slot is that frame if
/// [`Words::is_current`] still says so afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The slot.
    pub slot: usize,
    /// Number of the frame.
    pub count: u64,
    sequence: Sequence,
}

/// What a look at the stream found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// A complete frame.
    Frame(Snapshot),
    /// Nothing was published yet.
    Empty(Head),
    /// The writer came by in between: look again.
    Again,
}

/// Looks at one and the same head after which a segment counts as corrupt.
pub const STANDSTILL_ROUNDS: u32 = 10_000;

/// Notices a head that names a slot which does not hold its frame, although nobody publishes.
///
/// A slot is completed before the head names it, and taken for a later frame only after the head
/// has moved on; so who finds another frame in it has to find another head, too.
#[derive(Debug, Default)]
pub struct Standstill {
    head: Option<Head>,
    rounds: u32,
}

impl Standstill {
    /// To be called with the head as it is after a slot was found to hold something else.
    pub fn check(&mut self, head: Head) -> Result<(), Corrupt> {
        if self.head.is_some_and(|seen| seen.same_frame(head)) {
            self.rounds += 1;
        } else {
            *self = Self {
                head: Some(head),
                rounds: 0,
            };
        }
        if self.rounds < STANDSTILL_ROUNDS {
            Ok(())
        } else {
            Err(Corrupt("head names a slot that does not hold its frame"))
        }
    }
}

impl Words<'_> {
    /// Finds the newest frame.
    pub fn snapshot(&self) -> Result<Look, Corrupt> {
        let head = self.head();
        if head.count() == 0 {
            return Ok(Look::Empty(head));
        }
        let Some(slot) = self.slots.get(head.slot()) else {
            return Err(Corrupt("head names a slot the stream does not have"));
        };
        // Acquire pairs with the Release stores of `commit`: the payload of this sequence or of a
        // later one is visible.
        let sequence = Sequence(slot.sequence.load(Ordering::Acquire));
        if !sequence.holds(head.count()) {
            return Ok(Look::Again);
        }
        Ok(Look::Frame(Snapshot {
            slot: head.slot(),
            count: head.count(),
            sequence,
        }))
    }

    /// The record of a frame; as valid as the payload.
    pub fn record(&self, snapshot: &Snapshot) -> Record {
        let slot = &self.slots[snapshot.slot];
        Record {
            frame_id: slot.frame_id.load(Ordering::Relaxed),
            wall_ns: slot.wall_ns.load(Ordering::Relaxed),
            publish_ns: slot.publish_ns.load(Ordering::Relaxed),
            origin_ns: slot.origin_ns.load(Ordering::Relaxed),
        }
    }

    /// True when nobody touched the slot since the snapshot: everything read from it up to here
    /// belongs to that frame.
    pub fn is_current(&self, snapshot: &Snapshot) -> bool {
        // The payload loads come before the second look at the sequence. Pairs with the barrier
        // after the busy mark in `begin`. The whole word is compared, attempt included.
        fence(Ordering::Acquire);
        let sequence = self.slots[snapshot.slot].sequence.load(Ordering::Relaxed);
        sequence == snapshot.sequence.0
    }

    /// The complete frames still held whose counts are in `after+1..=head`, oldest first, at most
    /// one per slot. Each is to be checked with [`Words::is_current`] after copying.
    pub fn history(&self, after: u64) -> Vec<Snapshot> {
        let head = self.head();
        let mut frames: Vec<Snapshot> = self
            .slots
            .iter()
            .enumerate()
            .filter_map(|(slot, header)| {
                let sequence = Sequence(header.sequence.load(Ordering::Acquire));
                let count = sequence.count();
                (sequence.holds(count) && count > after && count <= head.count()).then_some(
                    Snapshot {
                        slot,
                        count,
                        sequence,
                    },
                )
            })
            .collect();
        frames.sort_by_key(|snapshot| snapshot.count);
        frames
    }
}
