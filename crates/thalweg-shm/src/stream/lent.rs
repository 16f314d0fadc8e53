//! Memory lent to code that may keep addresses longer than it should.
//!
//! A Python program keeps what it likes: a slice of the array it was lent may be alive when the
//! frame is published, and then writing through it would change a frame that others read. Such code
//! gets its memory from a mapping of its own, a *window*. Where nothing survives, the window is used
//! again for the next loan. Where something does, the pages under it are exchanged for private ones
//! with the same contents before the frame is published: the survivor keeps what it saw and can
//! harm nobody.

use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

use thalweg_os::fork;
use thalweg_os::mapping::Mapping;

use super::attachment::{Attachment, lock_ignoring_poison};
use crate::copy::copy_bytes;

/// The windows of one attachment.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    /// Nobody has an address in these.
    free: Vec<Arc<Mapping>>,
    /// Lent, with the slot: at most one, because one frame is written at a time.
    lent: Vec<(Arc<Mapping>, usize)>,
}

impl Windows {
    /// In a forked child, before anything else happens in it: what the parent has lent becomes
    /// private there, as the frame is the parent's.
    pub(crate) fn leave_to_parent(&mut self, attachment: &Attachment) {
        for (window, slot) in self.lent.drain(..) {
            // Out of memory: then the child could change the parent's frame, as its parent could.
            attachment.detach_slot(&window, slot).ok();
        }
    }
}

/// The writable memory of one claimed slot, mapped as long as this value or a clone of it lives.
#[derive(Clone, Debug)]
pub struct LentMemory {
    attachment: Arc<Attachment>,
    window: Arc<Mapping>,
    slot: usize,
    fork_generation: u64,
}

impl LentMemory {
    pub(crate) fn new(attachment: &Arc<Attachment>, slot: usize) -> io::Result<Self> {
        let free = lock_ignoring_poison(&attachment.windows).free.pop();
        let window = match free {
            Some(window) => window,
            None => Arc::new(attachment.map_writable()?),
        };
        lock_ignoring_poison(&attachment.windows)
            .lent
            .push((Arc::clone(&window), slot));
        Ok(Self {
            attachment: Arc::clone(attachment),
            window,
            slot,
            fork_generation: fork::generation(),
        })
    }

    /// Address of the first byte: `payload_bytes` bytes, readable and writable as long as `self`
    /// lives, the slot's until [`LentMemory::revoke`] or the end of the loan.
    pub fn address(&self) -> NonNull<u8> {
        self.attachment.payload_in(&self.window, self.slot)
    }

    /// Cuts the memory off from the stream: from now on it is a private copy. To be called while the
    /// slot is still claimed. In a forked child it is one already.
    pub fn revoke(&self) -> io::Result<()> {
        if !self.is_own() {
            return Ok(());
        }
        self.attachment.detach_slot(&self.window, self.slot)?;
        self.forget();
        Ok(())
    }

    /// Makes the window available to the next loan. Only when nobody has the address any more, and
    /// it was not revoked.
    pub fn reuse(&self) {
        if self.is_own() {
            self.forget();
            lock_ignoring_poison(&self.attachment.windows)
                .free
                .push(Arc::clone(&self.window));
        }
    }

    fn is_own(&self) -> bool {
        self.fork_generation == fork::generation()
    }

    fn forget(&self) {
        lock_ignoring_poison(&self.attachment.windows)
            .lent
            .retain(|(window, _)| !Arc::ptr_eq(window, &self.window));
    }
}

impl Attachment {
    /// Exchanges the pages of `slot` in `window` for private copies.
    fn detach_slot(&self, window: &Mapping, slot: usize) -> io::Result<()> {
        let geometry = &self.header.geometry;
        let start = geometry.payload_offset_of(slot.min(geometry.slots - 1));
        window.detach(
            start..start + geometry.payload_bytes,
            |from, to, size_bytes| {
                // SAFETY: both ranges are `size_bytes` long and mapped, the target is private. The
                // source may be written meanwhile, which this copy bears.
                unsafe { copy_bytes(from.as_ptr(), to.as_ptr(), size_bytes) };
            },
        )
    }
}
