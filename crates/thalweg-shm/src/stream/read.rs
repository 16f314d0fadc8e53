//! Copying the newest frame out of a stream.

use std::ptr::NonNull;

use thalweg_os::clock::monotonic_ns;
use thalweg_os::fork;

use super::attachment::{Attachment, lock_ignoring_poison};
use super::error::{BorrowError, ReadError};
use super::publication::Publication;
use crate::copy::copy_bytes;
use crate::protocol::publish::Record;
use crate::protocol::snapshot::{Look, STANDSTILL_ROUNDS, Standstill};
use crate::protocol::sync::{Ordering, fence};
use crate::protocol::words::{Head, LockWord};
use crate::segment::header::flags;

/// Copies that may be overtaken by the writer before a pin is tried.
const UNPINNED_ATTEMPTS: u32 = 3;
/// How long a writer that was found alive is not asked after again.
const BELIEVED_ALIVE_NS: u64 = 1_000_000;

impl Attachment {
    /// Copies the newest frame to `target`; zeros and count 0 before the first.
    ///
    /// # Safety
    ///
    /// `target` is writable for `payload_bytes` bytes and no part of the stream.
    pub(crate) unsafe fn read_to(
        &self,
        target: NonNull<u8>,
        deadline_ns: Option<u64>,
    ) -> Result<Publication, ReadError> {
        let words = self.words();
        let payload_bytes = self.header.geometry.payload_bytes;
        let mut attempts = 0;
        let mut standstill = Standstill::default();
        loop {
            let look = words.snapshot().map_err(|source| ReadError::Corrupt {
                name: self.name(),
                source,
            })?;
            match look {
                Look::Empty(head) => {
                    self.check_consistent(head)
                        .map_err(|()| ReadError::Inconsistent { name: self.name() })?;
                    // SAFETY: the caller vouches for `payload_bytes` writable bytes.
                    unsafe { std::ptr::write_bytes(target.as_ptr(), 0, payload_bytes) };
                    return Ok(Publication::default());
                }
                Look::Frame(snapshot) => {
                    self.check_consistent(words.head())
                        .map_err(|()| ReadError::Inconsistent { name: self.name() })?;
                    let record = words.record(&snapshot);
                    let source = self.payload(snapshot.slot);
                    // SAFETY: the slot is `payload_bytes` long; the caller vouches for the target.
                    unsafe { copy_bytes(source.as_ptr(), target.as_ptr(), payload_bytes) };
                    if words.is_current(&snapshot) {
                        return Ok(Publication::new(snapshot.count, record));
                    }
                }
                Look::Again => {
                    standstill
                        .check(words.head())
                        .map_err(|source| ReadError::Corrupt {
                            name: self.name(),
                            source,
                        })?;
                }
            }
            attempts += 1;
            if attempts % UNPINNED_ATTEMPTS == 0 {
                // Frames are replaced faster than they can be copied. Under a ticket the slot
                // stays; without a free one go on trying.
                if let Some(publication) = self.read_pinned(target)? {
                    return Ok(publication);
                }
                if deadline_ns.is_some_and(|deadline| monotonic_ns() >= deadline) {
                    return Err(ReadError::Overtaken {
                        name: self.name(),
                        attempts,
                    });
                }
            }
        }
    }

    /// Copies under a pin; `None` when none is to be had.
    fn read_pinned(&self, target: NonNull<u8>) -> Result<Option<Publication>, ReadError> {
        let pinned = match self.pin_newest() {
            Ok(pinned) => pinned,
            Err(BorrowError::Corrupt { name, source }) => {
                return Err(ReadError::Corrupt { name, source });
            }
            Err(_) => return Ok(None),
        };
        let publication = self.publication_of_pinned(&pinned);
        let source = self.payload(pinned.slot);
        // SAFETY: the slot is `payload_bytes` long; the caller of `read_to` vouches for the target.
        unsafe {
            copy_bytes(
                source.as_ptr(),
                target.as_ptr(),
                self.header.geometry.payload_bytes,
            );
        };
        self.unpin_view(&pinned, fork::generation());
        Ok(Some(publication))
    }

    /// An error when `found_bytes` is not the size of a frame.
    pub(crate) fn check_size(&self, found_bytes: usize) -> Result<(), ReadError> {
        let expected_bytes = self.header.geometry.payload_bytes;
        if found_bytes == expected_bytes {
            Ok(())
        } else {
            Err(ReadError::Size {
                name: self.name(),
                expected_bytes,
                found_bytes,
            })
        }
    }

    /// An error when the newest frame is not what it should be: abandoned in a strict stream, or
    /// never completed at all.
    pub(crate) fn check_consistent(&self, head: Head) -> Result<(), ()> {
        if head.is_invalid() {
            return Err(());
        }
        let is_first = head.count() == 0;
        if is_first && self.words().has_attempts() {
            return Err(());
        }
        let heeds_deaths = is_first || self.header.has(flags::STRICT);
        if heeds_deaths && self.writer_died_at(head) {
            return Err(());
        }
        Ok(())
    }

    /// True when the frame after `head` was begun by a process that died, and nobody came yet to
    /// clear up after it.
    ///
    /// Asking the system costs microseconds, so a writer found alive is believed to live for the
    /// next millisecond.
    fn writer_died_at(&self, head: Head) -> bool {
        let words = self.words();
        let lock = &words.control.writer.lock;
        let seen = LockWord(lock.load(Ordering::Acquire));
        let Some(owner) = seen.owner() else {
            return false;
        };
        if !words.is_being_written(head) {
            return false;
        }
        let now_ns = monotonic_ns();
        let looked_ns = self.writer_seen_alive_ns.load(Ordering::Relaxed);
        if now_ns.saturating_sub(looked_ns) < BELIEVED_ALIVE_NS {
            return false;
        }
        if !self.is_dead(owner) {
            self.writer_seen_alive_ns.store(now_ns, Ordering::Relaxed);
            return false;
        }
        // Still the same holder, and nothing published: so the mark was its.
        lock.load(Ordering::Acquire) >> 1 == seen.0 >> 1 && words.head().same_frame(head)
    }

    /// Counts and record of the newest frame, without its payload. Only the count, if the record
    /// is not to be had: corrupt, or replaced faster than five words can be read.
    pub(crate) fn newest(&self) -> Publication {
        let words = self.words();
        for _ in 0..STANDSTILL_ROUNDS {
            match words.snapshot() {
                Ok(Look::Frame(snapshot)) => {
                    let record = words.record(&snapshot);
                    if words.is_current(&snapshot) {
                        return Publication::new(snapshot.count, record);
                    }
                }
                Ok(Look::Empty(_)) | Err(_) => return Publication::default(),
                Ok(Look::Again) => {}
            }
            fence(Ordering::Acquire);
        }
        Publication::new(words.head().count(), Record::default())
    }

    /// Views of this process that are alive: those it holds tickets for, and those that are held by
    /// its parent's alone.
    pub(crate) fn local_views(&self) -> (usize, usize) {
        let generation = fork::generation();
        let pins = lock_ignoring_poison(&self.pins);
        let views = |is_own: bool| {
            pins.iter()
                .filter(|pin| (pin.fork_generation == generation) == is_own)
                .map(|pin| pin.views)
                .sum()
        };
        (views(true), views(false))
    }
}
