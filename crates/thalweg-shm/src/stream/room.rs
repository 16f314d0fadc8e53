//! A writer waiting until its lossless readers let it begin the next frame.

use std::cell::Cell;

use thalweg_os::clock::monotonic_ns;
use thalweg_os::futex;

use super::attachment::Attachment;
use super::error::WriteError;
use super::lock::Patience;
use crate::protocol::room::{BeginError, RoomEnvironment};
use crate::protocol::sync::AtomicU32;
use crate::protocol::words::{AttachmentId, Head};

/// The outside world of the protocol's wait for room.
pub(super) struct WaitingWriter<'a> {
    attachment: &'a Attachment,
    patience: Patience<'a>,
    /// End of the slice under way; 0 before the first sleep.
    slice_end_ns: Cell<u64>,
}

impl<'a> WaitingWriter<'a> {
    pub(super) fn new(attachment: &'a Attachment, patience: Patience<'a>) -> Self {
        Self {
            attachment,
            patience,
            slice_end_ns: Cell::new(0),
        }
    }
}

impl RoomEnvironment for WaitingWriter<'_> {
    fn sleep(&self, word: &AtomicU32, expected: u32, slice_ns: u64) -> bool {
        // A slice outlives what ends a sleep: signals and bells may come more often than slices pass.
        if self.slice_end_ns.get() == 0 {
            self.slice_end_ns.set(monotonic_ns() + slice_ns);
        }
        let slice_end_ns = self.slice_end_ns.get();
        let end_ns = self
            .patience
            .deadline_ns
            .map_or(slice_end_ns, |deadline| deadline.min(slice_end_ns));
        futex::wait(word, expected, Some(end_ns));
        let has_passed = monotonic_ns() >= slice_end_ns;
        if has_passed {
            self.slice_end_ns.set(0);
        }
        has_passed
    }

    fn clear_if_dead(&self, owner: AttachmentId) -> bool {
        let words = self.attachment.words();
        let Some(who) = words.who(owner) else {
            // The row moved on, so the process of this id is gone.
            return true;
        };
        let Some(_reaping) = self.attachment.begin_reaping(owner.row(), who) else {
            return false;
        };
        // It does not hold the lock: the caller does.
        words.reap(owner.row(), who, |_held| {});
        true
    }

    fn gives_up(&self) -> bool {
        self.patience.has_passed() || self.patience.is_interrupted()
    }
}

impl Attachment {
    /// What to say about a frame that was not begun.
    pub(super) fn not_begun(
        &self,
        error: BeginError,
        head: Head,
        patience: Patience<'_>,
    ) -> WriteError {
        match error {
            BeginError::Corrupt(source) => WriteError::Corrupt {
                name: self.name(),
                source,
            },
            BeginError::Lagging(_) if !patience.has_passed() => {
                WriteError::Interrupted { name: self.name() }
            }
            BeginError::Lagging(subscriber) => WriteError::Lagging {
                name: self.name(),
                pid: self.pid_of(subscriber.owner),
                behind: head.count().saturating_sub(subscriber.cursor),
                budget: subscriber.budget.into(),
            },
        }
    }
}
