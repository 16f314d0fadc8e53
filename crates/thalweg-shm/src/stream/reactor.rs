//! Sleeping on behalf of futures: one thread of this process for all of them.
//!
//! The thread sleeps on the words of all awaited streams at once, which are heads and the bells of
//! progressive streams, and on a bell of its own that is rung when somebody joins or leaves. It wakes
//! tasks and decides nothing else: a woken future looks for itself. A kernel watches up to 128 words
//! in one call, so a process that awaits more than 127 *streams* at a time gets a further thread for
//! each 127; waiters cost no thread.
//!
//! A forked child has no such thread, and locks of its parent's that may be held by threads it does
//! not have. It leaves all of that alone and starts its own when it first awaits something.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use thalweg_os::clock::monotonic_ns;
use thalweg_os::per_process::PerProcess;
use thalweg_os::{fork, futex, signal};

use super::attachment::{Attachment, lock_ignoring_poison};
use super::error::WaitError;
use super::rows::{self, RowsWanted};
use super::wait::{self, FIRST_NAP_NS, LONGEST_NAP_NS, SLICE_NS};
use crate::protocol::sync;
use crate::protocol::words::Head;

/// Streams one thread watches: the kernel's limit, less the bell.
const STREAMS_PER_THREAD: usize = 127;
/// Name of the threads, as the system shows it.
const THREAD_NAME: &str = "thalweg-reactor";

/// What a future waits for.
#[derive(Clone, Debug)]
pub(crate) struct Interest {
    pub(crate) attachment: Arc<Attachment>,
    pub(crate) closed: Arc<AtomicBool>,
    pub(super) wanted: Wanted,
}

/// What of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    /// A count.
    Frame(FrameWanted),
    /// Rows of a frame that may still be written.
    Rows(RowsWanted),
}

/// A count that somebody waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameWanted {
    /// One above this.
    pub(super) after: u64,
    /// Whether a frame that was given up ends the wait with an error.
    pub(super) heeds_aborts: bool,
}

impl FrameWanted {
    /// The newest count if it is new enough; an error if it never will be.
    pub(super) fn look(
        &self,
        attachment: &Attachment,
        closed: &AtomicBool,
    ) -> Result<Option<u64>, WaitError> {
        wait::look(attachment, closed, self.heeds_aborts, self.after)
    }
}

impl Interest {
    /// Whether the wait is over, for whatever reason.
    fn is_over(&self) -> bool {
        let (attachment, closed) = (&self.attachment, &self.closed);
        match &self.wanted {
            Wanted::Frame(frame) => !matches!(frame.look(attachment, closed), Ok(None)),
            Wanted::Rows(rows) => {
                !matches!(rows.look(attachment), Ok(None))
                    || rows::may_go_on(attachment, closed).is_err()
            }
        }
    }

    fn word(&self) -> Word {
        match self.wanted {
            Wanted::Frame(_) => Word::Head,
            Wanted::Rows(_) => Word::RowBell,
        }
    }

    /// Whether `trouble` with its stream may end the wait.
    fn minds(&self, trouble: Trouble) -> bool {
        trouble.is_stale
            || trouble.is_writer_dead
                && matches!(self.wanted, Wanted::Rows(rows) if rows.minds_the_writer())
    }
}

/// A word of a stream that is slept on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// Changes with every frame and every event.
    Head,
    /// Changes with every announcement of rows as well.
    RowBell,
}

impl Word {
    /// What it says now. If something comes after that, it will say something else.
    fn value(self, attachment: &Attachment) -> u64 {
        match self {
            Self::Head => attachment.words().head().0,
            Self::RowBell => attachment.words().row_bell().into(),
        }
    }

    /// The half of `value` that the kernel compares.
    fn futex_value(self, value: u64) -> u32 {
        match self {
            Self::Head => Head(value).futex(),
            Self::RowBell => value as u32,
        }
    }

    fn futex_word(self, attachment: &Attachment) -> &sync::AtomicU32 {
        match self {
            Self::Head => attachment.futex_word(),
            Self::RowBell => &attachment.words().control.row_bell.bell,
        }
    }

    /// Counts the caller as about to sleep on it.
    fn announce_park(self, attachment: &Attachment) {
        match self {
            Self::Head => attachment.words().announce_park(),
            Self::RowBell => attachment.words().announce_row_park(),
        }
    }
}

/// What nobody rings for, found at the end of a slice.
#[derive(Clone, Copy, Debug, Default)]
struct Trouble {
    /// The name leads elsewhere.
    is_stale: bool,
    /// Whoever holds the writer lock has ended.
    is_writer_dead: bool,
}

/// Has `waker` called once, as soon as a look is worth it.
pub(crate) fn register(interest: &Interest, waker: Waker) -> io::Result<Registration> {
    REACTOR.get_or_init(Reactor::new).register(interest, waker)
}

/// Has the waits on `attachment` looked at again, for changes its head does not tell.
pub(crate) fn look_again(attachment: &Arc<Attachment>) {
    let Some(reactor) = REACTOR.get() else {
        return;
    };
    // A copy: the list is locked for moments only.
    let watchers = lock_ignoring_poison(&reactor.watchers).clone();
    watchers
        .iter()
        .for_each(|watcher| watcher.look_again(attachment));
}

/// A place in a watcher's list, left when dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    watcher: Arc<Watcher>,
    attachment: Arc<Attachment>,
    word: Word,
    id: u64,
    is_in_trouble: Arc<AtomicBool>,
    fork_generation: u64,
}

impl Registration {
    /// False in a forked child, where nobody watches on this registration's behalf.
    pub(crate) fn is_own(&self) -> bool {
        self.fork_generation == fork::generation()
    }

    /// True, once, if something was found that nobody rings for: that the name leads elsewhere, or
    /// that the writer of awaited rows has ended.
    pub(crate) fn takes_note_of_trouble(&self) -> bool {
        self.is_in_trouble.swap(false, Ordering::Relaxed)
    }

    /// Has `waker` called instead of the one given before. False if that was called already.
    pub(crate) fn replace_waker(&self, waker: &Waker) -> bool {
        // Cloned before and dropped after the lock is held: both run foreign code.
        let fresh = waker.clone();
        let place = (&self.attachment, self.word);
        let replaced = self.watcher.replace_waker(place, self.id, fresh);
        replaced.is_some()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.is_own() {
            self.watcher.remove((&self.attachment, self.word), self.id);
        }
    }
}

/// The watchers of this process.
#[derive(Debug)]
struct Reactor {
    fork_generation: u64,
    watchers: Mutex<Vec<Arc<Watcher>>>,
}

static REACTOR: PerProcess<Reactor> = PerProcess::new();

impl Reactor {
    fn new() -> Self {
        Self {
            fork_generation: fork::generation(),
            watchers: Mutex::new(Vec::new()),
        }
    }

    fn register(&self, interest: &Interest, waker: Waker) -> io::Result<Registration> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let is_in_trouble = Arc::new(AtomicBool::new(false));
        let mut waiter = Waiter {
            interest: interest.clone(),
            is_in_trouble: Arc::clone(&is_in_trouble),
            waker,
        };
        let registration = |watcher: &Arc<Watcher>| Registration {
            watcher: Arc::clone(watcher),
            attachment: Arc::clone(&interest.attachment),
            word: interest.word(),
            id,
            is_in_trouble: Arc::clone(&is_in_trouble),
            fork_generation: self.fork_generation,
        };
        let mut watchers = lock_ignoring_poison(&self.watchers);
        // With the others of its stream if there are any, else where there is room.
        for may_add_stream in [false, true] {
            for watcher in watchers.iter() {
                match watcher.add(id, waiter, may_add_stream) {
                    Ok(()) => return Ok(registration(watcher)),
                    Err(given_back) => waiter = *given_back,
                }
            }
        }
        let watcher = match Watcher::start(Means::Futexes) {
            Ok(watcher) => watcher,
            Err(error) => {
                drop(watchers);
                // Foreign code, so not under the lock.
                drop(waiter);
                return Err(error);
            }
        };
        watchers.push(Arc::clone(&watcher));
        let added = watcher.add(id, waiter, true);
        debug_assert!(added.is_ok(), "a new watcher has room");
        Ok(registration(&watcher))
    }
}

/// One future's wait.
#[derive(Debug)]
struct Waiter {
    interest: Interest,
    is_in_trouble: Arc<AtomicBool>,
    waker: Waker,
}

/// One awaited word of one stream.
#[derive(Debug)]
struct Watched {
    attachment: Arc<Attachment>,
    word: Word,
    waiters: BTreeMap<u64, Waiter>,
    /// The word at the last look at the waiters; `None` when they have to be looked at anyhow.
    looked_at: Option<u64>,
    /// The word at the last announcement of a sleep. While it has not changed, there was nothing to
    /// wake for, so that announcement is still to be answered.
    announced: Option<u64>,
}

/// How a watcher sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// On all words at once, where the kernel can; else as below.
    Futexes,
    /// For short times, from 50 us doubling to 1 ms.
    #[cfg(test)]
    Naps,
}

/// One thread and what it watches.
#[derive(Debug)]
struct Watcher {
    /// Counts changes of the list; a futex word that only this process knows.
    bell: AtomicU32,
    is_asleep: AtomicBool,
    means: Means,
    streams: Mutex<Vec<Watched>>,
}

impl Watcher {
    /// A watcher of nothing yet, with its thread.
    fn start(means: Means) -> io::Result<Arc<Self>> {
        let watcher = Arc::new(Self {
            bell: AtomicU32::new(0),
            is_asleep: AtomicBool::new(false),
            means,
            streams: Mutex::new(Vec::new()),
        });
        let own = Arc::clone(&watcher);
        // Signals are for threads that expect them, not for one that calls foreign wakers.
        signal::while_blocked(|| {
            std::thread::Builder::new()
                .name(THREAD_NAME.to_owned())
                .spawn(move || own.run())
        })??;
        Ok(watcher)
    }

    fn add(&self, id: u64, waiter: Waiter, may_add_stream: bool) -> Result<(), Box<Waiter>> {
        let mut streams = lock_ignoring_poison(&self.streams);
        let (attachment, word) = (&waiter.interest.attachment, waiter.interest.word());
        match position(&streams, (attachment, word)) {
            Some(index) => {
                streams[index].looked_at = None;
                streams[index].waiters.insert(id, waiter);
            }
            None if may_add_stream && streams.len() < STREAMS_PER_THREAD => {
                streams.push(Watched {
                    attachment: Arc::clone(attachment),
                    word,
                    waiters: BTreeMap::from([(id, waiter)]),
                    looked_at: None,
                    announced: None,
                });
            }
            None => return Err(Box::new(waiter)),
        }
        drop(streams);
        self.ring();
        Ok(())
    }

    /// The waker that was replaced, to be dropped by the caller.
    fn replace_waker(&self, place: Place<'_>, id: u64, waker: Waker) -> Option<Waker> {
        // Declared before the guard, so dropped after it when there is nothing to replace.
        let fresh = waker;
        let mut streams = lock_ignoring_poison(&self.streams);
        let index = position(&streams, place)?;
        let waiter = streams[index].waiters.get_mut(&id)?;
        Some(std::mem::replace(&mut waiter.waker, fresh))
    }

    fn remove(&self, place: Place<'_>, id: u64) {
        let mut streams = lock_ignoring_poison(&self.streams);
        let Some(index) = position(&streams, place) else {
            return;
        };
        let waiter = streams[index].waiters.remove(&id);
        let watched = streams[index]
            .waiters
            .is_empty()
            .then(|| streams.swap_remove(index));
        drop(streams);
        if watched.is_some() {
            // The thread holds the stream while it sleeps on it.
            self.ring();
        }
        // Foreign code and unmapping, outside the lock.
        drop((waiter, watched));
    }

    fn look_again(&self, attachment: &Arc<Attachment>) {
        let mut streams = lock_ignoring_poison(&self.streams);
        let mut is_watched = false;
        for watched in streams.iter_mut() {
            if Arc::ptr_eq(&watched.attachment, attachment) {
                watched.looked_at = None;
                is_watched = true;
            }
        }
        drop(streams);
        if is_watched {
            self.ring();
        }
    }

    /// Has the thread look at its list.
    fn ring(&self) {
        self.bell.fetch_add(1, Ordering::SeqCst);
        // Pairs with the one in `run`: either the kernel finds the new count there, or the sleeper
        // is seen here.
        fence(Ordering::SeqCst);
        if self.is_asleep.load(Ordering::SeqCst) {
            futex::wake(&self.bell, 1);
        }
    }

    fn run(&self) {
        let mut slice_end_ns = monotonic_ns() + SLICE_NS;
        let mut nap_ns = FIRST_NAP_NS;
        let mut troubles = Vec::new();
        let mut is_slice_over = false;
        loop {
            let bell = self.bell.load(Ordering::SeqCst);
            let Round { wakers, sleepers } = self.look_at_all(is_slice_over, &troubles);
            if !wakers.is_empty() {
                nap_ns = FIRST_NAP_NS;
            }
            for waker in wakers {
                // A waker that panics is its owner's failure, told by the panic hook, and no
                // reason for others to wait for ever.
                catch_unwind(AssertUnwindSafe(|| waker.wake())).ok();
            }
            self.is_asleep.store(true, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            self.sleep(bell, &sleepers, slice_end_ns, &mut nap_ns);
            self.is_asleep.store(false, Ordering::SeqCst);
            let now_ns = monotonic_ns();
            is_slice_over = now_ns >= slice_end_ns;
            troubles.clear();
            if is_slice_over {
                slice_end_ns = now_ns + SLICE_NS;
                troubles.extend(sleepers.iter().map(Sleeper::trouble));
            }
        }
    }

    /// Sleeps until a stream's word or the bell changes or the slice is over. With nothing to watch, until
    /// the bell rings.
    fn sleep(&self, bell: u32, sleepers: &[Sleeper], slice_end_ns: u64, nap_ns: &mut u64) {
        if sleepers.is_empty() {
            futex::wait(&self.bell, bell, None);
            return;
        }
        if self.means == Means::Futexes {
            let words = sleepers.iter().map(|sleeper| {
                let word = sleeper.word.futex_word(&sleeper.attachment);
                (word, sleeper.expected)
            });
            let words: Vec<_> = std::iter::once((&self.bell, bell)).chain(words).collect();
            if futex::wait_any(&words, slice_end_ns).is_some() {
                return;
            }
        }
        let nap_end_ns = monotonic_ns() + *nap_ns;
        futex::wait(&self.bell, bell, Some(nap_end_ns.min(slice_end_ns)));
        *nap_ns = (2 * *nap_ns).min(LONGEST_NAP_NS);
    }

    /// Takes those out that a look is worth it for, and announces the sleep on all others' streams.
    /// `troubles` are what was found of streams at the end of a slice.
    fn look_at_all(&self, is_slice_over: bool, troubles: &[Found]) -> Round {
        let mut round = Round::default();
        let mut streams = lock_ignoring_poison(&self.streams);
        streams.retain_mut(|watched| {
            // Before the look: if something comes after it, the word differs from this one.
            let value = watched.word.value(&watched.attachment);
            if is_slice_over || watched.looked_at != Some(value) {
                watched.looked_at = Some(value);
                let found = (Arc::as_ptr(&watched.attachment), watched.word);
                let found = troubles.iter().find(|(place, _)| *place == found);
                let trouble = found.map_or(Trouble::default(), |&(_, trouble)| trouble);
                let worth_it = watched.waiters.extract_if(.., |_, waiter| {
                    waiter.interest.minds(trouble) || waiter.interest.is_over()
                });
                for (_, waiter) in worth_it {
                    let is_in_trouble = waiter.interest.minds(trouble);
                    waiter.is_in_trouble.store(is_in_trouble, Ordering::Relaxed);
                    round.wakers.push(waiter.waker);
                }
            }
            if watched.waiters.is_empty() {
                return false;
            }
            if watched.attachment.is_writable() && watched.announced != Some(value) {
                watched.announced = Some(value);
                watched.word.announce_park(&watched.attachment);
            }
            round.sleepers.push(Sleeper {
                attachment: Arc::clone(&watched.attachment),
                word: watched.word,
                expected: watched.word.futex_value(value),
            });
            true
        });
        round
    }
}

/// What one look at the list came to.
#[derive(Default)]
struct Round {
    wakers: Vec<Waker>,
    sleepers: Vec<Sleeper>,
}

/// A word to sleep on, and what it said when it was looked at.
struct Sleeper {
    attachment: Arc<Attachment>,
    word: Word,
    expected: u32,
}

/// Trouble, and with which word of which stream.
type Found = ((*const Attachment, Word), Trouble);

impl Sleeper {
    /// Asks the system what nobody rings for.
    fn trouble(&self) -> Found {
        let trouble = Trouble {
            is_stale: self.attachment.stale_reason().is_some(),
            is_writer_dead: self.word == Word::RowBell && self.attachment.is_writer_dead(),
        };
        ((Arc::as_ptr(&self.attachment), self.word), trouble)
    }
}

/// A word of a stream in a watcher's list.
type Place<'a> = (&'a Arc<Attachment>, Word);

fn position(streams: &[Watched], (attachment, word): Place<'_>) -> Option<usize> {
    streams
        .iter()
        .position(|watched| Arc::ptr_eq(&watched.attachment, attachment) && watched.word == word)
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;
    use crate::{ArrayRef, DType, Patience, PublishOptions, StreamDirectory, StreamOptions};

    struct Told(std::sync::mpsc::SyncSender<()>);

    impl Wake for Told {
        fn wake(self: Arc<Self>) {
            self.0.send(()).ok();
        }
    }

    /// As on kernels that cannot watch several words at once.
    #[test]
    fn naps_find_every_frame() {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let options = StreamOptions::new(DType::Uint8, &[1]);
        let directory = StreamDirectory::new(folder.path());
        let stream = directory.create("naps", &options).unwrap();
        let watcher = Watcher::start(Means::Naps).unwrap();
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let waker = Waker::from(Arc::new(Told(tell)));
        for after in 0..20 {
            let waiter = Waiter {
                interest: Interest {
                    attachment: Arc::clone(&stream.attachment),
                    closed: Arc::default(),
                    wanted: Wanted::Frame(FrameWanted {
                        after,
                        heeds_aborts: true,
                    }),
                },
                is_in_trouble: Arc::default(),
                waker: waker.clone(),
            };
            assert!(watcher.add(after, waiter, true).is_ok());
            assert!(told.try_recv().is_err(), "woken before anything came");
            let frame = ArrayRef::from_slice(&[1u8], &[1]);
            stream
                .write(frame, PublishOptions::default(), Patience::ENDLESS)
                .unwrap();
            told.recv_timeout(std::time::Duration::from_secs(30))
                .unwrap();
        }
    }
}
