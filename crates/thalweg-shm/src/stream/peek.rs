//! Looking at the newest slot in place without a pin.

use std::sync::Arc;

use super::attachment::Attachment;
use crate::array::ArrayRef;

/// The memory of one slot, live: the writer overwrites it when its turn comes. It stays mapped as
/// long as this value lives.
#[derive(Debug)]
pub struct Peek {
    attachment: Arc<Attachment>,
    slot: usize,
}

impl Peek {
    pub(crate) fn new(attachment: &Arc<Attachment>) -> Self {
        Self {
            attachment: Arc::clone(attachment),
            slot: attachment.words().head().slot(),
        }
    }

    /// The slot that `array` shows, if it shows one of this attachment's.
    pub(crate) fn of(attachment: &Arc<Attachment>, array: ArrayRef<'_>) -> Option<Self> {
        let first = attachment.payload(0);
        let slot = attachment.slot_at(first, array.as_bytes_ptr())?;
        Some(Self {
            attachment: Arc::clone(attachment),
            slot,
        })
    }

    /// The slot's memory, which may change under the view.
    pub fn array(&self) -> ArrayRef<'_> {
        let geometry = &self.attachment.header.geometry;
        let data = self.attachment.payload(self.slot);
        // SAFETY: the slot (bounded by `payload`) is aligned, `payload_bytes` long and mapped for as
        // long as the attachment lives. That others write it meanwhile is what ArrayRef bears: it
        // hands out raw pointers and copies only.
        unsafe { ArrayRef::from_raw(data, geometry.dtype, &geometry.shape) }
    }
}
