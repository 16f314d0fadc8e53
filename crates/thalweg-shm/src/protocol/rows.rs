//! Progressive frames: rows of a frame are read while the others are still written.
//!
//! The writer says where it writes (`live`) and how many rows are done (`rows` in the slot), and
//! rings a bell of its own, so that sleepers on whole frames sleep on. A reader copies and looks
//! afterwards whether the slot still belongs to the same writing: same count and same attempt.

use super::Words;
use super::pin::BUSY_ROUNDS;
use super::publish::Claim;
use super::sync::{Ordering, fence, full_fence_after_rmw, spin_loop};
use super::words::{Live, RowsDone, Sequence};

/// One writing of one frame, and how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The slot.
    pub slot: usize,
    /// Rows announced so far. All of them count as announced once the frame is complete.
    pub announced: usize,
    /// All of the frame is there.
    pub is_complete: bool,
    /// Count and attempt, as of a complete frame.
    sequence: Sequence,
}

impl Progress {
    /// Number of the frame.
    pub fn count(&self) -> u64 {
        self.sequence.count()
    }

    /// True for two looks at one writing of one frame.
    pub fn is_same_writing(&self, other: &Self) -> bool {
        (self.slot, self.sequence) == (other.slot, other.sequence)
    }
}

/// What became of a writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is under way, or complete and still there.
    There(Progress),
    /// It was given up.
    Aborted,
    /// It was complete, and another frame is in its slot.
    Replaced,
    /// A writer looks at its slot, which somebody has pinned, and has not looked at the pins yet:
    /// soon the frame is there again. Or it died doing so.
    Marked,
}

impl Words<'_> {
    /// Announces that the claimed slot is being written. For the holder of the writer lock.
    pub fn begin_rows(&self, claim: Claim) {
        let tag = claim.busy().tag();
        self.slots[claim.slot]
            .rows
            .store(RowsDone::new(tag, 0).0, Ordering::Relaxed);
        // Release: who finds the slot finds its row count.
        self.control
            .head
            .live
            .store(Live::new(tag, claim.slot).0, Ordering::Release);
    }

    /// Announces the first `rows` rows of the claimed slot. For the holder of the writer lock.
    pub fn announce_rows(&self, claim: Claim, rows: usize, wake_always: bool, wake: impl FnOnce()) {
        // Release: the rows come first.
        self.slots[claim.slot]
            .rows
            .store(RowsDone::new(claim.busy().tag(), rows).0, Ordering::Release);
        self.ring_rows(wake_always, wake);
    }

    /// Has sleepers on rows look again, after an announcement, a publication or an abort. For the
    /// holder of the writer lock; `wake` is called only if somebody may sleep.
    pub fn ring_rows(&self, wake_always: bool, wake: impl FnOnce()) {
        // As in `commit`: what this answers is the count from before the change.
        let answered = self.control.request.row_parks.load(Ordering::Acquire);
        // AcqRel: who sees the bell changed sees what it was rung for.
        self.control.row_bell.bell.fetch_add(1, Ordering::AcqRel);
        // Pairs with the barrier in `announce_row_park`.
        full_fence_after_rmw();
        let woken = &self.control.writer.row_woken;
        let parked = self.control.request.row_parks.load(Ordering::Relaxed);
        if wake_always || parked != woken.load(Ordering::Relaxed) {
            wake();
            woken.store(answered, Ordering::Relaxed);
        }
    }

    /// Counts the caller as about to sleep on the row bell. To be called between a look that found
    /// too few rows and sleeping while the bell is what it was before that look.
    pub fn announce_row_park(&self) {
        // As in `announce_park`.
        self.control
            .request
            .row_parks
            .fetch_add(1, Ordering::AcqRel);
        full_fence_after_rmw();
    }

    /// The row bell, to be read before a look that may lead to sleeping on it.
    pub fn row_bell(&self) -> u32 {
        // Acquire pairs with the change in `ring_rows`.
        self.control.row_bell.bell.load(Ordering::Acquire)
    }

    /// The frame begun last, unless it was given up or replaced.
    pub fn live_rows(&self) -> Option<Progress> {
        let live = Live(self.control.head.live.load(Ordering::Acquire));
        self.rows_in(live.slot()?)
            .filter(|progress| progress.sequence.tag() == live.tag())
    }

    /// The newest complete frame; `None` before the first, or when the writer comes by.
    pub fn complete_rows(&self) -> Option<Progress> {
        let head = self.head();
        self.rows_in(head.slot())
            .filter(|progress| progress.is_complete && progress.count() == head.count())
    }

    /// What is in `slot`.
    fn rows_in(&self, slot: usize) -> Option<Progress> {
        self.look_into(slot).map(|(progress, _)| progress)
    }

    /// The same, and whether the slot was marked as being written.
    fn look_into(&self, slot: usize) -> Option<(Progress, bool)> {
        let header = self.slots.get(slot)?;
        // Acquire pairs with the Release in `announce_rows`: these rows are visible.
        let done = RowsDone(header.rows.load(Ordering::Acquire));
        // Acquire pairs with the Release in `commit`: all rows are.
        let sequence = Sequence(header.sequence.load(Ordering::Acquire));
        if sequence == Sequence::EMPTY {
            return None;
        }
        // The row count of another writing says nothing about this one.
        let is_own = done.tag() == sequence.tag();
        let progress = Progress {
            slot,
            announced: if is_own { done.rows() } else { 0 },
            // A slot is complete before its frame is published, and a writer may die in between.
            is_complete: !sequence.is_busy() && self.head().count() >= sequence.count(),
            sequence: sequence.as_complete(),
        };
        Some((progress, sequence.is_busy()))
    }

    /// What became of a writing. Rows copied between two looks that both found it there are rows of
    /// that writing.
    pub fn fate_of(&self, progress: &Progress) -> Fate {
        // The copies come before this look. Pairs with the barrier after the busy mark in `begin`.
        fence(Ordering::Acquire);
        let mut is_marked = false;
        for round in 0..BUSY_ROUNDS {
            match self.look_into(progress.slot) {
                Some((now, _)) if now.is_same_writing(progress) => return Fate::There(now),
                // A writer that looks for a slot marks a pinned one for a moment, and leaves it as it
                // was. One look tells both what is in there and that it is marked: after a second one
                // it might be as it was, and count as gone.
                Some((_, true)) => spin_loop(),
                _ => break,
            }
            is_marked = round + 1 == BUSY_ROUNDS;
        }
        if is_marked && self.is_pinned(progress.slot) {
            return Fate::Marked;
        }
        let count = progress.count();
        let is_published = self.head().count() >= count;
        let was_written_again = || {
            self.slots.iter().any(|header| {
                let sequence = Sequence(header.sequence.load(Ordering::Acquire));
                sequence.count() == count && sequence.as_complete() != progress.sequence
            })
        };
        if !progress.is_complete && (!is_published || was_written_again()) {
            Fate::Aborted
        } else {
            Fate::Replaced
        }
    }
}
