//! Named streams: the newest frame, and a bounded history, of one array.
//!
//! One writer at a time, any number of readers; readers never slow the writer and the writer never
//! waits for them, except for those that ask for it with [`Stream::subscribe`]. Four ways to read:
//! [`Stream::read`] copies, [`Stream::history`] copies the last few frames, [`Stream::borrow`] pins the
//! frame in place, waiting is for a count above one already seen. Two ways to write:
//! [`Stream::write`] copies in, [`Stream::loan`] lends the next slot.
//!
//! ```
//! use thalweg_shm::{ArrayRef, DType, Patience, PublishOptions, Stream, StreamOptions, WaitPolicy};
//!
//! # let name = format!("doc-stream-{}", std::process::id());
//! let writer = Stream::create(&name, &StreamOptions::new(DType::Float32, &[2, 2]))?;
//! let reader = Stream::open(&name)?;
//!
//! let frame = [1.0f32, 2.0, 3.0, 4.0];
//! writer.write(ArrayRef::from_slice(&frame, &[2, 2]), PublishOptions::default(), Patience::ENDLESS)?;
//!
//! let count = reader.wait_after(0, WaitPolicy::Adaptive, Patience::ENDLESS)?;
//! assert_eq!(count, 1);
//! let borrowed = reader.borrow()?;
//! assert_eq!(borrowed.array().to_vec::<f32>()?, frame);
//! writer.unlink()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod attachment;
mod back_off;
mod cadence;
pub mod directory;
pub mod error;
mod frame;
mod future;
mod history;
mod holder;
mod lent;
mod loan;
mod lock;
mod lossless;
pub mod observe;
mod open;
mod opening;
mod peek;
mod placement;
mod publication;
mod reactor;
mod read;
mod registry;
mod replace;
mod rhythm;
mod room;
mod rows;
mod spin;
mod wait;

use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use attachment::Attachment;
pub use attachment::Interrupt;
use cadence::Cadence;
pub use directory::{LosslessStat, Purged, StreamDirectory, StreamStat};
use error::{
    BorrowError, CreateError, LockError, OpenError, ReadError, SubscribeError, UnlinkError,
    WaitError,
};
pub use error::{StaleReason, WriteError};
pub use frame::Frame;
pub use future::{AnyAfter, NextAfter, NextRows};
pub use history::HistoryFrame;
pub use lent::LentMemory;
pub use loan::Loan;
pub use lock::{Patience, WriteLock};
pub use lossless::{LosslessFrame, LosslessReader};
pub use opening::Opening;
pub use peek::Peek;
pub use publication::{Publication, PublishOptions};
pub use rows::RowProgress;
pub use spin::reckon_with_cpus;
use thalweg_os::process::Liveness;
pub use wait::WaitPolicy;
use wait::Waiter;

use crate::array::{ArrayMut, ArrayRef};
use crate::dtype::DType;
use crate::protocol::publish::state;
use crate::segment::header::{Header, flags};

/// Slots of a stream unless asked otherwise: the last published, one being written, two to pin.
pub const DEFAULT_SLOTS: usize = 4;

/// Frames of this size and more reuse slots unless asked otherwise.
pub const REUSE_FROM_BYTES: usize = 1 << 20;

/// What a new stream is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    /// Element type.
    pub dtype: DType,
    /// Extent of every axis, slowest first; at least one axis, none empty.
    pub shape: Vec<usize>,
    /// Frames held at once, 2 to 127. Two fewer can be borrowed at a time.
    pub slots: usize,
    /// Permission bits of the file.
    pub mode: u32,
    /// Id of the file's group, if not the creating process's; [`group_id`](crate::group_id) finds it
    /// by name.
    pub group: Option<u32>,
    /// After an abort or a writer's death, give readers an error until the next complete frame
    /// instead of the last good one.
    pub strict: bool,
    /// The stream is debris as soon as the creating process has ended.
    pub ends_with_creator: bool,
    /// Frames can be read while they are written, row by row: see [`Loan::announce_rows`] and
    /// [`Stream::wait_rows`].
    pub progressive: bool,
    /// Write large frames into the slots used last instead of going round all of them: two slots stay
    /// in cache where four may not. Then only the last two frames are sure to be held for
    /// [`Stream::history`]; pins and lossless readers have their slots all the same.
    pub reuse_slots: bool,
    /// Remembered in the header and otherwise without effect: every stream wakes its waiters.
    pub notify: bool,
}

impl StreamOptions {
    /// A stream of `shape` and `dtype` with four slots, private to the user, lenient; slots of frames
    /// from [`REUSE_FROM_BYTES`] on are reused.
    pub fn new(dtype: DType, shape: &[usize]) -> Self {
        let frame_bytes = shape.iter().fold(dtype.size_bytes(), |bytes, &extent| {
            bytes.saturating_mul(extent)
        });
        Self {
            dtype,
            shape: shape.to_owned(),
            slots: DEFAULT_SLOTS,
            mode: 0o600,
            group: None,
            strict: false,
            ends_with_creator: false,
            progressive: false,
            reuse_slots: frame_bytes >= REUSE_FROM_BYTES,
            notify: false,
        }
    }
}

/// A handle of a named stream.
///
/// Handles are cheap; those of one process share mappings, registration and pins. Dropping the
/// last one leaves the stream in place: it lives until [`Stream::unlink`].
#[derive(Debug)]
pub struct Stream {
    attachment: Arc<Attachment>,
    /// Shared with the lossless readers of this handle.
    closed: Arc<AtomicBool>,
    cadence: Cadence,
}

impl Stream {
    fn of(attachment: Arc<Attachment>) -> Self {
        Self {
            attachment,
            closed: Arc::default(),
            cadence: Cadence::new(),
        }
    }

    /// Creates the stream `name` in the default directory.
    pub fn create(name: &str, options: &StreamOptions) -> Result<Self, CreateError> {
        StreamDirectory::default().create(name, options)
    }

    /// Opens the stream `name` of the default directory.
    pub fn open(name: &str) -> Result<Self, OpenError> {
        StreamDirectory::default().open(name)
    }

    /// Another handle of the same stream, open even if this one is closed.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self::of(Arc::clone(&self.attachment))
    }

    /// Name, layout, creator and flags: fixed at creation.
    pub fn header(&self) -> &Header {
        &self.attachment.header
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.header().geometry.dtype
    }

    /// Extent of every axis, slowest first.
    pub fn shape(&self) -> &[usize] {
        &self.header().geometry.shape
    }

    /// Bytes of one frame.
    pub fn payload_bytes(&self) -> usize {
        self.header().geometry.payload_bytes
    }

    /// True when this process may write the stream.
    pub fn is_writable(&self) -> bool {
        self.attachment.is_writable()
    }

    /// Number of completed publications.
    pub fn count(&self) -> u64 {
        self.attachment.words().head().count()
    }

    /// Count, ids and times of the newest frame, without its payload.
    pub fn newest(&self) -> Publication {
        self.attachment.newest()
    }

    /// True while some process is writing a frame, as far as one look can tell.
    pub fn is_being_written(&self) -> bool {
        let words = self.attachment.words();
        words.is_being_written(words.head())
    }

    /// The newest count and the state of the next frame in one number: twice the count at rest, one
    /// more while the next frame is written, and negative (one's complement of the latter) while readers get
    /// [`ReadError::Inconsistent`].
    pub fn write_sequence(&self) -> i64 {
        let words = self.attachment.words();
        let head = words.head();
        let at_rest = (head.count() << 1).cast_signed();
        if self.attachment.check_consistent(head).is_err() {
            !(at_rest + 1)
        } else {
            at_rest + i64::from(words.is_being_written(head))
        }
    }

    /// The newest slot's memory without a pin: it changes as soon as the writer comes round to it.
    /// While the calling thread holds the writer lock it stays as it is.
    pub fn peek(&self) -> Peek {
        Peek::new(&self.attachment)
    }

    /// As [`Stream::peek`], at the slot that `array` shows; `None` if it shows other memory. Streams
    /// opened twice in a process share their memory, so `array` may come from another handle.
    pub fn peek_at(&self, array: ArrayRef<'_>) -> Option<Peek> {
        Peek::of(&self.attachment, array)
    }

    /// The memory of `array`, a slot that this process has on loan, in the form of [`Loan::lend`];
    /// `None` if it is other memory.
    pub fn lend_at(&self, array: &ArrayMut<'_>) -> io::Result<Option<LentMemory>> {
        let first = self.attachment.payload_mut(0)?;
        let address = array.as_ref().as_bytes_ptr();
        let slot = self.attachment.slot_at(first, address);
        slot.map(|slot| LentMemory::new(&self.attachment, slot))
            .transpose()
    }

    /// Copies `payload`, of the stream's dtype and shape, into a fresh slot and publishes it.
    /// `patience` bounds the wait for other writers, and for lossless readers.
    pub fn write(
        &self,
        payload: ArrayRef<'_>,
        options: PublishOptions,
        patience: Patience<'_>,
    ) -> Result<Publication, WriteError> {
        self.attachment.write(payload, options, patience)
    }

    /// Lends a fresh slot with undefined contents, to be filled and published. `patience` bounds the
    /// wait for other writers, and for lossless readers.
    pub fn loan(&self, patience: Patience<'_>) -> Result<Loan, WriteError> {
        Loan::open(self.lock(patience)?, patience)
    }

    /// Takes the writer lock. The thread that holds it may go on writing, and take it again.
    pub fn lock(&self, patience: Patience<'_>) -> Result<WriteLock, LockError> {
        WriteLock::take(&self.attachment, patience)
    }

    /// Copies the newest frame into `out`, which has exactly the size of a frame. Zeros and count 0
    /// before the first frame. The deadline bounds retries against an overtaking writer.
    pub fn read_into(
        &self,
        out: &mut [u8],
        deadline_ns: Option<u64>,
    ) -> Result<Publication, ReadError> {
        self.attachment.check_size(out.len())?;
        // SAFETY: `out` is private memory of `payload_bytes` bytes.
        unsafe {
            self.attachment
                .read_to(NonNull::from(out).cast(), deadline_ns)
        }
    }

    /// As [`Stream::read_into`], for an array of the stream's dtype and shape.
    pub fn read_into_array(
        &self,
        out: &mut ArrayMut<'_>,
        deadline_ns: Option<u64>,
    ) -> Result<Publication, ReadError> {
        if out.dtype() != self.dtype() || out.shape() != self.shape() {
            return Err(ReadError::Shape {
                name: self.attachment.name(),
                expected: directory::describe_layout(self.dtype(), self.shape()),
                found: directory::describe_layout(out.dtype(), out.shape()),
            });
        }
        let Some(target) = NonNull::new(out.as_bytes_mut_ptr()) else {
            return self
                .attachment
                .check_size(0)
                .map(|()| Publication::default());
        };
        // SAFETY: dtype and shape were compared, so `out` holds `payload_bytes` writable bytes;
        // an exclusive view of them is no part of the stream's read-only mapping.
        unsafe { self.attachment.read_to(target, deadline_ns) }
    }

    /// As [`Stream::read_into`], to an address.
    ///
    /// # Safety
    ///
    /// `target` is writable for `size_bytes` bytes and no part of a stream.
    pub unsafe fn read_to_address(
        &self,
        target: NonNull<u8>,
        size_bytes: usize,
        deadline_ns: Option<u64>,
    ) -> Result<Publication, ReadError> {
        self.attachment.check_size(size_bytes)?;
        // SAFETY: the size was checked; the caller vouches for the rest.
        unsafe { self.attachment.read_to(target, deadline_ns) }
    }

    /// The newest frame's bytes in a vector.
    pub fn read(&self, deadline_ns: Option<u64>) -> Result<(Vec<u8>, Publication), ReadError> {
        let mut bytes = vec![0; self.payload_bytes()];
        let publication = self.read_into(&mut bytes, deadline_ns)?;
        Ok((bytes, publication))
    }

    /// Pins the newest frame and lends it in place.
    pub fn borrow(&self) -> Result<Frame, BorrowError> {
        Frame::borrow(&self.attachment)
    }

    /// A reader that gets every frame from now on, in order, in place. The writer waits before it
    /// begins a frame that would leave the reader more than `budget` frames behind, so
    /// whoever subscribes has to read, or end the subscription by dropping it. A thread that writes
    /// what it reads losslessly itself would wait for itself.
    ///
    /// A budget of up to two costs nothing; every further frame takes one of the tickets that
    /// borrowing takes, too. The readers of one process share a subscription: none of them is
    /// granted more than the smallest budget among them.
    pub fn subscribe(&self, budget: usize) -> Result<LosslessReader, SubscribeError> {
        LosslessReader::subscribe(self.sharing_close(), budget)
    }

    /// Another handle of the same stream, closed together with this one.
    fn sharing_close(&self) -> Self {
        Self {
            closed: Arc::clone(&self.closed),
            ..self.duplicate()
        }
    }

    /// Waits until more than `after` frames were published; returns the newest count.
    pub fn wait_after(
        &self,
        after: u64,
        policy: WaitPolicy,
        patience: Patience<'_>,
    ) -> Result<u64, WaitError> {
        self.waiter(policy, patience, true).wait_after(after)
    }

    /// As [`Stream::wait_after`], but a frame that was given up is only one more reason to wait:
    /// for those who want the next good frame, whatever happened to others.
    pub fn wait_for_frame(
        &self,
        after: u64,
        policy: WaitPolicy,
        patience: Patience<'_>,
    ) -> Result<u64, WaitError> {
        self.waiter(policy, patience, false).wait_after(after)
    }

    /// Waits until one of `streams` has more publications than the count beside it; returns its
    /// index. Always sleeps: spinning on several streams would cost a line transfer each.
    pub fn wait_any(streams: &[(&Self, u64)], patience: Patience<'_>) -> Result<usize, WaitError> {
        let waiters: Vec<(Waiter<'_>, u64)> = streams
            .iter()
            .map(|&(stream, after)| (stream.waiter(WaitPolicy::Park, patience, false), after))
            .collect();
        wait::wait_any(&waiters)
    }

    fn waiter<'a>(
        &'a self,
        policy: WaitPolicy,
        patience: Patience<'a>,
        heeds_aborts: bool,
    ) -> Waiter<'a> {
        Waiter {
            attachment: &self.attachment,
            closed: &self.closed,
            cadence: &self.cadence,
            policy,
            patience,
            heeds_aborts,
        }
    }

    /// Has everybody who sleeps on this stream look again, without anything new.
    pub fn nudge(&self) {
        if self.attachment.is_writable() {
            let words = self.attachment.words();
            words.event(0, false, || self.attachment.wake_head());
        }
    }

    /// Ends every wait under this handle with an error, those to come included. Views stay valid.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        if self.is_writable() {
            // Strangers wake once and sleep again.
            self.nudge();
        } else {
            // Threads that wait find out within 100 ms.
            reactor::look_again(&self.attachment);
        }
    }

    /// Declares the end of the stream: waits for more end with an error.
    pub fn end(&self) {
        let words = self.attachment.words();
        if self.attachment.is_writable() {
            words.event(state::ENDED, false, || self.attachment.wake_head());
        }
    }

    /// Removes the name, if it still leads to this stream, and tells every waiter.
    /// Handles and views stay usable. Removing a name that is gone already is no error.
    pub fn unlink(&self) -> Result<(), UnlinkError> {
        directory::unlink_attachment(&self.attachment)
    }

    /// Why nothing new will come, if the name leads elsewhere by now or the writer ended it.
    pub fn stale_reason(&self) -> Option<StaleReason> {
        self.attachment.stale_reason()
    }

    /// Whether the process that created the stream still runs.
    pub fn creator_liveness(&self) -> Liveness {
        self.header().creator_liveness()
    }

    /// True if the stream ends with its creator and that has ended.
    pub fn is_abandoned(&self) -> bool {
        self.header().has(flags::ENDS_WITH_CREATOR) && self.creator_liveness() == Liveness::Dead
    }

    /// Borrowed views of this process that are alive, over all handles.
    pub fn local_views(&self) -> usize {
        self.attachment.local_views().0
    }

    /// Borrowed views that this process inherited in a fork and has no ticket of its own for: what
    /// they show stays as it is only while the parent holds it. Those of the parent's other threads
    /// count, too; nobody will ever drop them here.
    pub fn inherited_views(&self) -> usize {
        self.attachment.local_views().1
    }

    /// Levels of the writer lock the calling thread holds, over all handles.
    pub fn lock_depth(&self) -> u32 {
        self.attachment
            .holder
            .depth_of(holder::ThreadKey::current())
    }
}
