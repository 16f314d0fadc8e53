//! Lossless readers: whoever subscribes gets every frame, and the writer waits for him.
//!
//! The promise is a constraint in the reader's row: with the cursor c and the budget b, frame c+b
//! may be begun and c+b+1 may not, and no frame above c is overwritten. So a reader reads frame c+1
//! in place, without a ticket. A budget of up to two costs nothing: the last published frame and
//! the one being written are out of each other's way anyhow. Each further frame is paid with a
//! ticket that pins nothing ([`Words::reserve`]), so that tickets and budgets together still leave
//! the writer a slot. The writer's side is [`super::room`].
//!
//! A process has one row, hence one subscription; readers of one process share it.

use super::Words;
use super::sync::{Ordering, full_fence_after_rmw};
use super::words::{AttachmentId, ROWS, Sequence, Subscription};

/// Frames of a budget that need no ticket.
pub const FREE_BUDGET: usize = 2;

/// A subscription as a stranger sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// Whose readers.
    pub owner: AttachmentId,
    /// Frames that may be begun beyond the cursor.
    pub budget: u8,
    /// Count of the newest frame all of them are done with.
    pub cursor: u64,
}

impl Words<'_> {
    /// Subscribes `owner`, who is not subscribed and holds the tickets its budget needs. Every
    /// frame above the returned count is kept for it. `wake` wakes the writer that waits for room.
    pub fn subscribe(&self, owner: AttachmentId, budget: u8, wake: impl FnOnce()) -> u64 {
        let row = &self.control.rows[owner.row()];
        // Where the constraint begins. Means nothing until the subscription is there.
        row.cursor.store(self.head().count(), Ordering::Relaxed);
        self.demand(owner, budget);
        // Constrain first, then choose the start: a frame that was begun before the writer saw the
        // constraint is one this look at the head sees, or the one after it. The other way round
        // the start could be overwritten. And through `advance`: the writer may wait already.
        let start = self.head().count();
        self.advance(owner, start, wake);
        start
    }

    /// Publishes the constraint, before any look at the head that follows.
    fn demand(&self, owner: AttachmentId, budget: u8) {
        // Release: whoever sees the subscription sees its cursor and its tickets.
        self.control.rows[owner.row()]
            .subscription
            .store(Subscription::new(owner, budget).0, Ordering::Release);
        // AcqRel: a writer that clears a bit left behind by the row's last subscriber, clears it
        // before this, or sees the subscription when it looks again. The full barrier pairs with
        // the one after the change of head in `commit`.
        self.control
            .request
            .lossless
            .fetch_or(1 << owner.row(), Ordering::AcqRel);
        full_fence_after_rmw();
    }

    /// Changes the budget of a subscription: to a lower one for a further reader, whose frames are
    /// all above the returned count, or to a higher one that is paid for.
    pub fn set_budget(&self, owner: AttachmentId, budget: u8, wake: impl FnOnce()) -> u64 {
        self.control.rows[owner.row()]
            .subscription
            .swap(Subscription::new(owner, budget).0, Ordering::AcqRel);
        self.make_room(wake);
        self.head().count()
    }

    /// All readers of `owner` are done with frame `count` and those before it.
    pub fn advance(&self, owner: AttachmentId, count: u64, wake: impl FnOnce()) {
        // AcqRel pairs with the Acquire load in `wait_for_room`: the last read of the frame
        // happened before the slot is written again.
        self.control.rows[owner.row()]
            .cursor
            .swap(count, Ordering::AcqRel);
        self.make_room(wake);
    }

    /// Ends the subscription. Its tickets are given back after, because a writer that still sees
    /// the subscription counts on them.
    pub fn unsubscribe(&self, owner: AttachmentId, wake: impl FnOnce()) {
        // The bit in the mask stays; the next writer that looks finds nothing behind it.
        self.control.rows[owner.row()]
            .subscription
            .swap(Subscription::NONE.0, Ordering::AcqRel);
        self.make_room(wake);
    }

    /// Directly after a read-modify-write that may have made room: tells the writer if it waits.
    fn make_room(&self, wake: impl FnOnce()) {
        // The change before the look at `waiting`; the writer sets `waiting` before it looks for
        // room. Pairs with the barrier in `wait_for_room`.
        full_fence_after_rmw();
        let space = &self.control.space;
        if space.waiting.load(Ordering::Relaxed) != 0 {
            // Release: who sees the bell changed finds the room.
            space.bell.fetch_add(1, Ordering::AcqRel);
            wake();
        }
    }

    /// The slot that holds frame `count`, which is published and kept. Looks at `guess` first.
    pub fn slot_of(&self, count: u64, guess: usize) -> Option<usize> {
        let holds = |slot: usize| {
            self.slots.get(slot).is_some_and(|header| {
                // Acquire pairs with the Release in `commit`: record and payload are visible.
                Sequence(header.sequence.load(Ordering::Acquire)).holds(count)
            })
        };
        if holds(guess) {
            return Some(guess);
        }
        (0..self.slots.len()).find(|&slot| holds(slot))
    }

    /// Subscriptions right now.
    pub fn subscribers(&self) -> impl Iterator<Item = Subscriber> + '_ {
        (0..ROWS).filter_map(|row| self.subscriber(row))
    }

    /// The subscription in `row`.
    pub(super) fn subscriber(&self, row: usize) -> Option<Subscriber> {
        let entry = &self.control.rows[row];
        // Acquire pairs with the Release in `demand`: the cursor is this subscription's.
        let subscription = Subscription(entry.subscription.load(Ordering::Acquire));
        // A word that names another row was not written by the protocol, and binds nobody.
        let owner = subscription.owner().filter(|owner| owner.row() == row)?;
        Some(Subscriber {
            owner,
            budget: subscription.budget(),
            cursor: entry.cursor.load(Ordering::Acquire),
        })
    }
}
