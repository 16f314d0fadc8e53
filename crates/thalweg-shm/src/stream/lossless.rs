//! Lossless reading: every frame, in order, exactly once, in place.

use std::ptr::NonNull;
use std::sync::MutexGuard;

use thalweg_os::{fork, futex};

use super::attachment::{Attachment, lock_ignoring_poison};
use super::error::{LosslessError, ReadError, SubscribeError};
use super::lock::Patience;
use super::publication::Publication;
use super::{Stream, WaitPolicy, directory};
use crate::array::{ArrayMut, ArrayRef};
use crate::copy::copy_bytes;
use crate::protocol::Corrupt;
use crate::protocol::lossless::FREE_BUDGET;
use crate::protocol::pin::Pin;
use crate::protocol::words::AttachmentId;

/// A reader that gets every frame published since it subscribed, in order, exactly once.
///
/// The writer waits for it, so it ends with its last use: dropping it ends the subscription. A
/// frame that was begun and given up is no frame, in strict streams, too.
#[derive(Debug)]
pub struct LosslessReader {
    stream: Stream,
    key: u64,
    budget: usize,
    fork_generation: u64,
    /// Count of the newest frame this reader was given, or of the one before its first.
    position: u64,
    /// Slot of the frame in hand: it is given back by the next call.
    in_hand: Option<usize>,
    /// Where the next frame is, if the writer takes the slots in turn.
    next_slot: usize,
}

/// The next frame of a [`LosslessReader`], in place. Its memory stays as it is while this lives.
#[derive(Clone, Copy, Debug)]
pub struct LosslessFrame<'a> {
    attachment: &'a Attachment,
    slot: usize,
    count: u64,
}

impl LosslessFrame<'_> {
    /// The frame's memory.
    pub fn array(&self) -> ArrayRef<'_> {
        let geometry = &self.attachment.header.geometry;
        let data = self.attachment.payload(self.slot);
        // SAFETY: the slot is aligned, `payload_bytes` long, mapped for as long as the attachment
        // lives, and holds a frame its reader is not done with: the protocol lets nobody write it.
        unsafe { ArrayRef::from_raw(data, geometry.dtype, &geometry.shape) }
    }

    /// Count, ids and times of the frame.
    pub fn publication(&self) -> Publication {
        self.attachment.publication_of_pinned(&Pin {
            ticket: 0,
            slot: self.slot,
            count: self.count,
        })
    }
}

impl LosslessReader {
    pub(super) fn subscribe(stream: Stream, budget: usize) -> Result<Self, SubscribeError> {
        let (key, position) = stream.attachment.subscribe_reader(budget)?;
        Ok(Self {
            stream,
            key,
            budget,
            fork_generation: fork::generation(),
            position,
            in_hand: None,
            next_slot: 0,
        })
    }

    /// Waits for the next frame and lends it in place, until the next call. Gives the frame before
    /// it back, also when no other comes.
    ///
    /// After the end of the stream the frames still there come first.
    pub fn next(
        &mut self,
        policy: WaitPolicy,
        patience: Patience<'_>,
    ) -> Result<LosslessFrame<'_>, LosslessError> {
        self.advance()?;
        self.stream
            .wait_for_frame(self.position, policy, patience)?;
        let attachment = &*self.stream.attachment;
        let count = self.position + 1;
        let slot = attachment
            .words()
            .slot_of(count, self.next_slot)
            .ok_or_else(|| LosslessError::Corrupt {
                name: attachment.name(),
                source: Corrupt("a frame kept for a lossless reader was overwritten"),
            })?;
        self.position = count;
        self.in_hand = Some(slot);
        self.next_slot = (slot + 1) % attachment.header.geometry.slots;
        Ok(LosslessFrame {
            attachment,
            slot,
            count,
        })
    }

    /// As [`LosslessReader::next`], but copies the frame into `out`, which has exactly the size of
    /// a frame, and gives it back at once.
    pub fn read_next_into(
        &mut self,
        out: &mut [u8],
        policy: WaitPolicy,
        patience: Patience<'_>,
    ) -> Result<Publication, LosslessError> {
        self.stream.attachment.check_size(out.len())?;
        let target = NonNull::from(out).cast();
        self.next(policy, patience)?;
        // SAFETY: `out` is private memory of `payload_bytes` bytes.
        unsafe { self.copy_in_hand(target) }
    }

    /// As [`LosslessReader::read_next_into`], to an address.
    ///
    /// # Safety
    ///
    /// `target` is writable for `size_bytes` bytes and no part of a stream.
    pub unsafe fn read_next_to_address(
        &mut self,
        target: NonNull<u8>,
        size_bytes: usize,
        policy: WaitPolicy,
        patience: Patience<'_>,
    ) -> Result<Publication, LosslessError> {
        self.stream.attachment.check_size(size_bytes)?;
        self.next(policy, patience)?;
        // SAFETY: the size was checked; the caller vouches for the rest.
        unsafe { self.copy_in_hand(target) }
    }

    /// As [`LosslessReader::read_next_into`], for an array of the stream's dtype and shape.
    pub fn read_next_into_array(
        &mut self,
        out: &mut ArrayMut<'_>,
        policy: WaitPolicy,
        patience: Patience<'_>,
    ) -> Result<Publication, LosslessError> {
        if out.dtype() != self.stream.dtype() || out.shape() != self.stream.shape() {
            let expected = directory::describe_layout(self.stream.dtype(), self.stream.shape());
            return Err(LosslessError::Read(ReadError::Shape {
                name: self.stream.attachment.name(),
                expected,
                found: directory::describe_layout(out.dtype(), out.shape()),
            }));
        }
        let target = NonNull::new(out.as_bytes_mut_ptr()).unwrap_or(NonNull::dangling());
        self.next(policy, patience)?;
        // SAFETY: dtype and shape were compared, so `out` holds `payload_bytes` writable bytes; an
        // exclusive view of them is no part of the stream's read-only mapping.
        unsafe { self.copy_in_hand(target) }
    }

    /// Copies the frame in hand and gives it back.
    ///
    /// # Safety
    ///
    /// `target` is writable for `payload_bytes` bytes and no part of the stream.
    unsafe fn copy_in_hand(&mut self, target: NonNull<u8>) -> Result<Publication, LosslessError> {
        let Some(frame) = self.frame() else {
            // There is one after `next`.
            return Ok(Publication::default());
        };
        let publication = frame.publication();
        let source = frame.attachment.payload(frame.slot);
        let bytes = frame.attachment.header.geometry.payload_bytes;
        // SAFETY: the slot is `payload_bytes` long; the caller vouches for the target.
        unsafe { copy_bytes(source.as_ptr(), target.as_ptr(), bytes) };
        self.advance()?;
        Ok(publication)
    }

    /// The frame in hand: the one last lent and not given back.
    pub fn frame(&self) -> Option<LosslessFrame<'_>> {
        self.in_hand.map(|slot| LosslessFrame {
            attachment: &self.stream.attachment,
            slot,
            count: self.position,
        })
    }

    /// Gives the frame in hand back, if there is one, so that the writer may use its slot.
    pub fn advance(&mut self) -> Result<(), LosslessError> {
        if self.fork_generation != fork::generation() {
            return Err(LosslessError::Inherited {
                name: self.stream.attachment.name(),
            });
        }
        if self.in_hand.take().is_some() {
            self.stream
                .attachment
                .advance_reader(self.key, self.position);
        }
        Ok(())
    }

    /// Count of the newest frame this reader was given; the next one has the count after it.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The budget it was subscribed with.
    pub fn budget(&self) -> usize {
        self.budget
    }

    /// Published frames it was not given yet.
    pub fn lag(&self) -> u64 {
        self.stream.count().saturating_sub(self.position)
    }

    /// The stream it reads.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }
}

impl Drop for LosslessReader {
    fn drop(&mut self) {
        // In a forked child the subscription is the parent's.
        if self.fork_generation == fork::generation() {
            self.stream.attachment.unsubscribe_reader(self.key);
        }
    }
}

/// The lossless readers of this process, which share one subscription: its cursor is that of the
/// slowest, its budget the smallest.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    fork_generation: u64,
    last_key: u64,
    readers: Vec<LocalReader>,
    /// Tickets that pay for the largest budget. Nobody else gets them when the smallest leaves.
    tickets: Vec<usize>,
}

#[derive(Debug)]
struct LocalReader {
    key: u64,
    budget: usize,
    cursor: u64,
}

impl Subscriptions {
    fn smallest_budget(&self) -> Option<u8> {
        let budget = self.readers.iter().map(|reader| reader.budget).min()?;
        // Never more than the slots of a stream.
        Some(u8::try_from(budget).unwrap_or(u8::MAX))
    }

    fn slowest_cursor(&self) -> Option<u64> {
        self.readers.iter().map(|reader| reader.cursor).min()
    }

    fn tickets_owed(&self) -> usize {
        let largest = self.readers.iter().map(|reader| reader.budget).max();
        largest.unwrap_or(0).saturating_sub(FREE_BUDGET)
    }
}

impl Attachment {
    /// In a forked child the parent's readers are the parent's.
    fn subscriptions(&self) -> MutexGuard<'_, Subscriptions> {
        let mut subscriptions = lock_ignoring_poison(&self.subscriptions);
        let fork_generation = fork::generation();
        if subscriptions.fork_generation != fork_generation {
            *subscriptions = Subscriptions {
                fork_generation,
                ..Subscriptions::default()
            };
        }
        subscriptions
    }

    /// Adds a reader; returns its key and the count it starts after.
    fn subscribe_reader(&self, budget: usize) -> Result<(u64, u64), SubscribeError> {
        if !self.is_writable() {
            return Err(SubscribeError::ReadOnly { name: self.name() });
        }
        let slots = self.header.geometry.slots;
        let Some(budget_byte) = u8::try_from(budget)
            .ok()
            .filter(|_| (1..=slots).contains(&budget))
        else {
            return Err(SubscribeError::Budget {
                name: self.name(),
                slots,
                budget,
            });
        };
        let own = self.id().map_err(SubscribeError::Attach)?;
        let mut subscriptions = self.subscriptions();
        self.pay(&mut subscriptions, budget, own)?;
        let words = self.words();
        let start = match subscriptions.smallest_budget() {
            None => words.subscribe(own, budget_byte, || self.wake_space()),
            Some(smallest) => {
                words.set_budget(own, smallest.min(budget_byte), || self.wake_space())
            }
        };
        subscriptions.last_key += 1;
        let key = subscriptions.last_key;
        subscriptions.readers.push(LocalReader {
            key,
            budget,
            cursor: start,
        });
        Ok((key, start))
    }

    /// Takes the tickets a further reader with this budget costs.
    fn pay(
        &self,
        subscriptions: &mut Subscriptions,
        budget: usize,
        own: AttachmentId,
    ) -> Result<(), SubscribeError> {
        let words = self.words();
        let mut has_reaped = false;
        while subscriptions.tickets.len() < budget.saturating_sub(FREE_BUDGET) {
            if let Some(ticket) = words.reserve(own) {
                subscriptions.tickets.push(ticket);
            } else if has_reaped {
                let error = SubscribeError::Limit {
                    name: self.name(),
                    budget,
                    tickets: words.ticket_count(),
                    holders: self.ticket_holders(),
                };
                self.give_change(subscriptions);
                return Err(error);
            } else {
                self.reap_dead(Some(own));
                has_reaped = true;
            }
        }
        Ok(())
    }

    /// Gives back the tickets that no reader needs.
    fn give_change(&self, subscriptions: &mut Subscriptions) {
        let owed = subscriptions
            .tickets_owed()
            .min(subscriptions.tickets.len());
        for ticket in subscriptions.tickets.drain(owed..) {
            self.words().unpin(ticket);
        }
    }

    /// A reader is done with frame `count` and those before it.
    fn advance_reader(&self, key: u64, count: u64) {
        let mut subscriptions = self.subscriptions();
        let before = subscriptions.slowest_cursor();
        for reader in &mut subscriptions.readers {
            if reader.key == key {
                reader.cursor = count;
            }
        }
        let after = subscriptions.slowest_cursor();
        if let (Ok(own), Some(cursor)) = (self.id(), after)
            && before != after
        {
            self.words().advance(own, cursor, || self.wake_space());
        }
    }

    /// Removes a reader.
    fn unsubscribe_reader(&self, key: u64) {
        let mut subscriptions = self.subscriptions();
        subscriptions.readers.retain(|reader| reader.key != key);
        let Ok(own) = self.id() else {
            // It is registered: it was when it subscribed.
            return;
        };
        let words = self.words();
        match (
            subscriptions.smallest_budget(),
            subscriptions.slowest_cursor(),
        ) {
            (Some(budget), Some(cursor)) => {
                words.set_budget(own, budget, || self.wake_space());
                words.advance(own, cursor, || self.wake_space());
            }
            _ => words.unsubscribe(own, || self.wake_space()),
        }
        // Last: a writer that saw the larger budget counts on its tickets.
        self.give_change(&mut subscriptions);
    }

    /// Wakes the writer that waits for room; there is only one.
    fn wake_space(&self) {
        futex::wake(&self.words().control.space.bell, u32::MAX);
    }
}
