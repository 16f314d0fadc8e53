//! Waiting as a future, for any executor.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::Stream;
use super::error::WaitError;
use super::reactor::{self, Interest, Registration};

/// A wait for a publication with a count above a given one; see [`Stream::next_after`].
///
/// It holds a share of the mapping, not the handle: it outlives the handle, and ends when that is
/// closed. Dropping it ends the wait and leaves nothing behind. It has no deadline: executors have
/// timeouts. It never spins.
#[derive(Debug)]
#[must_use = "futures do nothing until they are awaited"]
pub struct NextAfter {
    interest: Interest,
    registration: Option<Registration>,
}

impl NextAfter {
    fn look(&self) -> Option<Result<u64, WaitError>> {
        if let Some(outcome) = self.interest.look().transpose() {
            return Some(outcome);
        }
        let attachment = &self.interest.attachment;
        let notes_staleness = |registration: &Registration| registration.takes_note_of_staleness();
        if self.registration.as_ref().is_some_and(notes_staleness)
            && let Some(reason) = attachment.stale_reason()
        {
            let name = attachment.name();
            return Some(Err(WaitError::Stale { name, reason }));
        }
        None
    }
}

impl Future for NextAfter {
    type Output = Result<u64, WaitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(outcome) = self.look() {
            self.registration = None;
            return Poll::Ready(outcome);
        }
        let is_registered = self.registration.as_ref().is_some_and(|registration| {
            registration.is_own() && registration.replace_waker(context.waker())
        });
        if !is_registered {
            // A frame that came since the look is found by the first look of the reactor.
            match reactor::register(&self.interest, context.waker().clone()) {
                Ok(registration) => self.registration = Some(registration),
                Err(source) => {
                    let name = self.interest.attachment.name();
                    return Poll::Ready(Err(WaitError::System { name, source }));
                }
            }
        }
        Poll::Pending
    }
}

/// A wait for any of several streams; see [`Stream::any_after`].
#[derive(Debug)]
#[must_use = "futures do nothing until they are awaited"]
pub struct AnyAfter {
    waits: Vec<NextAfter>,
}

impl Future for AnyAfter {
    type Output = Result<usize, WaitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.waits.is_empty() {
            return Poll::Ready(Err(WaitError::NoStream));
        }
        for (index, wait) in self.waits.iter_mut().enumerate() {
            if let Poll::Ready(outcome) = Pin::new(wait).poll(context) {
                return Poll::Ready(outcome.map(|_count| index));
            }
        }
        Poll::Pending
    }
}

impl Stream {
    /// As [`Stream::wait_after`], as a future: the newest count, once more than `after` frames were
    /// published. Ends with the same errors; for any executor.
    ///
    /// All futures of a process share one thread that sleeps on their behalf. The wakers of tasks
    /// are called by that thread, without any lock held.
    pub fn next_after(&self, after: u64) -> NextAfter {
        self.future(after, true)
    }

    /// As [`Stream::wait_for_frame`], as a future: a frame that was given up is only one more reason
    /// to wait.
    pub fn next_frame_after(&self, after: u64) -> NextAfter {
        self.future(after, false)
    }

    /// As [`Stream::wait_any`], as a future: the index of the first of `streams` that has more
    /// publications than the count beside it.
    pub fn any_after(streams: &[(&Self, u64)]) -> AnyAfter {
        AnyAfter {
            waits: streams
                .iter()
                .map(|(stream, after)| stream.next_frame_after(*after))
                .collect(),
        }
    }

    fn future(&self, after: u64, heeds_aborts: bool) -> NextAfter {
        NextAfter {
            interest: Interest {
                attachment: Arc::clone(&self.attachment),
                closed: Arc::clone(&self.closed),
                after,
                heeds_aborts,
            },
            registration: None,
        }
    }
}
