//! Sleeping on behalf of futures: one thread of this process for all of them.
//!
//! The thread sleeps on the heads of all awaited streams at once, and on a bell of its own that is
//! rung when somebody joins or leaves. It wakes tasks and decides nothing else: a woken future
//! looks for itself. A kernel watches up to 128 words in one call, so a process that awaits more
//! than 127 *streams* at a time gets a further thread for each 127; waiters cost no thread.
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
use super::wait::{FIRST_NAP_NS, LONGEST_NAP_NS, SLICE_NS, look};

/// Streams one thread watches: the kernel's limit, less the bell.
const STREAMS_PER_THREAD: usize = 127;
/// Name of the threads, as the system shows it.
const THREAD_NAME: &str = "thalweg-reactor";

/// What a future waits for.
#[derive(Clone, Debug)]
pub(crate) struct Interest {
    pub(crate) attachment: Arc<Attachment>,
    pub(crate) closed: Arc<AtomicBool>,
    pub(crate) after: u64,
    /// Whether a frame that was given up ends the wait with an error.
    pub(crate) heeds_aborts: bool,
}

impl Interest {
    /// The newest count if it is new enough; an error if it never will be.
    pub(crate) fn look(&self) -> Result<Option<u64>, WaitError> {
        look(
            &self.attachment,
            &self.closed,
            self.heeds_aborts,
            self.after,
        )
    }
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
    id: u64,
    is_stale: Arc<AtomicBool>,
    fork_generation: u64,
}

impl Registration {
    /// False in a forked child, where nobody watches on this registration's behalf.
    pub(crate) fn is_own(&self) -> bool {
        self.fork_generation == fork::generation()
    }

    /// True, once, if the name was found to lead elsewhere.
    pub(crate) fn takes_note_of_staleness(&self) -> bool {
        self.is_stale.swap(false, Ordering::Relaxed)
    }

    /// Has `waker` called instead of the one given before. False if that was called already.
    pub(crate) fn replace_waker(&self, waker: &Waker) -> bool {
        // Cloned before and dropped after the lock is held: both run foreign code.
        let fresh = waker.clone();
        let replaced = self.watcher.replace_waker(&self.attachment, self.id, fresh);
        replaced.is_some()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.is_own() {
            self.watcher.remove(&self.attachment, self.id);
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
        let is_stale = Arc::new(AtomicBool::new(false));
        let mut waiter = Waiter {
            interest: interest.clone(),
            is_stale: Arc::clone(&is_stale),
            waker,
        };
        let registration = |watcher: &Arc<Watcher>| Registration {
            watcher: Arc::clone(watcher),
            attachment: Arc::clone(&interest.attachment),
            id,
            is_stale: Arc::clone(&is_stale),
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
    is_stale: Arc<AtomicBool>,
    waker: Waker,
}

/// One awaited stream.
#[derive(Debug)]
struct Watched {
    attachment: Arc<Attachment>,
    waiters: BTreeMap<u64, Waiter>,
    /// The head at the last look at the waiters; `None` when they have to be looked at anyhow.
    looked_at: Option<u64>,
    /// The head at the last announcement of a sleep. While it has not changed, nothing was
    /// published, so that announcement is still to be answered.
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
        let attachment = &waiter.interest.attachment;
        match position(&streams, attachment) {
            Some(index) => {
                streams[index].looked_at = None;
                streams[index].waiters.insert(id, waiter);
            }
            None if may_add_stream && streams.len() < STREAMS_PER_THREAD => {
                streams.push(Watched {
                    attachment: Arc::clone(attachment),
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
    fn replace_waker(&self, attachment: &Arc<Attachment>, id: u64, waker: Waker) -> Option<Waker> {
        // Declared before the guard, so dropped after it when there is nothing to replace.
        let fresh = waker;
        let mut streams = lock_ignoring_poison(&self.streams);
        let index = position(&streams, attachment)?;
        let waiter = streams[index].waiters.get_mut(&id)?;
        Some(std::mem::replace(&mut waiter.waker, fresh))
    }

    fn remove(&self, attachment: &Arc<Attachment>, id: u64) {
        let mut streams = lock_ignoring_poison(&self.streams);
        let Some(index) = position(&streams, attachment) else {
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
        if let Some(index) = position(&streams, attachment) {
            streams[index].looked_at = None;
            drop(streams);
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
        let mut stale = Vec::new();
        let mut is_slice_over = false;
        loop {
            let bell = self.bell.load(Ordering::SeqCst);
            let Round { wakers, sleepers } = self.look_at_all(is_slice_over, &stale);
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
            stale.clear();
            if is_slice_over {
                slice_end_ns = now_ns + SLICE_NS;
                let gone = |sleeper: &&Sleeper| sleeper.attachment.stale_reason().is_some();
                let gone = sleepers.iter().filter(gone);
                stale.extend(gone.map(|sleeper| Arc::as_ptr(&sleeper.attachment)));
            }
        }
    }

    /// Sleeps until a head or the bell changes or the slice is over. With nothing to watch, until
    /// the bell rings.
    fn sleep(&self, bell: u32, sleepers: &[Sleeper], slice_end_ns: u64, nap_ns: &mut u64) {
        if sleepers.is_empty() {
            futex::wait(&self.bell, bell, None);
            return;
        }
        if self.means == Means::Futexes {
            let heads = sleepers
                .iter()
                .map(|sleeper| (sleeper.attachment.futex_word(), sleeper.expected));
            let words: Vec<_> = std::iter::once((&self.bell, bell)).chain(heads).collect();
            if futex::wait_any(&words, slice_end_ns).is_some() {
                return;
            }
        }
        let nap_end_ns = monotonic_ns() + *nap_ns;
        futex::wait(&self.bell, bell, Some(nap_end_ns.min(slice_end_ns)));
        *nap_ns = (2 * *nap_ns).min(LONGEST_NAP_NS);
    }

    /// Takes those out that a look is worth it for, and announces the sleep on all others' streams.
    /// `stale` are streams whose name was found to lead elsewhere.
    fn look_at_all(&self, is_slice_over: bool, stale: &[*const Attachment]) -> Round {
        let mut round = Round::default();
        let mut streams = lock_ignoring_poison(&self.streams);
        streams.retain_mut(|watched| {
            // Before the look: if a frame comes after it, the head differs from this one.
            let head = watched.attachment.words().head();
            let is_stale = stale.contains(&Arc::as_ptr(&watched.attachment));
            if is_slice_over || is_stale || watched.looked_at != Some(head.0) {
                watched.looked_at = Some(head.0);
                let worth_it = watched.waiters.extract_if(.., |_, waiter| {
                    is_stale || !matches!(waiter.interest.look(), Ok(None))
                });
                for (_, waiter) in worth_it {
                    waiter.is_stale.store(is_stale, Ordering::Relaxed);
                    round.wakers.push(waiter.waker);
                }
            }
            if watched.waiters.is_empty() {
                return false;
            }
            if watched.attachment.is_writable() && watched.announced != Some(head.0) {
                watched.announced = Some(head.0);
                watched.attachment.words().announce_park();
            }
            round.sleepers.push(Sleeper {
                attachment: Arc::clone(&watched.attachment),
                expected: head.futex(),
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

/// A stream to sleep on, and the low half of the head that was looked at.
struct Sleeper {
    attachment: Arc<Attachment>,
    expected: u32,
}

fn position(streams: &[Watched], attachment: &Arc<Attachment>) -> Option<usize> {
    streams
        .iter()
        .position(|watched| Arc::ptr_eq(&watched.attachment, attachment))
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
                    after,
                    heeds_aborts: true,
                },
                is_stale: Arc::default(),
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
