//! Copying the last few frames: those that still lie in their slots.
//!
//! A stream keeps what its slots hold and not more. Every frame is copied under the same check as
//! a single read; one that the writer reaches first is left out, so that a gap in the counts says
//! what is missing. Nothing is ever filled in.

use std::ptr::NonNull;

use super::Stream;
use super::attachment::Attachment;
use super::error::ReadError;
use super::publication::Publication;
use crate::ArrayMut;
use crate::copy::copy_bytes;
use crate::protocol::snapshot::Snapshot;

/// A frame that a slot held a moment ago, to be copied before the writer comes to that slot again.
#[derive(Debug)]
pub struct HistoryFrame<'a> {
    attachment: &'a Attachment,
    snapshot: Snapshot,
    publication: Publication,
}

impl HistoryFrame<'_> {
    /// Number of the frame.
    pub fn count(&self) -> u64 {
        self.snapshot.count
    }

    /// Count, ids and times of the frame.
    pub fn publication(&self) -> Publication {
        self.publication
    }

    /// Copies the frame into `out`, which has exactly the size of a frame. False if the writer
    /// overwrote it meanwhile; then the contents of `out` are unspecified.
    pub fn copy_to(&self, out: &mut [u8]) -> Result<bool, ReadError> {
        self.attachment.check_size(out.len())?;
        // SAFETY: `out` is private memory of `payload_bytes` bytes.
        Ok(unsafe { self.copy(NonNull::from(out).cast()) })
    }

    /// As [`HistoryFrame::copy_to`], for an array of the stream's size.
    pub fn copy_to_array(&self, out: &mut ArrayMut<'_>) -> Result<bool, ReadError> {
        self.attachment.check_size(out.size_bytes())?;
        let Some(target) = NonNull::new(out.as_bytes_mut_ptr()) else {
            return Ok(false);
        };
        // SAFETY: an exclusive view of `payload_bytes` writable bytes, which is no part of the
        // stream's read-only mapping.
        Ok(unsafe { self.copy(target) })
    }

    /// As [`HistoryFrame::copy_to`], to an address.
    ///
    /// # Safety
    ///
    /// `target` is writable for `size_bytes` bytes and no part of a stream.
    pub unsafe fn copy_to_address(
        &self,
        target: NonNull<u8>,
        size_bytes: usize,
    ) -> Result<bool, ReadError> {
        self.attachment.check_size(size_bytes)?;
        // SAFETY: the size was checked; the caller vouches for the rest.
        Ok(unsafe { self.copy(target) })
    }

    /// # Safety
    ///
    /// `target` is writable for `payload_bytes` bytes and no part of the stream.
    unsafe fn copy(&self, target: NonNull<u8>) -> bool {
        let words = self.attachment.words();
        // Behind a fast writer most frames are gone by their turn: no need to copy those.
        if !words.is_current(&self.snapshot) {
            return false;
        }
        let source = self.attachment.payload(self.snapshot.slot);
        let payload_bytes = self.attachment.header.geometry.payload_bytes;
        // SAFETY: the slot is `payload_bytes` long; the caller vouches for the target.
        unsafe { copy_bytes(source.as_ptr(), target.as_ptr(), payload_bytes) };
        words.is_current(&self.snapshot)
    }
}

impl Stream {
    /// The last `frames` frames as far as their slots still hold them, oldest first: counts that
    /// are missing were overwritten. Nothing is copied yet.
    pub fn held_frames(&self, frames: usize) -> Result<Vec<HistoryFrame<'_>>, ReadError> {
        self.attachment.held_frames(frames)
    }

    /// Copies the last `frames` frames, as far as their slots still hold them, oldest first. Counts
    /// that are missing were overwritten; before the first publication there are none.
    ///
    /// However fast the writer is, the last one is at least as new as this call. The deadline bounds
    /// the retries which that may take, as in [`Stream::read`].
    pub fn history(
        &self,
        frames: usize,
        deadline_ns: Option<u64>,
    ) -> Result<Vec<(Vec<u8>, Publication)>, ReadError> {
        let payload_bytes = self.payload_bytes();
        // More than the slots cannot be there, whatever was asked for.
        let room = frames.min(self.header().geometry.slots);
        let mut bytes = vec![0; room * payload_bytes];
        let publications = self.history_into(frames, &mut bytes, deadline_ns)?;
        let payloads = bytes.chunks_exact(payload_bytes).map(<[u8]>::to_vec);
        Ok(payloads.zip(publications).collect())
    }

    /// As [`Stream::history`], into `out`, one frame behind the other; returns what was published
    /// with each. `out` has room for whole frames: as many as were asked for or the stream has slots,
    /// else the newest of them are copied. Its contents behind the last frame are unspecified.
    pub fn history_into(
        &self,
        frames: usize,
        out: &mut [u8],
        deadline_ns: Option<u64>,
    ) -> Result<Vec<Publication>, ReadError> {
        let room = self.attachment.whole_frames(out.len())?;
        // SAFETY: `out` is private memory of `room` times `payload_bytes` bytes.
        unsafe {
            self.attachment
                .history_to(frames, NonNull::from(out).cast(), room, deadline_ns)
        }
    }

    /// As [`Stream::history_into`], to an address.
    ///
    /// # Safety
    ///
    /// `target` is writable for `size_bytes` bytes and no part of a stream.
    pub unsafe fn history_to_address(
        &self,
        frames: usize,
        target: NonNull<u8>,
        size_bytes: usize,
        deadline_ns: Option<u64>,
    ) -> Result<Vec<Publication>, ReadError> {
        let room = self.attachment.whole_frames(size_bytes)?;
        // SAFETY: `room` frames fill the target exactly; the caller vouches for the rest.
        unsafe {
            self.attachment
                .history_to(frames, target, room, deadline_ns)
        }
    }
}

impl Attachment {
    fn held_frames(&self, frames: usize) -> Result<Vec<HistoryFrame<'_>>, ReadError> {
        let words = self.words();
        let head = words.head();
        self.check_consistent(head)
            .map_err(|()| ReadError::Inconsistent { name: self.name() })?;
        let after = head.count().saturating_sub(frames as u64);
        let mut held: Vec<HistoryFrame<'_>> = words
            .history(after)
            .into_iter()
            .filter_map(|snapshot| {
                let publication = Publication::new(snapshot.count, words.record(&snapshot));
                words.is_current(&snapshot).then_some(HistoryFrame {
                    attachment: self,
                    snapshot,
                    publication,
                })
            })
            .collect();
        // The writer may have added some since the look at the head.
        held.drain(..held.len().saturating_sub(frames));
        Ok(held)
    }

    /// Copies at most `room` of the last `frames` frames to `target`, one behind the other.
    ///
    /// # Safety
    ///
    /// `target` is writable for `room * payload_bytes` bytes and no part of the stream.
    unsafe fn history_to(
        &self,
        frames: usize,
        target: NonNull<u8>,
        room: usize,
        deadline_ns: Option<u64>,
    ) -> Result<Vec<Publication>, ReadError> {
        let payload_bytes = self.header.geometry.payload_bytes;
        let newest = self.words().head().count();
        let held = self.held_frames(frames)?;
        let mut copied = Vec::with_capacity(held.len() + 1);
        // The oldest first: it is the next to be overwritten.
        for frame in &held[held.len().saturating_sub(room)..] {
            // SAFETY: `copied.len()` is below `room`, so there is room for this one.
            let place = unsafe { target.add(copied.len() * payload_bytes) };
            // SAFETY: the place is `payload_bytes` long; the caller vouches for the rest.
            if unsafe { frame.copy(place) } {
                copied.push(frame.publication);
            }
        }
        let has_newest = copied.last().map_or(0, |last| last.count) >= newest;
        if frames.min(room) > 0 && !has_newest {
            // The writer was faster. The newest frame is to be had all the same, if need be pinned.
            // Between pinned slots it can be the only one that is missing, and then takes the last
            // place: one more hole, beside those that the pins have made.
            copied.truncate(room - 1);
            // SAFETY: `copied.len()` is below `room`, so there is room for this one.
            let place = unsafe { target.add(copied.len() * payload_bytes) };
            // SAFETY: the place is `payload_bytes` long; the caller vouches for the rest.
            copied.push(unsafe { self.read_to(place, deadline_ns) }?);
        }
        Ok(copied)
    }

    /// How many frames `size_bytes` bytes are.
    fn whole_frames(&self, size_bytes: usize) -> Result<usize, ReadError> {
        let payload_bytes = self.header.geometry.payload_bytes;
        if size_bytes.is_multiple_of(payload_bytes) {
            Ok(size_bytes / payload_bytes)
        } else {
            Err(ReadError::Size {
                name: self.name(),
                expected_bytes: payload_bytes,
                found_bytes: size_bytes,
            })
        }
    }
}
