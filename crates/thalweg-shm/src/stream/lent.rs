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

use thalweg_os::mapping::Mapping;

use super::attachment::Attachment;
use crate::copy::copy_bytes;

/// The writable memory of one claimed slot, mapped as long as this value lives.
#[derive(Debug)]
pub struct LentMemory {
    attachment: Arc<Attachment>,
    window: Arc<Mapping>,
    slot: usize,
}

impl LentMemory {
    pub(crate) fn new(attachment: &Arc<Attachment>, slot: usize) -> io::Result<Self> {
        // Never waits: a forked child may find the lock held by a thread it does not have, and then
        // does without.
        let free = attachment
            .windows
            .try_lock()
            .ok()
            .and_then(|mut windows| windows.pop());
        let window = match free {
            Some(window) => window,
            None => Arc::new(attachment.map_writable()?),
        };
        Ok(Self {
            attachment: Arc::clone(attachment),
            window,
            slot,
        })
    }

    /// Address of the first byte: `payload_bytes` bytes, readable and writable as long as `self`
    /// lives, the slot's until [`LentMemory::revoke`] or the end of the loan.
    pub fn address(&self) -> NonNull<u8> {
        self.attachment.payload_in(&self.window, self.slot)
    }

    /// Cuts the memory off from the stream: from now on it is a private copy. To be called while the
    /// slot is still claimed.
    pub fn revoke(&self) -> io::Result<()> {
        let geometry = &self.attachment.header.geometry;
        let start = geometry.payload_offset_of(self.slot.min(geometry.slots - 1));
        self.window.detach(
            start..start + geometry.payload_bytes,
            |from, to, size_bytes| {
                // SAFETY: both ranges are `size_bytes` long and mapped, the target is private. The
                // source may be written meanwhile, which this copy bears.
                unsafe { copy_bytes(from.as_ptr(), to.as_ptr(), size_bytes) };
            },
        )
    }

    /// Makes the window available to the next loan. Only when nobody has the address any more, and
    /// it was not revoked.
    pub fn reuse(&self) {
        if let Ok(mut windows) = self.attachment.windows.try_lock() {
            windows.push(Arc::clone(&self.window));
        }
    }
}
