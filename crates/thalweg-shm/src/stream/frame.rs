//! Borrowing a frame: a slot the writer leaves alone while anybody looks at it.

use std::sync::Arc;

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
#[derive(Debug)]
pub struct Frame {
    attachment: Arc<Attachment>,
    pin: Pin,
    fork_generation: u64,
}

impl Frame {
    pub(crate) fn borrow(attachment: &Arc<Attachment>) -> Result<Self, BorrowError> {
        let pin = attachment.pin_newest()?;
        Ok(Self {
            attachment: Arc::clone(attachment),
            pin,
            fork_generation: fork::generation(),
        })
    }

    /// The frame's memory.
    pub fn array(&self) -> ArrayRef<'_> {
        let geometry = &self.attachment.header.geometry;
        let data = self.attachment.payload(self.pin.slot);
        // SAFETY: the slot is aligned, `payload_bytes` long, mapped for as long as the attachment
        // lives, and pinned by this frame: the protocol lets nobody write it.
        unsafe { ArrayRef::from_raw(data, geometry.dtype, &geometry.shape) }
    }

    /// Count, ids and times of the frame.
    pub fn publication(&self) -> Publication {
        self.attachment.publication_of_pinned(&self.pin)
    }
}

impl Clone for Frame {
    fn clone(&self) -> Self {
        let mut pins = lock_ignoring_poison(&self.attachment.pins);
        if let Some(entry) = pins
            .iter_mut()
            .find(|entry| entry.pin == self.pin && entry.fork_generation == self.fork_generation)
        {
            entry.views += 1;
        }
        drop(pins);
        Self {
            attachment: Arc::clone(&self.attachment),
            pin: self.pin,
            fork_generation: self.fork_generation,
        }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // A forked child's copy of a view has no ticket of its own to give back.
        if self.fork_generation == fork::generation() {
            self.attachment.unpin_view(&self.pin);
        }
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
        // In a forked child the parent's pins are the parent's.
        pins.retain(|entry| entry.fork_generation == generation);
        let head = self.words().head();
        if let Some(entry) = pins
            .iter_mut()
            .find(|entry| entry.pin.slot == head.slot() && entry.pin.count == head.count())
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
        let mut holders: Vec<u32> = self
            .words()
            .pin_owners()
            .filter_map(|owner| self.pid_of(owner))
            .collect();
        holders.sort_unstable();
        holders.dedup();
        BorrowError::Limit {
            name: self.name(),
            tickets: self.words().ticket_count(),
            holders,
        }
    }

    /// Gives up one view of a pinned slot; the last one returns the ticket.
    pub(crate) fn unpin_view(&self, pin: &Pin) {
        let generation = fork::generation();
        let mut pins = lock_ignoring_poison(&self.pins);
        let Some(position) = pins
            .iter()
            .position(|entry| entry.pin == *pin && entry.fork_generation == generation)
        else {
            return;
        };
        pins[position].views -= 1;
        if pins[position].views == 0 {
            pins.swap_remove(position);
            self.words().unpin(pin.ticket);
        }
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
