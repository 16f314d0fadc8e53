//! Borrowing a frame: a slot the writer leaves alone while anybody looks at it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use thalweg_os::fork;

use super::attachment::{Attachment, LocalPin, lock_ignoring_poison};
use super::error::{BorrowError, LockError};
use super::publication::Publication;
use crate::array::ArrayRef;
use crate::protocol::pin::{Pin, PinError};
use crate::protocol::publish::Record;
use crate::protocol::sync::Ordering;

/// A borrowed frame. Its memory stays as it is until the last clone is dropped, whatever happens
/// to handles, the name or the writer meanwhile.
///
/// **In a forked child** the frame is at first held by the parent's ticket alone, because taking
/// tickets in every child would leave them with the programs that most children become. The child
/// takes a ticket of its own when it first uses the frame by any method; from then on it is as
/// safe as in the parent. Until then, or if the stream has no ticket left, it stays as it is while
/// the parent holds it. [`Frame::is_protected`] tells, [`super::Stream::inherited_views`] counts.
#[derive(Debug)]
pub struct Frame {
    attachment: Arc<Attachment>,
    pin: Pin,
    /// The process whose ticket this view has a share in.
    fork_generation: AtomicU64,
}

impl Frame {
    pub(crate) fn borrow(attachment: &Arc<Attachment>) -> Result<Self, BorrowError> {
        let pin = attachment.pin_newest()?;
        Ok(Self {
            attachment: Arc::clone(attachment),
            pin,
            fork_generation: AtomicU64::new(fork::generation()),
        })
    }

    /// The frame's memory.
    pub fn array(&self) -> ArrayRef<'_> {
        self.is_protected();
        let geometry = &self.attachment.header.geometry;
        let data = self.attachment.payload(self.pin.slot);
        // SAFETY: the slot is aligned, `payload_bytes` long, mapped for as long as the attachment
        // lives, and pinned by this frame: the protocol lets nobody write it. If it is not, in a
        // forked child, the array's users may see a later frame, which any array of a stream
        // allows for.
        unsafe { ArrayRef::from_raw(data, geometry.dtype, &geometry.shape) }
    }

    /// Count, ids and times of the frame.
    pub fn publication(&self) -> Publication {
        self.is_protected();
        self.attachment.publication_of_pinned(&self.pin)
    }

    /// Whether a ticket of this process holds the frame. False only in a forked child that finds
    /// no ticket, or finds that the parent gave the frame back and something else was written.
    pub fn is_protected(&self) -> bool {
        let generation = fork::generation();
        let own = self.fork_generation.load(Ordering::Relaxed);
        own == generation || self.take_own_share(own, generation)
    }

    #[cold]
    fn take_own_share(&self, parents: u64, generation: u64) -> bool {
        if !self.attachment.adopt_view(&self.pin, parents) {
            return false;
        }
        let exchanged = self.fork_generation.compare_exchange(
            parents,
            generation,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if exchanged.is_err() {
            // Another thread was faster; one share is enough.
            self.attachment.unpin_view(&self.pin, generation);
        }
        true
    }
}

impl Clone for Frame {
    fn clone(&self) -> Self {
        self.is_protected();
        let fork_generation = self.fork_generation.load(Ordering::Relaxed);
        self.attachment.add_view(&self.pin, fork_generation);
        Self {
            attachment: Arc::clone(&self.attachment),
            pin: self.pin,
            fork_generation: AtomicU64::new(fork_generation),
        }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.attachment
            .unpin_view(&self.pin, *self.fork_generation.get_mut());
    }
}

impl Attachment {
    /// Pins the newest frame for one more view of this process.
    pub(crate) fn pin_newest(&self) -> Result<Pin, BorrowError> {
        if !self.is_writable() {
            return Err(BorrowError::ReadOnly { name: self.name() });
        }
        if self.header.geometry.slots < 3 {
            return Err(BorrowError::TooFewSlots { name: self.name() });
        }
        let own = self.id().map_err(BorrowError::Attach)?;
        self.check_consistent(self.words().head())
            .map_err(|()| BorrowError::Inconsistent { name: self.name() })?;
        let generation = fork::generation();
        let mut pins = lock_ignoring_poison(&self.pins);
        let head = self.words().head();
        if let Some(entry) = pins
            .iter_mut()
            .find(|entry| entry.is_of(head.slot(), head.count(), generation))
        {
            entry.views += 1;
            return Ok(entry.pin);
        }
        let pin = match self.words().pin(own) {
            Err(PinError::NoTicket) => {
                self.reap_dead(Some(own));
                self.words().pin(own)
            }
            outcome => outcome,
        };
        match pin {
            Ok(pin) => {
                pins.push(LocalPin {
                    pin,
                    views: 1,
                    fork_generation: generation,
                });
                Ok(pin)
            }
            Err(PinError::Empty) => Err(BorrowError::Empty { name: self.name() }),
            Err(PinError::NoTicket) => Err(self.borrow_limit()),
            Err(PinError::Corrupt(source)) => Err(BorrowError::Corrupt {
                name: self.name(),
                source,
            }),
        }
    }

    fn borrow_limit(&self) -> BorrowError {
        BorrowError::Limit {
            name: self.name(),
            tickets: self.words().ticket_count(),
            holders: self.ticket_holders(),
        }
    }

    /// Pids of the processes that have tickets.
    pub(crate) fn ticket_holders(&self) -> Vec<u32> {
        let mut holders: Vec<u32> = self
            .words()
            .taken_tickets()
            .filter_map(|ticket| self.pid_of(ticket.owner()?))
            .collect();
        holders.sort_unstable();
        holders.dedup();
        holders
    }

    /// One more view of a slot that the process `fork_generation` has pinned.
    fn add_view(&self, pin: &Pin, fork_generation: u64) {
        let mut pins = lock_ignoring_poison(&self.pins);
        if let Some(entry) = pins
            .iter_mut()
            .find(|entry| entry.is_of(pin.slot, pin.count, fork_generation))
        {
            entry.views += 1;
        }
    }

    /// Gives up one view of a slot that the process `fork_generation` has pinned; the last one
    /// returns the ticket, if that is this process.
    pub(crate) fn unpin_view(&self, pin: &Pin, fork_generation: u64) {
        let mut pins = lock_ignoring_poison(&self.pins);
        let Some(position) = pins
            .iter()
            .position(|entry| entry.is_of(pin.slot, pin.count, fork_generation))
        else {
            return;
        };
        pins[position].views -= 1;
        if pins[position].views == 0 {
            let entry = pins.swap_remove(position);
            // A forked child's copy of a view has no ticket of its own to give back.
            if fork_generation == fork::generation() {
                self.words().unpin(entry.pin.ticket);
            }
        }
    }

    /// Moves one view from the ticket of the parent, `parents`, to one of this process's own. False
    /// if there is none, or if the slot holds another frame by now.
    fn adopt_view(&self, pin: &Pin, parents: u64) -> bool {
        // Registers, which takes the lock below.
        let Ok(own) = self.id() else {
            return false;
        };
        let generation = fork::generation();
        let mut pins = lock_ignoring_poison(&self.pins);
        let known = pins
            .iter_mut()
            .find(|entry| entry.is_of(pin.slot, pin.count, generation));
        if let Some(entry) = known {
            entry.views += 1;
        } else {
            let Some(pin) = self.words().pin_again(own, pin.slot, pin.count) else {
                return false;
            };
            pins.push(LocalPin {
                pin,
                views: 1,
                fork_generation: generation,
            });
        }
        drop(pins);
        self.unpin_view(pin, parents);
        true
    }

    /// Record of a pinned slot: nobody writes it, so it needs no check.
    pub(crate) fn publication_of_pinned(&self, pin: &Pin) -> Publication {
        let words = self.words();
        let slot = &words.slots[pin.slot.min(words.slots.len() - 1)];
        Publication::new(
            pin.count,
            Record {
                frame_id: slot.frame_id.load(Ordering::Relaxed),
                wall_ns: slot.wall_ns.load(Ordering::Relaxed),
                publish_ns: slot.publish_ns.load(Ordering::Relaxed),
                origin_ns: slot.origin_ns.load(Ordering::Relaxed),
            },
        )
    }
}

impl From<LockError> for BorrowError {
    fn from(error: LockError) -> Self {
        Self::Attach(error)
    }
}
