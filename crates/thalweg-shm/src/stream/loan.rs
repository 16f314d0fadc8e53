//! Writing a frame in place: a fresh slot, filled by the caller, then published or given back.

use std::sync::atomic::Ordering;

use super::attachment::Attachment;
use super::error::WriteError;
use super::lent::LentMemory;
use super::lock::{HeldLock, Patience, WriteLock};
use super::publication::{Publication, PublishOptions};
use super::room::WaitingWriter;
use crate::array::{ArrayMut, ArrayRef};
use crate::copy::copy_bytes;
use crate::protocol::Corrupt;
use crate::protocol::publish::{Claim, Record};
use crate::protocol::words::Head;
use crate::segment::header::flags;

static WALL_CLOCK: thalweg_os::clock::WallClock = thalweg_os::clock::WallClock::new();

/// A slot being written. Dropping it aborts: the last published frame stays what it was.
///
/// Holds the writer lock; one frame of a stream is written at a time.
#[derive(Debug)]
pub struct Loan {
    lock: WriteLock,
    claim: Option<Claim>,
    head: Head,
    /// Rows announced so far.
    rows: usize,
}

impl Loan {
    pub(crate) fn open(lock: WriteLock, patience: Patience<'_>) -> Result<Self, WriteError> {
        let (claim, head) = lock.attachment().begin_frame(patience)?;
        Ok(Self {
            lock,
            claim: Some(claim),
            head,
            rows: 0,
        })
    }

    /// An error in a forked child, where the slot is still the parent's.
    fn check_own(&self) -> Result<(), WriteError> {
        if self.lock.is_inherited() {
            return Err(WriteError::Inherited {
                name: self.lock.attachment().name(),
            });
        }
        Ok(())
    }

    /// Copies the newest frame into the slot, for changes in place. Zeros before the first frame.
    pub fn copy_last(&mut self) -> Result<(), WriteError> {
        if self.head.count() == 0 {
            return self.fill_zeros();
        }
        self.check_own()?;
        let attachment = self.lock.attachment();
        let target = attachment.claimed_payload(self.slot())?;
        let bytes = attachment.header.geometry.payload_bytes;
        let slot = self.head.slot();
        if slot == self.slot() || slot >= attachment.header.geometry.slots {
            return Err(WriteError::Corrupt {
                name: attachment.name(),
                source: Corrupt("head names a slot the stream does not have"),
            });
        }
        let source = attachment.payload(slot);
        // SAFETY: two different slots of one stream, each `payload_bytes` long.
        unsafe { copy_bytes(source.as_ptr(), target.as_ptr(), bytes) };
        Ok(())
    }

    fn slot(&self) -> usize {
        self.claim.map_or(0, |claim| claim.slot)
    }

    /// Fills the slot with zeros.
    pub fn fill_zeros(&mut self) -> Result<(), WriteError> {
        self.check_own()?;
        let attachment = self.lock.attachment();
        let target = attachment.claimed_payload(self.slot())?;
        let bytes = attachment.header.geometry.payload_bytes;
        // SAFETY: the slot is `payload_bytes` long, mapped writable and claimed by this loan.
        unsafe { std::ptr::write_bytes(target.as_ptr(), 0, bytes) };
        Ok(())
    }

    /// The slot's memory in a form that outlives the loan and can be taken back, for code that
    /// cannot be trusted to forget addresses. See [`LentMemory`].
    pub fn lend(&self) -> Result<LentMemory, WriteError> {
        self.check_own()?;
        let attachment = self.lock.attachment();
        LentMemory::new(attachment, self.slot()).map_err(|source| WriteError::System {
            name: attachment.name(),
            source,
        })
    }

    /// The slot's memory, with undefined contents to begin with.
    pub fn array(&mut self) -> Result<ArrayMut<'_>, WriteError> {
        self.check_own()?;
        let data = self.lock.attachment().claimed_payload(self.slot())?;
        let geometry = &self.lock.attachment().header.geometry;
        // SAFETY: the claimed slot is aligned, `payload_bytes` long and mapped for as long as the
        // lock holds the attachment; `&mut self` makes the view exclusive in this process, the
        // claim does so between processes.
        Ok(unsafe { ArrayMut::from_raw(data, geometry.dtype, &geometry.shape) })
    }

    /// Tells readers that the first `rows` rows, along the first axis, are as they will be published.
    /// Only in progressive streams; at most the rows of the stream, and never fewer than before.
    pub fn announce_rows(&mut self, rows: usize) -> Result<(), WriteError> {
        self.check_own()?;
        let attachment = self.lock.attachment();
        if !attachment.is_progressive() {
            return Err(WriteError::NotProgressive {
                name: attachment.name(),
            });
        }
        let of_rows = attachment.header.geometry.shape[0];
        if !(self.rows..=of_rows).contains(&rows) {
            return Err(WriteError::Rows {
                name: attachment.name(),
                announced: self.rows,
                of_rows,
                found: rows,
            });
        }
        if let Some(claim) = self.claim
            && rows > self.rows
        {
            attachment.announce_rows(claim, rows)?;
            self.rows = rows;
        }
        Ok(())
    }

    /// Publishes the slot as the newest frame.
    pub fn publish(mut self, options: PublishOptions) -> Result<Publication, WriteError> {
        self.check_own()?;
        match self.claim.take() {
            Some(claim) => self
                .lock
                .attachment()
                .publish_frame(claim, self.head, options),
            // Taken only here and on drop, both of which consume the loan.
            None => Err(WriteError::ScopeOpen {
                name: self.lock.attachment().name(),
            }),
        }
    }

    /// Gives the slot back unpublished; the same as dropping the loan.
    pub fn abort(self) {
        drop(self);
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take()
            && !self.lock.is_inherited()
        {
            self.lock.attachment().abort_frame(claim);
        }
    }
}

impl Attachment {
    /// Copies `payload` into a fresh slot and publishes it.
    pub(crate) fn write(
        &self,
        payload: ArrayRef<'_>,
        options: PublishOptions,
        patience: Patience<'_>,
    ) -> Result<Publication, WriteError> {
        let geometry = &self.header.geometry;
        if payload.dtype() != geometry.dtype || payload.shape() != geometry.shape {
            return Err(WriteError::Shape {
                name: self.name(),
                expected_dtype: geometry.dtype,
                expected_shape: geometry.shape.clone(),
                found_dtype: payload.dtype(),
                found_shape: payload.shape().to_owned(),
            });
        }
        let _lock = HeldLock::take(self, patience)?;
        let (claim, head) = self.begin_frame(patience)?;
        let target = match self.claimed_payload(claim.slot) {
            Ok(target) => target,
            Err(error) => {
                self.abort_frame(claim);
                return Err(error);
            }
        };
        // SAFETY: dtype and shape were compared, so both sides are `payload_bytes` long; the
        // claimed slot is ours, and a view of another slot or of private memory is disjoint.
        unsafe {
            copy_bytes(
                payload.as_bytes_ptr(),
                target.as_ptr(),
                geometry.payload_bytes,
            );
        };
        self.publish_frame(claim, head, options)
    }

    /// Claims a slot. The caller holds the lock. `patience` bounds the wait for lossless readers.
    fn begin_frame(&self, patience: Patience<'_>) -> Result<(Claim, Head), WriteError> {
        let generation = thalweg_os::fork::generation();
        if self.writing_since.load(Ordering::Relaxed) == generation {
            return Err(WriteError::ScopeOpen { name: self.name() });
        }
        let own = self.id()?;
        let head = super::attachment::head_under_lock(self, own);
        let words = self.writer_words().map_err(|source| WriteError::System {
            name: self.name(),
            source,
        })?;
        // Before the wait for room, which runs the caller's interrupt: whatever that writes would
        // publish a frame that `head` does not know of.
        self.writing_since.store(generation, Ordering::Relaxed);
        let begun = words.begin(head, &WaitingWriter::new(self, patience));
        let claim = begun.map_err(|error| {
            self.writing_since.store(0, Ordering::Relaxed);
            self.not_begun(error, head, patience)
        })?;
        if self.is_progressive() {
            words.begin_rows(claim);
        }
        Ok((claim, head))
    }

    fn claimed_payload(&self, slot: usize) -> Result<std::ptr::NonNull<u8>, WriteError> {
        self.payload_mut(slot).map_err(|source| WriteError::System {
            name: self.name(),
            source,
        })
    }

    fn publish_frame(
        &self,
        claim: Claim,
        mut head: Head,
        options: PublishOptions,
    ) -> Result<Publication, WriteError> {
        self.writing_since.store(0, Ordering::Relaxed);
        let words = self.writer_words().map_err(|source| WriteError::System {
            name: self.name(),
            source,
        })?;
        let publish_ns = thalweg_os::clock::monotonic_ns();
        let frame_id = options.frame_id.unwrap_or_else(|| {
            // Unchanged: the id of the frame before, which nobody else can be writing.
            match words.slots.get(head.slot()) {
                Some(slot) if head.count() > 0 => slot.frame_id.load(Ordering::Relaxed),
                _ => 0,
            }
        });
        let record = Record {
            frame_id,
            wall_ns: WALL_CLOCK.at(publish_ns),
            publish_ns,
            origin_ns: options.origin_ns.unwrap_or(publish_ns),
        };
        let wake_always = self.header.has(flags::WAKE_ALWAYS);
        words
            .commit(&mut head, claim, record, wake_always, || self.wake_head())
            .map_err(|source| {
                self.abort_frame(claim);
                // This process's copy was wrong: without the true one no later frame could pass.
                self.remember_head(words.head());
                WriteError::Corrupt {
                    name: self.name(),
                    source,
                }
            })?;
        if self.is_progressive() {
            words.ring_rows(wake_always, || self.wake_rows());
        }
        self.remember_head(head);
        self.prefetch_next(claim.slot);
        Ok(Publication::new(claim.count, record))
    }

    fn abort_frame(&self, claim: Claim) {
        self.writing_since.store(0, Ordering::Relaxed);
        let Ok(words) = self.writer_words() else {
            // It was mapped when the slot was claimed, and mappings live as long as self.
            return;
        };
        let is_strict = self.header.has(flags::STRICT);
        words.abort(claim, is_strict);
        if is_strict || words.head().count() == 0 {
            // Sleepers have to hear that there is nothing to wait for but an error.
            words.event(0, false, || self.wake_head());
            self.remember_head(words.head());
        } else if self.is_progressive() {
            let wake_always = self.header.has(flags::WAKE_ALWAYS);
            words.ring_rows(wake_always, || self.wake_rows());
        }
    }

    /// Fetches the lines the next frame begins with, so that a spinning reader's copy of them is
    /// taken away before, not during, the next publication.
    fn prefetch_next(&self, slot: usize) {
        #[cfg(target_arch = "x86_64")]
        if let Ok(words) = self.writer_words() {
            use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
            if words.reuses_slots {
                // Frames so large that their first lines do not matter.
                return;
            }
            let next = (slot + 1) % words.slots.len();
            let header = std::ptr::from_ref(&words.slots[next]).cast::<i8>();
            // SAFETY: a prefetch reads nothing and cannot fault.
            unsafe { _mm_prefetch::<_MM_HINT_ET0>(header) };
            if let Ok(payload) = self.payload_mut(next) {
                // SAFETY: as above.
                unsafe { _mm_prefetch::<_MM_HINT_ET0>(payload.as_ptr().cast()) };
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _unused = slot;
    }
}
