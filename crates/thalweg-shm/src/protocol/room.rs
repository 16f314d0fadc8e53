//! Room for the next frame: the writer's side of lossless reading.
//!
//! For the holder of the writer lock. Without lossless readers it is one load of a word in the line
//! that holds the tickets.

use super::lock::SLICE_NS;
use super::lossless::Subscriber;
use super::sync::{AtomicU32, Ordering, fence, full_fence_after_rmw};
use super::words::{AttachmentId, Head, ROWS, Sequence, Subscription};
use super::{Corrupt, Words};

/// What waiting for lossless readers needs from the outside.
pub trait RoomEnvironment {
    /// Sleeps while `*word == expected`, at most `slice_ns`; whether all of that has passed.
    fn sleep(&self, word: &AtomicU32, expected: u32, slice_ns: u64) -> bool;
    /// Clears what `owner` holds if the process is known to have ended; whether it has.
    fn clear_if_dead(&self, owner: AttachmentId) -> bool;
    /// True when the caller does not want to wait any longer.
    fn gives_up(&self) -> bool;
}

/// Why no slot was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeginError {
    /// The caller gave up waiting for this lossless reader.
    Lagging(Subscriber),
    /// See [`Corrupt`].
    Corrupt(Corrupt),
}

/// Frames that lossless readers have not read: those above a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    above: u64,
}

impl Kept {
    const NOTHING: Self = Self { above: u64::MAX };

    /// True when the slot with this sequence holds one of them.
    pub(super) fn includes(self, sequence: impl FnOnce() -> Sequence) -> bool {
        self != Self::NOTHING && {
            let sequence = sequence();
            !sequence.is_busy() && sequence.count() > self.above
        }
    }
}

/// Frames that `subscriber` has to be done with before the one after `head` may be begun.
fn missing(head: Head, subscriber: Subscriber) -> u64 {
    // A cursor ahead of the head was not written by the protocol, and binds nobody.
    let behind = head.count().saturating_sub(subscriber.cursor);
    (behind + 1).saturating_sub(u64::from(subscriber.budget))
}

enum Room {
    Free(Kept),
    Short(Subscriber),
}

impl Words<'_> {
    /// Waits until no lossless reader forbids the frame after `head`; says which frames to keep.
    pub(super) fn wait_for_room(
        &self,
        head: Head,
        environment: &impl RoomEnvironment,
    ) -> Result<Kept, BeginError> {
        // Relaxed: a subscriber whose bit is not seen here finds the frame before this one in the
        // head, because of the barriers after its bit and after the head was changed. Then it
        // does not count on what this frame replaces.
        if self.control.request.lossless.load(Ordering::Relaxed) == 0 {
            return Ok(Kept::NOTHING);
        }
        match self.room(head) {
            Room::Free(kept) => Ok(kept),
            Room::Short(_) => self.sleep_for_room(head, environment),
        }
    }

    #[cold]
    fn sleep_for_room(
        &self,
        head: Head,
        environment: &impl RoomEnvironment,
    ) -> Result<Kept, BeginError> {
        let space = &self.control.space;
        // Whose life was looked at since the last whole slice.
        let mut alive = None;
        let mut cleared = 0;
        let outcome = loop {
            // Acquire pairs with the change of the bell: the room it announces is found.
            let bell = space.bell.load(Ordering::Acquire);
            // AcqRel, then a full barrier: either a reader sees that the writer waits, or the
            // writer sees the cursor. Pairs with the barrier in `make_room`.
            space.waiting.swap(1, Ordering::AcqRel);
            full_fence_after_rmw();
            let laggard = match self.room(head) {
                Room::Free(kept) => break Ok(kept),
                Room::Short(laggard) => laggard,
            };
            if alive != Some(laggard.owner) {
                if environment.clear_if_dead(laggard.owner) {
                    self.drop_demand(laggard);
                    cleared += 1;
                    // More than there are rows: somebody goes on writing subscriptions of the dead.
                    if cleared > ROWS && environment.gives_up() {
                        break Err(BeginError::Lagging(laggard));
                    }
                    continue;
                }
                alive = Some(laggard.owner);
            }
            if environment.gives_up() {
                break Err(BeginError::Lagging(laggard));
            }
            if environment.sleep(&space.bell, bell, SLICE_NS) {
                alive = None;
            }
        };
        // A reader that still sees 1 makes one needless call.
        space.waiting.store(0, Ordering::Relaxed);
        outcome
    }

    /// What the subscriptions say right now about the frame after `head`.
    fn room(&self, head: Head) -> Room {
        let mut kept = Kept::NOTHING;
        let mut shortest: Option<(u64, Subscriber)> = None;
        let mut mask = self.control.request.lossless.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        while mask != 0 {
            let row = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            let Some(subscriber) = self.subscriber_or_sweep(row) else {
                continue;
            };
            let missing = missing(head, subscriber);
            if missing > shortest.map_or(0, |(most, _)| most) {
                shortest = Some((missing, subscriber));
            }
            kept.above = kept.above.min(subscriber.cursor);
        }
        match shortest {
            Some((_, laggard)) => Room::Short(laggard),
            None => Room::Free(kept),
        }
    }

    /// The lossless reader that the holder of the writer lock waits for, if it waits. For anybody.
    pub fn waited_for(&self) -> Option<Subscriber> {
        if self.control.space.waiting.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let head = self.head();
        self.subscribers()
            .filter(|&subscriber| missing(head, subscriber) > 0)
            .max_by_key(|&subscriber| missing(head, subscriber))
    }

    /// The subscription in `row`; clears the row's bit when there is none.
    fn subscriber_or_sweep(&self, row: usize) -> Option<Subscriber> {
        if let Some(subscriber) = self.subscriber(row) {
            return Some(subscriber);
        }
        let lossless = &self.control.request.lossless;
        // AcqRel pairs with the setting of the bit in `demand`: a subscriber that had set it
        // already is seen now. Without this second look he would be lossy and not know it.
        lossless.fetch_and(!(1 << row), Ordering::AcqRel);
        let subscriber = self.subscriber(row)?;
        lossless.fetch_or(1 << row, Ordering::AcqRel);
        Some(subscriber)
    }

    /// Removes the subscription of a process that has ended, if its reaper has left it.
    fn drop_demand(&self, dead: Subscriber) {
        let seen = Subscription::new(dead.owner, dead.budget).0;
        self.control.rows[dead.owner.row()]
            .subscription
            .compare_exchange(
                seen,
                Subscription::NONE.0,
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .ok();
    }

    /// Part of repairing: a writer that died while it cleared a bit may have left a reader without
    /// one, and one that died waiting, readers that ring for nobody.
    pub(super) fn restore_demands(&self) {
        for subscriber in self.subscribers() {
            self.control
                .request
                .lossless
                .fetch_or(1 << subscriber.owner.row(), Ordering::AcqRel);
        }
        self.control.space.waiting.store(0, Ordering::Relaxed);
    }
}
