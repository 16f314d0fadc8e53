//! Waiting as a future, for any executor.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::attachment::Attachment;
use super::error::{RowsError, WaitError};
use super::reactor::{self, FrameWanted, Interest, Registration, Wanted};
use super::rows::{self, RowsWanted};
use super::{RowProgress, Stream};

/// A wait of one future, known to the reactor from its first poll on.
#[derive(Debug)]
struct Standing {
    interest: Interest,
    registration: Option<Registration>,
}

impl Standing {
    fn of(stream: &Stream, wanted: Wanted) -> Self {
        Self {
            interest: Interest {
                attachment: Arc::clone(&stream.attachment),
                closed: Arc::clone(&stream.closed),
                wanted,
            },
            registration: None,
        }
    }

    fn attachment(&self) -> &Attachment {
        &self.interest.attachment
    }

    /// True, once, if there is to be looked for what nobody rings for.
    fn takes_note_of_trouble(&self) -> bool {
        self.registration
            .as_ref()
            .is_some_and(Registration::takes_note_of_trouble)
    }

    /// An error if the name leads elsewhere. Looks at the file system.
    fn check_stale(&self) -> Result<(), WaitError> {
        match self.attachment().stale_reason() {
            Some(reason) => Err(WaitError::Stale {
                name: self.attachment().name(),
                reason,
            }),
            None => Ok(()),
        }
    }

    /// Turns what a look found into what a poll says: the waker is called when to look again.
    fn poll<T, E: From<WaitError>>(
        &mut self,
        looked: Result<Option<T>, E>,
        context: &Context<'_>,
    ) -> Poll<Result<T, E>> {
        if let Some(outcome) = looked.transpose() {
            self.registration = None;
            return Poll::Ready(outcome);
        }
        let is_registered = self.registration.as_ref().is_some_and(|registration| {
            registration.is_own() && registration.replace_waker(context.waker())
        });
        if !is_registered {
            // What came since the look is found by the first look of the reactor.
            match reactor::register(&self.interest, context.waker().clone()) {
                Ok(registration) => self.registration = Some(registration),
                Err(source) => {
                    let name = self.attachment().name();
                    return Poll::Ready(Err(WaitError::System { name, source }.into()));
                }
            }
        }
        Poll::Pending
    }
}

/// A wait for a publication with a count above a given one; see [`Stream::next_after`].
///
/// It holds a share of the mapping, not the handle: it outlives the handle, and ends when that is
/// closed. Dropping it ends the wait and leaves nothing behind. It has no deadline: executors have
/// timeouts. It never spins.
#[derive(Debug)]
#[must_use = "futures do nothing until they are awaited"]
pub struct NextAfter {
    wanted: FrameWanted,
    standing: Standing,
}

impl NextAfter {
    fn look(&self) -> Result<Option<u64>, WaitError> {
        let standing = &self.standing;
        let found = self
            .wanted
            .look(standing.attachment(), &standing.interest.closed)?;
        if found.is_none() && standing.takes_note_of_trouble() {
            standing.check_stale()?;
        }
        Ok(found)
    }
}

impl Future for NextAfter {
    type Output = Result<u64, WaitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let looked = self.look();
        self.standing.poll(looked, context)
    }
}

/// A wait for rows of a frame of a progressive stream; see [`Stream::next_rows`] and
/// [`Stream::next_more_rows`]. In all else as [`NextAfter`].
#[derive(Debug)]
#[must_use = "futures do nothing until they are awaited"]
pub struct NextRows {
    wanted: RowsWanted,
    standing: Standing,
}

impl NextRows {
    fn look(&self) -> Result<Option<RowProgress>, RowsError> {
        let (attachment, standing) = (self.standing.attachment(), &self.standing);
        self.wanted.check(attachment)?;
        let found = self.wanted.look(attachment)?;
        if found.is_none() {
            rows::may_go_on(attachment, &standing.interest.closed)?;
            if standing.takes_note_of_trouble() {
                standing.check_stale()?;
                self.wanted.check_writer(attachment)?;
            }
        }
        Ok(found)
    }
}

impl Future for NextRows {
    type Output = Result<RowProgress, RowsError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let looked = self.look();
        self.standing.poll(looked, context)
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

    /// As [`Stream::wait_rows`], as a future: the first `rows` rows of the frame being written, or of
    /// the newest one, if its count is above `after`.
    pub fn next_rows(&self, after: u64, rows: usize) -> NextRows {
        self.future_rows(RowsWanted::above(after, rows))
    }

    /// As [`Stream::wait_more_rows`], as a future: the first `rows` rows of the same writing; an error
    /// once it is given up or replaced.
    pub fn next_more_rows(&self, progress: &RowProgress, rows: usize) -> NextRows {
        self.future_rows(RowsWanted::of(progress, rows))
    }

    fn future(&self, after: u64, heeds_aborts: bool) -> NextAfter {
        let wanted = FrameWanted {
            after,
            heeds_aborts,
        };
        NextAfter {
            wanted,
            standing: Standing::of(self, Wanted::Frame(wanted)),
        }
    }

    fn future_rows(&self, wanted: RowsWanted) -> NextRows {
        NextRows {
            wanted,
            standing: Standing::of(self, Wanted::Rows(wanted)),
        }
    }
}
