//! What the processes do, and what they check while they do it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use thalweg_os::clock::{deadline_after, monotonic_ns};
use thalweg_os::process::ProcessIdentity;
use thalweg_shm::protocol::words::Who;
use thalweg_shm::stream::error::{BorrowError, ReadError, RowsError, SubscribeError, WaitError};
use thalweg_shm::{
    ArrayMut, ArrayRef, Loan, NextAfter, Patience, Publication, PublishOptions, Stream,
    StreamDirectory, WaitPolicy, WriteLock,
};

use super::board::{Board, Inside, Tally};
use super::frame::{GARBAGE, UNNUMBERED, fill, tag_of};
use super::plan::{Role, Setting};
use super::random::Random;
use super::side;

/// Name of the stream everybody uses.
pub(crate) const NAME: &str = "stream";
/// No operation takes this long unless something is stuck.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(20);

pub(crate) fn soon() -> Patience<'static> {
    Patience::until(deadline_after(WATCHDOG))
}

/// One process at work.
pub(crate) struct Actor {
    pub(crate) board: &'static Board,
    pub(crate) directory: StreamDirectory,
    pub(crate) random: Random,
    pub(crate) words: Vec<u64>,
    own: Who,
    setting: Setting,
}

/// Works in `role` until killed.
pub(crate) fn work(
    board: &'static Board,
    line: usize,
    role: Role,
    setting: Setting,
    directory: StreamDirectory,
    random: Random,
) {
    let identity = ProcessIdentity::current().expect("/proc is there");
    let own = Who::new(0, identity.start_ticks, identity.pid);
    board.lines[line].who.store(own.0, Ordering::Relaxed);
    let mut actor = Actor {
        board,
        directory,
        random,
        words: vec![0; setting.words],
        own,
        setting,
    };
    let stream = match role {
        // The last handle of a process is the one that leaves.
        Role::Opener | Role::Sider => None,
        _ => Some(actor.directory.open(NAME).expect("it exists")),
    };
    loop {
        match (&stream, role) {
            (Some(stream), Role::Writer) => actor.write(stream),
            (Some(stream), Role::InPlaceWriter) => actor.write_in_place(stream),
            (Some(stream), Role::LockHolder) => actor.hold_lock(stream),
            (Some(stream), Role::Reader) if actor.random.once_in(8) => actor.look_back(stream),
            (Some(stream), Role::Reader) => actor.read(stream),
            (Some(stream), Role::Borrower) => actor.borrow(stream),
            (Some(stream), Role::Waiter) => actor.wait(stream),
            (Some(stream), Role::Subscriber) => actor.follow(stream),
            (Some(stream), Role::RowReader) => actor.read_rows(stream),
            (_, Role::Sider) => side::act(&mut actor),
            _ => actor.open(),
        }
        board.lines[line].beats.fetch_add(1, Ordering::Relaxed);
    }
}

/// The lock, held, and the board told.
struct Held<'a> {
    // Dropped first: who is told to be inside still has the lock.
    inside: Inside<'a>,
    lock: WriteLock,
}

impl Actor {
    /// Passes some time, as a computation would, or none.
    fn linger(&mut self) {
        let most_us = *[0, 0, 20, 200, 2000]
            .get(self.random.below(5) as usize)
            .unwrap_or(&0);
        if most_us > 0 {
            let pause = Duration::from_micros(self.random.below(most_us));
            std::thread::park_timeout(pause);
        }
    }

    fn lock(&self, stream: &Stream) -> Option<Held<'static>> {
        let began_ns = monotonic_ns();
        match stream.lock(soon()) {
            Ok(lock) => {
                let inside = self.board.enter(self.own, began_ns);
                self.check_cleared_up(stream, inside.abandoned);
                Some(Held { inside, lock })
            }
            Err(error) => {
                self.board.report(Tally::Hangs, &error.to_string());
                None
            }
        }
    }

    /// Whoever takes the lock from the dead clears up first.
    fn check_cleared_up(&self, stream: &Stream, abandoned: u64) {
        if stream.is_being_written() {
            let what = "nobody else holds the lock, but a frame is being written";
            self.board.report(Tally::Debris, what);
        }
        // Unless somebody else has published since.
        let is_newest = abandoned != 0 && abandoned == stream.count() + 1;
        if self.setting.is_strict && is_newest {
            let read = stream.read(soon().deadline_ns);
            if !matches!(read, Err(ReadError::Inconsistent { .. })) {
                let what = format!("readers are not told that frame {abandoned} was abandoned");
                self.board.report(Tally::Debris, &what);
            }
        }
    }

    fn write(&mut self, stream: &Stream) {
        match self.random.below(16) {
            0 => self.abort(stream),
            1..=3 => self.lend(stream),
            // Back to back, as fast producers do.
            4..=6 => {
                for _ in 0..self.random.below(200) {
                    self.write_unnumbered(stream);
                }
            }
            7..=9 => {
                if let Some(held) = self.lock(stream) {
                    for _ in 0..self.random.below(50) {
                        self.write_numbered(stream);
                    }
                    drop(held);
                }
            }
            _ => {
                for _ in 0..self.random.below(50) {
                    let Some(held) = self.lock(stream) else {
                        break;
                    };
                    self.write_numbered(stream);
                    drop(held);
                }
            }
        }
        self.linger();
    }

    /// Under the lock the next number is known.
    fn write_numbered(&mut self, stream: &Stream) {
        let count = stream.count() + 1;
        fill(&mut self.words, count);
        let published = stream.write(
            ArrayRef::from_slice(&self.words, &[self.setting.words]),
            frame_id(count),
            soon(),
        );
        match published {
            Ok(publication) => self.published(publication, Some(count)),
            Err(error) => self.unexpected(&error),
        }
    }

    fn write_unnumbered(&mut self, stream: &Stream) {
        let tag = UNNUMBERED | self.random.next() >> 3;
        fill(&mut self.words, tag);
        let published = stream.write(
            ArrayRef::from_slice(&self.words, &[self.setting.words]),
            frame_id(tag),
            soon(),
        );
        match published {
            Ok(publication) => self.published(publication, None),
            Err(error) => self.unexpected(&error),
        }
    }

    fn lend(&mut self, stream: &Stream) {
        let Some(held) = self.lock(stream) else {
            return;
        };
        let count = stream.count() + 1;
        match stream.loan(soon()) {
            Ok(loan) => self.publish_loan(loan, count, &held.inside),
            Err(error) => self.unexpected(&error),
        }
        drop(held);
    }

    fn write_in_place(&mut self, stream: &Stream) {
        if let Some(held) = self.lock(stream) {
            let count = stream.count() + 1;
            match stream.loan(soon()) {
                Ok(mut loan) => {
                    loan.copy_last().unwrap_or_else(|e| self.unexpected(&e));
                    let array = loan.array().expect("mapped");
                    let copied = array.as_ref().copy_to(&mut self.words);
                    copied.expect("of one layout");
                    if tag_of(&self.words).is_none() {
                        self.board
                            .report(Tally::Torn, "the copy to change in place");
                    }
                    self.publish_loan(loan, count, &held.inside);
                }
                Err(error) => self.unexpected(&error),
            }
            drop(held);
        }
        self.linger();
    }

    /// Fills a loan in two steps with a pause between, and publishes.
    fn publish_loan(&mut self, mut loan: Loan, count: u64, inside: &Inside<'_>) {
        inside.begins(count);
        fill(&mut self.words, count);
        let half = self.setting.words / 2;
        for part in [0..half, half..self.setting.words] {
            let mut array = loan.array().expect("mapped");
            let part_end = part.end;
            let filled = array.copy_range_from(part.start, &self.words[part]);
            filled.expect("inside the frame");
            if self.setting.is_progressive {
                loan.announce_rows(part_end)
                    .unwrap_or_else(|e| self.unexpected(&e));
            }
            self.linger();
        }
        inside.ends();
        match loan.publish(frame_id(count)) {
            Ok(publication) => self.published(publication, Some(count)),
            Err(error) => self.unexpected(&error),
        }
    }

    fn abort(&mut self, stream: &Stream) {
        match stream.loan(soon()) {
            Ok(mut loan) => {
                fill(&mut self.words, GARBAGE);
                let mut array = loan.array().expect("mapped");
                array.copy_from(&self.words).expect("of one layout");
                if self.setting.is_progressive {
                    loan.announce_rows(self.setting.words / 2)
                        .unwrap_or_else(|e| self.unexpected(&e));
                }
                self.linger();
                loan.abort();
                self.board.count(Tally::Aborts);
            }
            Err(error) => self.unexpected(&error),
        }
    }

    fn published(&mut self, publication: Publication, expected: Option<u64>) {
        let floor = self.board.floor();
        self.board.count(Tally::Frames);
        if expected.is_some_and(|count| count != publication.count) {
            let what = format!("published {publication:?} instead of {expected:?}");
            self.board.report(Tally::CountsLost, &what);
        }
        if expected.is_some() && publication.count < floor {
            // The lock is still held, so nobody can have published a higher one.
            let what = format!("published {} after {floor}", publication.count);
            self.board.report(Tally::CountsBackwards, &what);
        }
        self.board.saw(publication.count);
    }

    fn hold_lock(&mut self, stream: &Stream) {
        if let Some(held) = self.lock(stream) {
            let before = stream.count();
            self.linger();
            if stream.count() != before {
                let what = "a frame was published past the lock";
                self.board.report(Tally::TwoHolders, what);
            }
            if self.random.once_in(4) {
                self.write_numbered(stream);
            }
            if held.lock.depth() != 1 {
                self.board.report(Tally::Unexpected, "the lock's depth");
            }
            drop(held);
        }
        self.linger();
    }

    fn read(&mut self, stream: &Stream) {
        let floor = self.board.floor();
        let mut array = ArrayMut::from_slice(&mut self.words, stream.shape());
        match stream.read_into_array(&mut array, soon().deadline_ns) {
            Ok(publication) => {
                self.board.count(Tally::Reads);
                self.check_frame(publication, floor, "a copy");
            }
            Err(ReadError::Inconsistent { .. }) if self.setting.is_strict => {}
            Err(error) => self.unexpected(&error),
        }
        if self.random.once_in(8) {
            self.linger();
        }
    }

    /// Copies the last frames.
    fn look_back(&mut self, stream: &Stream) {
        let floor = self.board.floor();
        let frames = match stream.history(self.setting.slots, soon().deadline_ns) {
            Ok(frames) => frames,
            Err(ReadError::Inconsistent { .. }) if self.setting.is_strict => return,
            Err(error) => return self.unexpected(&error),
        };
        self.board.count(Tally::Reads);
        let mut before = 0;
        for (bytes, publication) in &frames {
            for (word, bytes) in self.words.iter_mut().zip(bytes.chunks_exact(8)) {
                *word = u64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
            }
            self.check_frame(*publication, before + 1, "a frame of the history");
            before = publication.count;
        }
        if before < floor {
            let what = format!("the history ends with {before}, not {floor}");
            self.board.report(Tally::CountsBackwards, &what);
        }
    }

    fn borrow(&mut self, stream: &Stream) {
        let floor = self.board.floor();
        let frame = match stream.borrow() {
            Ok(frame) => frame,
            Err(BorrowError::Limit { .. }) => return self.linger(),
            Err(BorrowError::TooFewSlots { .. }) if self.setting.slots == 2 => {
                return self.read(stream);
            }
            Err(BorrowError::Inconsistent { .. }) if self.setting.is_strict => {
                return self.linger();
            }
            Err(error) => return self.unexpected(&error),
        };
        self.board.count(Tally::Borrows);
        let publication = frame.publication();
        let copied = frame.array().copy_to(&mut self.words);
        copied.expect("of one layout");
        self.check_frame(publication, floor, "a borrowed frame");
        let before = self.words.clone();
        self.linger();
        let copied = frame.array().copy_to(&mut self.words);
        copied.expect("of one layout");
        if self.words != before || frame.publication() != publication {
            let what = format!("frame {}", publication.count);
            self.board.report(Tally::ChangedUnderPin, &what);
        }
    }

    fn wait(&mut self, stream: &Stream) {
        let after = stream.count();
        let outcome = match self.random.below(5) {
            4 => finish(stream.next_after(after)),
            0 => stream.wait_after(after, WaitPolicy::Adaptive, soon()),
            1 => Stream::wait_any(&[(stream, after)], soon()).map(|_| stream.count()),
            2 => stream.wait_for_frame(after, WaitPolicy::Park, soon()),
            _ => stream.wait_after(after, WaitPolicy::Park, soon()),
        };
        match outcome {
            Ok(count) => {
                self.board.count(Tally::Waits);
                if count <= after {
                    let what = format!("waited for more than {after}, got {count}");
                    self.board.report(Tally::CountsBackwards, &what);
                }
                self.board.saw(count);
                self.read(stream);
            }
            Err(WaitError::Inconsistent { .. }) if self.setting.is_strict => self.linger(),
            Err(error @ WaitError::TimedOut { .. }) => {
                self.board.report(Tally::Hangs, &error.to_string());
            }
            Err(error) => self.unexpected(&error),
        }
    }

    /// Subscribes for a while: every frame comes, in order, and stays while it is looked at.
    fn follow(&mut self, stream: &Stream) {
        let budget = 1 + self.random.below(self.setting.slots as u64) as usize;
        let mut reader = match stream.subscribe(budget) {
            Ok(reader) => reader,
            Err(SubscribeError::Limit { .. }) => return self.linger(),
            Err(error) => return self.unexpected(&error),
        };
        for _ in 0..self.random.below(10) {
            let floor = reader.position() + 1;
            let frame = match reader.next(WaitPolicy::Park, soon()) {
                Ok(frame) => frame,
                Err(error) => return self.board.report(Tally::Hangs, &error.to_string()),
            };
            let publication = frame.publication();
            frame
                .array()
                .copy_to(&mut self.words)
                .expect("of one layout");
            self.board.count(Tally::Followed);
            self.check_frame(publication, floor, "a frame of a lossless reader");
            if publication.count != floor {
                let what = format!("a lossless reader got {publication:?} instead of {floor}");
                self.board.report(Tally::CountsLost, &what);
            }
            if self.random.once_in(4) {
                let before = self.words.clone();
                self.linger();
                frame
                    .array()
                    .copy_to(&mut self.words)
                    .expect("of one layout");
                if self.words != before {
                    let what = format!("frame {floor} of a lossless reader");
                    self.board.report(Tally::ChangedUnderPin, &what);
                }
            }
        }
    }

    /// Reads the first half of a frame as soon as it is there, then all of it.
    fn read_rows(&mut self, stream: &Stream) {
        let (half, whole) = (self.setting.words / 2, self.setting.words);
        let outcome = self.try_rows(stream, stream.count(), half, whole);
        match outcome {
            Ok(()) | Err(RowsError::FrameAborted { .. } | RowsError::Overtaken { .. }) => {}
            Err(error @ RowsError::Wait(WaitError::TimedOut { .. })) => {
                self.board.report(Tally::Hangs, &error.to_string());
            }
            Err(error) => self.unexpected(&error),
        }
    }

    fn try_rows(
        &mut self,
        stream: &Stream,
        after: u64,
        half: usize,
        whole: usize,
    ) -> Result<(), RowsError> {
        let begun = stream.wait_rows(after, half, WaitPolicy::Park, soon())?;
        let mut bytes = vec![0; whole * 8];
        stream.read_rows_into(&begun, 0..half, &mut bytes[..half * 8])?;
        let first = self.tag_of_bytes(&bytes[..half * 8]);
        let done = stream.wait_more_rows(&begun, whole, WaitPolicy::Park, soon())?;
        stream.read_rows_into(&done, 0..whole, &mut bytes)?;
        if !begun.is_complete() {
            self.board.count(Tally::EarlyRows);
        }
        let all = self.tag_of_bytes(&bytes);
        // Of an aborted frame only the first half is ever announced.
        if first.is_none() || all != first || all == Some(GARBAGE) {
            let what = format!("rows: {first:?}, then {all:?} of {done:?}");
            self.board.report(Tally::Torn, &what);
        }
        Ok(())
    }

    /// The tag of as many words of a frame as there are bytes for.
    fn tag_of_bytes(&mut self, bytes: &[u8]) -> Option<u64> {
        let mut words = 0;
        for (word, bytes) in self.words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
            words += 1;
        }
        tag_of(&self.words[..words])
    }

    /// Attaches, uses the stream a little, and leaves in good order.
    fn open(&mut self) {
        let stream = match self.directory.open(NAME) {
            Ok(stream) => stream,
            Err(error) => return self.unexpected(&error),
        };
        self.board.count(Tally::Opens);
        match self.random.below(4) {
            0 => self.read(&stream),
            1 => drop(self.lock(&stream)),
            2 => self.borrow(&stream),
            _ => match self.directory.stat(NAME) {
                Ok(stat) => self.board.saw(stat.newest.count),
                Err(error) => self.unexpected(&error),
            },
        }
    }

    /// Checks the frame in `words`.
    fn check_frame(&self, publication: Publication, floor: u64, what: &str) {
        let count = publication.count;
        let is_whole = tag_of(&self.words).is_some_and(|tag| {
            tag == publication.frame_id && (tag & UNNUMBERED != 0 || tag == count)
        });
        if !is_whole {
            let what = format!("{what}: {publication:?}, first word {:#x}", self.words[0]);
            self.board.report(Tally::Torn, &what);
        }
        if count < floor {
            let what = format!("{what}: found {count} after {floor}");
            self.board.report(Tally::CountsBackwards, &what);
        }
        self.board.saw(count);
    }

    pub(crate) fn unexpected(&self, error: &dyn std::error::Error) {
        self.board.report(Tally::Unexpected, &error.to_string());
    }
}

/// Awaits the frame on this thread.
fn finish(mut future: NextAfter) -> Result<u64, WaitError> {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let gives_up = Instant::now() + WATCHDOG;
    loop {
        if let Poll::Ready(outcome) = Pin::new(&mut future).poll(&mut context) {
            return outcome;
        }
        let left = gives_up.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "a future was never woken");
        std::thread::park_timeout(left);
    }
}

/// Wakes the thread that awaits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn frame_id(tag: u64) -> PublishOptions {
    PublishOptions {
        frame_id: Some(tag),
        origin_ns: None,
    }
}
