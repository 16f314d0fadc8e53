//! Reading frames of progressive streams while they are written.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

use thalweg_os::clock::monotonic_ns;
use thalweg_os::futex::{self, Wake};

use super::attachment::{Attachment, stale_state};
use super::error::{RowsError, WaitError, WriteError};
use super::lock::Patience;
use super::{Stream, WaitPolicy, spin};
use crate::copy::copy_bytes;
use crate::protocol::publish::Claim;
use crate::protocol::rows::{Fate, Progress};
use crate::protocol::words::LockWord;
use crate::segment::header::flags;

/// A sleep is cut into slices of this length, to survive a writer that died, and to look whether
/// the name still leads here.
const SLICE_NS: u64 = 100_000_000;
/// A writer looks at a pinned slot for nanoseconds, unless it is interrupted; if it takes longer than
/// this, it died.
const LONGEST_MARK_NS: u64 = 100_000_000;
/// Rows that come within this time are not slept for: the cost of a few sleeps and wakes.
const WORTH_SPINNING_NS: u64 = 10_000;

/// One writing of one frame of a progressive stream, and how many rows of it can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowProgress {
    progress: Progress,
    rows: usize,
}

impl RowProgress {
    fn new(progress: Progress, of_rows: usize) -> Self {
        let rows = if progress.is_complete {
            of_rows
        } else {
            progress.announced.min(of_rows)
        };
        Self { progress, rows }
    }

    /// Number of the frame, which it has if it is published.
    pub fn count(&self) -> u64 {
        self.progress.count()
    }

    /// Rows along the first axis that can be read.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// True when the frame is published, and all its rows can be read.
    pub fn is_complete(&self) -> bool {
        self.progress.is_complete
    }

    /// True for two looks at one writing of one frame: their rows belong together. A frame that was
    /// given up and is written again has the same count, and is another writing.
    pub fn is_same_writing(&self, other: &Self) -> bool {
        self.progress.is_same_writing(&other.progress)
    }
}

/// Rows that somebody waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowsWanted {
    /// Of a frame whose count is above this,
    after: u64,
    /// so many,
    rows: usize,
    /// and of this writing alone.
    of: Option<RowProgress>,
}

impl RowsWanted {
    /// The first `rows` rows of any frame above `after`.
    pub(super) fn above(after: u64, rows: usize) -> Self {
        Self {
            after,
            rows,
            of: None,
        }
    }

    /// The first `rows` rows of one writing.
    pub(super) fn of(progress: &RowProgress, rows: usize) -> Self {
        Self {
            after: progress.count().saturating_sub(1),
            rows,
            of: Some(*progress),
        }
    }

    /// An error unless the stream has frames of so many rows.
    pub(super) fn check(&self, attachment: &Attachment) -> Result<(), RowsError> {
        attachment.check_rows(self.rows).map(drop)
    }

    /// Where they are, once they are there; an error if they never will be.
    pub(super) fn look(&self, attachment: &Attachment) -> Result<Option<RowProgress>, RowsError> {
        if let Some(begun) = &self.of {
            let now = attachment.look_again(begun)?;
            return Ok((now.rows >= self.rows).then_some(now));
        }
        let of_rows = attachment.rows_of_a_frame();
        let is_enough = |progress: &Progress| {
            progress.count() > self.after
                && (progress.is_complete || progress.announced.max(1) >= self.rows.max(1))
                && RowProgress::new(*progress, of_rows).rows >= self.rows
        };
        let words = attachment.words();
        let found = words.live_rows().filter(is_enough);
        let found = found.or_else(|| words.complete_rows().filter(is_enough));
        Ok(found.map(|progress| RowProgress::new(progress, of_rows)))
    }

    /// An error if they are of a writing whose writer has ended. Asks the system.
    pub(super) fn check_writer(&self, attachment: &Attachment) -> Result<(), RowsError> {
        match &self.of {
            Some(begun) if attachment.is_writer_dead() => Err(RowsError::FrameAborted {
                name: attachment.name(),
                count: begun.count(),
            }),
            _ => Ok(()),
        }
    }

    /// Whether the end of the writer ends the wait.
    pub(super) fn minds_the_writer(&self) -> bool {
        self.of.is_some()
    }
}

impl Stream {
    /// Waits until the frame being written has `rows` rows, or a whole frame is there, whose count
    /// is above `after`. What is being written comes first. Frames that are given up meanwhile are
    /// one more reason to wait.
    pub fn wait_rows(
        &self,
        after: u64,
        rows: usize,
        policy: WaitPolicy,
        patience: Patience<'_>,
    ) -> Result<RowProgress, RowsError> {
        let wanted = RowsWanted::above(after, rows);
        self.wait_for_rows(&wanted, policy, patience)
    }

    /// Waits until the same writing has `rows` rows; an error once it is given up or replaced.
    pub fn wait_more_rows(
        &self,
        progress: &RowProgress,
        rows: usize,
        policy: WaitPolicy,
        patience: Patience<'_>,
    ) -> Result<RowProgress, RowsError> {
        let wanted = RowsWanted::of(progress, rows);
        self.wait_for_rows(&wanted, policy, patience)
    }

    /// Copies rows of a frame, written or being written, into `out`, which has exactly their size.
    /// Returns how far the frame has come by now; an error, with undefined contents in `out`, if it
    /// was given up or replaced meanwhile.
    pub fn read_rows_into(
        &self,
        progress: &RowProgress,
        rows: Range<usize>,
        out: &mut [u8],
    ) -> Result<RowProgress, RowsError> {
        let (target, size_bytes) = (NonNull::from(&mut *out).cast(), out.len());
        // SAFETY: `out` is private memory of that size.
        unsafe { self.read_rows_to_address(progress, rows, target, size_bytes) }
    }

    /// As [`Stream::read_rows_into`], to an address.
    ///
    /// # Safety
    ///
    /// `target` is writable for `size_bytes` bytes and no part of a stream.
    pub unsafe fn read_rows_to_address(
        &self,
        progress: &RowProgress,
        rows: Range<usize>,
        target: NonNull<u8>,
        size_bytes: usize,
    ) -> Result<RowProgress, RowsError> {
        let of_rows = self.attachment.check_rows(rows.end)?;
        if rows.start > rows.end || rows.end > progress.rows {
            return Err(RowsError::Rows {
                name: self.attachment.name(),
                of_rows: progress.rows,
                found: rows.end.max(rows.start),
            });
        }
        let row_bytes = self.payload_bytes() / of_rows;
        let expected_bytes = rows.len() * row_bytes;
        if size_bytes != expected_bytes {
            return Err(RowsError::Size {
                name: self.attachment.name(),
                rows: rows.len(),
                expected_bytes,
                found_bytes: size_bytes,
            });
        }
        let payload = self.attachment.payload(progress.progress.slot).as_ptr();
        let source = payload.wrapping_add(rows.start * row_bytes);
        // SAFETY: `rows.end` rows lie inside the slot's payload; the caller vouches for the target of as
        // many bytes as are copied. The writer may come by; then the copy is not used.
        unsafe { copy_bytes(source, target.as_ptr(), expected_bytes) };
        self.attachment.look_again(progress)
    }

    /// Waits until the rows are there.
    fn wait_for_rows(
        &self,
        wanted: &RowsWanted,
        policy: WaitPolicy,
        patience: Patience<'_>,
    ) -> Result<RowProgress, RowsError> {
        self.attachment.check_rows(wanted.rows)?;
        let words = self.attachment.words();
        let began_ns = monotonic_ns();
        let mut slice_end_ns = began_ns + SLICE_NS;
        let mut is_slice = false;
        loop {
            // Before the look: rows announced after it change the bell.
            let bell = words.row_bell();
            if let Some(found) = wanted.look(&self.attachment)? {
                return Ok(found);
            }
            if is_slice {
                wanted.check_writer(&self.attachment)?;
            }
            self.check_row_wait(wanted.after, is_slice, patience)?;
            let now_ns = monotonic_ns();
            let spins = match policy {
                WaitPolicy::Park => false,
                WaitPolicy::Spin => true,
                WaitPolicy::Adaptive => {
                    now_ns - began_ns < WORTH_SPINNING_NS && spin::another_cpu_is_allowed(began_ns)
                }
            };
            let wake = if spins {
                for _ in 0..64 {
                    std::hint::spin_loop();
                }
                Wake::Look
            } else {
                if self.attachment.is_writable() {
                    words.announce_row_park();
                }
                let deadline_ns = patience.deadline_ns.unwrap_or(u64::MAX);
                let end_ns = deadline_ns.min(slice_end_ns);
                futex::wait(&words.control.row_bell.bell, bell, Some(end_ns))
            };
            let now_ns = monotonic_ns();
            is_slice = wake == Wake::Interrupted || now_ns >= slice_end_ns;
            if is_slice {
                slice_end_ns = now_ns + SLICE_NS;
            }
        }
    }

    /// Whether there is a reason to wait no longer.
    fn check_row_wait(
        &self,
        after: u64,
        is_slice: bool,
        patience: Patience<'_>,
    ) -> Result<(), WaitError> {
        let name = || self.attachment.name();
        may_go_on(&self.attachment, &self.closed)?;
        if is_slice && let Some(reason) = self.attachment.stale_reason() {
            return Err(WaitError::Stale {
                name: name(),
                reason,
            });
        }
        if is_slice && patience.is_interrupted() {
            return Err(WaitError::Interrupted { name: name() });
        }
        if patience.has_passed() {
            return Err(WaitError::TimedOut {
                name: name(),
                after,
            });
        }
        Ok(())
    }
}

/// An error if there is a reason to wait for rows no longer.
pub(super) fn may_go_on(attachment: &Attachment, closed: &AtomicBool) -> Result<(), WaitError> {
    let name = || attachment.name();
    if closed.load(Ordering::Relaxed) {
        return Err(WaitError::Closed { name: name() });
    }
    match stale_state(attachment.words().state()) {
        Some(reason) => Err(WaitError::Stale {
            name: name(),
            reason,
        }),
        None => Ok(()),
    }
}

impl Attachment {
    /// How far the writing of `progress` has come; an error once it is given up or replaced.
    fn look_again(&self, progress: &RowProgress) -> Result<RowProgress, RowsError> {
        let (name, count) = (|| self.name(), progress.count());
        let mut give_up_ns = None;
        let fate = loop {
            match self.words().fate_of(&progress.progress) {
                // The writer does not run just now.
                Fate::Marked => {
                    let now_ns = monotonic_ns();
                    if now_ns >= *give_up_ns.get_or_insert(now_ns + LONGEST_MARK_NS) {
                        break Fate::Replaced;
                    }
                    std::thread::yield_now();
                }
                fate => break fate,
            }
        };
        match fate {
            Fate::There(now) => Ok(RowProgress::new(now, self.rows_of_a_frame())),
            Fate::Aborted => Err(RowsError::FrameAborted {
                name: name(),
                count,
            }),
            Fate::Replaced | Fate::Marked => Err(RowsError::Overtaken {
                name: name(),
                count,
            }),
        }
    }

    /// Rows of a frame, if that many can be asked for.
    pub(super) fn check_rows(&self, rows: usize) -> Result<usize, RowsError> {
        let name = || self.name();
        if !self.is_progressive() {
            return Err(RowsError::NotProgressive { name: name() });
        }
        let of_rows = self.rows_of_a_frame();
        if rows > of_rows {
            return Err(RowsError::Rows {
                name: name(),
                of_rows,
                found: rows,
            });
        }
        Ok(of_rows)
    }

    fn rows_of_a_frame(&self) -> usize {
        self.header.geometry.shape[0]
    }

    /// Announces rows of a claimed slot.
    pub(super) fn announce_rows(&self, claim: Claim, rows: usize) -> Result<(), WriteError> {
        let words = self.writer_words().map_err(|source| WriteError::System {
            name: self.name(),
            source,
        })?;
        let wake_always = self.header.has(flags::WAKE_ALWAYS);
        words.announce_rows(claim, rows, wake_always, || self.wake_rows());
        Ok(())
    }

    /// True when the process that holds the writer lock has ended.
    pub(super) fn is_writer_dead(&self) -> bool {
        let lock = LockWord(self.words().control.writer.lock.load(Ordering::Acquire));
        lock.owner().is_some_and(|owner| self.is_dead(owner))
    }
}
