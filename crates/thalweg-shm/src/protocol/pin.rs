//! Pins: hazard pointers whose number is the bound.
//!
//! A stream of N slots has N-2 tickets, one word each, naming who pins which slot. The bound is
//! enforced by construction, so the writer never runs out of slots and never looks for the dead;
//! a borrower that finds no ticket does that.

use super::snapshot::Standstill;
use super::sync::{Ordering, full_fence_after_rmw, spin_loop};
use super::words::{AttachmentId, Sequence, Ticket};
use super::{Corrupt, Words};

/// A slot the writer leaves alone until [`Words::unpin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Index of the ticket.
    pub ticket: usize,
    /// The pinned slot.
    pub slot: usize,
    /// Number of the frame it holds.
    pub count: u64,
}

/// Why nothing was pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinError {
    /// Nothing was published yet.
    Empty,
    /// All tickets are taken.
    NoTicket,
    /// See [`Corrupt`].
    Corrupt(Corrupt),
}

/// Retries before the segment counts as corrupt: each one means that the writer published a whole
/// frame in between.
const PIN_ROUNDS: usize = 1_000_000;

/// Looks at a slot that the writer is looking at, too, before it counts as being written.
pub(super) const BUSY_ROUNDS: usize = if cfg!(loom) { 2 } else { 1000 };

impl Words<'_> {
    /// Pins the newest frame for `owner`.
    pub fn pin(&self, owner: AttachmentId) -> Result<Pin, PinError> {
        let mut head = self.head();
        if head.count() == 0 {
            return Err(PinError::Empty);
        }
        // AcqRel, then a full barrier: the ticket is seen by everybody before the look at the
        // sequence. Pairs with the barrier after the busy mark in `begin`.
        let taken = (0..self.ticket_count()).find(|&index| {
            self.control
                .ticket(index)
                .compare_exchange(
                    Ticket::FREE.0,
                    Ticket::new(owner, head.slot()).0,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                )
                .is_ok()
        });
        let Some(ticket) = taken else {
            return Err(PinError::NoTicket);
        };
        full_fence_after_rmw();
        let mut standstill = Standstill::default();
        for _ in 0..PIN_ROUNDS {
            let Some(slot) = self.slots.get(head.slot()) else {
                break;
            };
            let sequence = Sequence(slot.sequence.load(Ordering::Acquire));
            if sequence.holds(head.count()) {
                return Ok(Pin {
                    ticket,
                    slot: head.slot(),
                    count: head.count(),
                });
            }
            head = self.head();
            if standstill.check(head).is_err() {
                break;
            }
            self.control
                .ticket(ticket)
                .swap(Ticket::new(owner, head.slot()).0, Ordering::AcqRel);
            full_fence_after_rmw();
        }
        self.unpin(ticket);
        Err(PinError::Corrupt(Corrupt(
            "head names a slot that never holds its frame",
        )))
    }

    /// Pins frame `count` in `slot` for `owner` if it is still there; `None` if it is not, or if all
    /// tickets are taken. For a forked child, which sees the frame under its parent's ticket.
    pub fn pin_again(&self, owner: AttachmentId, slot: usize, count: u64) -> Option<Pin> {
        let header = self.slots.get(slot)?;
        let ticket = (0..self.ticket_count()).find(|&index| {
            // As in `pin`.
            self.control
                .ticket(index)
                .compare_exchange(
                    Ticket::FREE.0,
                    Ticket::new(owner, slot).0,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                )
                .is_ok()
        })?;
        full_fence_after_rmw();
        for _ in 0..BUSY_ROUNDS {
            let sequence = Sequence(header.sequence.load(Ordering::Acquire));
            if sequence.holds(count) {
                return Some(Pin {
                    ticket,
                    slot,
                    count,
                });
            }
            if !sequence.is_busy() {
                break;
            }
            // The writer looks whether the slot is free: it either finds a ticket and moves on, or
            // has found none and writes.
            spin_loop();
        }
        self.unpin(ticket);
        None
    }

    /// Gives a ticket back. The caller owns it and reads the slot no more.
    pub fn unpin(&self, ticket: usize) {
        // Release pairs with the Acquire load in `begin`: the last read came before.
        self.control
            .ticket(ticket)
            .store(Ticket::FREE.0, Ordering::Release);
    }

    /// Takes a ticket that pins nothing, so that nobody else pins with it; [`Words::unpin`] gives
    /// it back. `None` when all are taken.
    pub fn reserve(&self, owner: AttachmentId) -> Option<usize> {
        let reserved = Ticket::reserved(owner).0;
        (0..self.ticket_count()).find(|&index| {
            self.control
                .ticket(index)
                .compare_exchange(
                    Ticket::FREE.0,
                    reserved,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                )
                .is_ok()
        })
    }

    /// Owners of the frames pinned right now.
    pub fn pin_owners(&self) -> impl Iterator<Item = AttachmentId> + '_ {
        self.taken_tickets()
            .filter(|ticket| !ticket.is_reserved())
            .filter_map(Ticket::owner)
    }

    /// Tickets taken right now, whatever for.
    pub fn taken_tickets(&self) -> impl Iterator<Item = Ticket> + '_ {
        (0..self.ticket_count())
            .map(|index| Ticket(self.control.ticket(index).load(Ordering::Acquire)))
            .filter(|ticket| ticket.owner().is_some())
    }
}
