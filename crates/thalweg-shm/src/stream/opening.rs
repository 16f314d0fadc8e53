//! Opening a stream that somebody else is about to create, as a future.
//!
//! Names that appear are told by a file descriptor, which the thread of [`super::reactor`] cannot
//! sleep on beside words in memory. So there is a second thread, for as long as anything is waited
//! for in this way, however much it is. Forked children start their own.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use thalweg_os::arrivals::Arrivals;
use thalweg_os::clock::monotonic_ns;
use thalweg_os::per_process::PerProcess;
use thalweg_os::set_once::SetOnce;
use thalweg_os::{fork, signal};

use super::attachment::lock_ignoring_poison;
use super::error::OpenError;
use super::wait::SLICE_NS;
use super::{Stream, StreamDirectory};

/// Name of the thread, as the system shows it.
const THREAD_NAME: &str = "thalweg-opening";

/// A wait for a stream to exist; see [`StreamDirectory::open_when_created`].
///
/// Dropping it ends the wait. It has no deadline: executors have timeouts.
#[derive(Debug)]
#[must_use = "futures do nothing until they are awaited"]
pub struct Opening {
    directory: StreamDirectory,
    name: String,
    registration: Option<Registration>,
}

impl Stream {
    /// As [`StreamDirectory::open_when_created`], in the default directory.
    pub fn open_when_created(name: &str) -> Opening {
        StreamDirectory::default().open_when_created(name)
    }
}

impl StreamDirectory {
    /// As [`StreamDirectory::open_within`], as a future without a deadline.
    pub fn open_when_created(&self, name: &str) -> Opening {
        Opening {
            directory: self.clone(),
            name: name.to_owned(),
            registration: None,
        }
    }
}

impl Opening {
    /// The stream or what is wrong with it; `None` while there is nothing.
    fn open(&self) -> Option<Result<Stream, OpenError>> {
        match self.directory.open(&self.name) {
            Err(OpenError::Missing { .. }) => None,
            opened => Some(opened),
        }
    }
}

impl Future for Opening {
    type Output = Result<Stream, OpenError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(outcome) = self.open() {
            self.registration = None;
            return Poll::Ready(outcome);
        }
        // The former one may have been used up, or be a parent's.
        let waker = context.waker().clone();
        let lookout = LOOKOUT.get_or_init(Lookout::new);
        match lookout.register(&self.directory, waker) {
            Ok(registration) => self.registration = Some(registration),
            Err(source) => {
                return Poll::Ready(Err(OpenError::System {
                    name: self.name.clone(),
                    path: self.directory.path().to_owned(),
                    source,
                }));
            }
        }
        // What appeared before the folder was watched was not told.
        match self.open() {
            Some(outcome) => {
                self.registration = None;
                Poll::Ready(outcome)
            }
            None => Poll::Pending,
        }
    }
}

/// A waker to be called at the next arrival, taken back when dropped.
#[derive(Debug)]
struct Registration {
    lookout: &'static Lookout,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.lookout.fork_generation == fork::generation() {
            let waker = self.lookout.lock().wakers.remove(&self.id);
            // Foreign code, so only now that the lock is free.
            drop(waker);
        }
    }
}

/// Who waits for names to appear.
#[derive(Debug)]
struct Lookout {
    fork_generation: u64,
    /// One for all folders; they stay watched.
    arrivals: SetOnce<Arrivals>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    wakers: BTreeMap<u64, Waker>,
    next_id: u64,
    has_thread: bool,
    /// Some folder cannot be watched: it is looked at every 100 ms.
    is_blind: bool,
}

static LOOKOUT: PerProcess<Lookout> = PerProcess::new();

impl Lookout {
    fn new() -> Self {
        Self {
            fork_generation: fork::generation(),
            arrivals: SetOnce::new(),
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock_ignoring_poison(&self.state)
    }

    fn register(
        &'static self,
        directory: &StreamDirectory,
        waker: Waker,
    ) -> io::Result<Registration> {
        let arrivals = self.arrivals.get_or_try_init(Arrivals::of_nothing).ok();
        let is_watched = arrivals.is_some_and(|arrivals| arrivals.watch(directory.path()).is_ok());
        let mut state = self.lock();
        let id = state.next_id;
        state.next_id += 1;
        state.wakers.insert(id, waker);
        state.is_blind |= !is_watched;
        let needs_thread = !state.has_thread;
        state.has_thread = true;
        drop(state);
        let registration = Registration { lookout: self, id };
        if needs_thread && let Err(error) = self.start_thread() {
            self.lock().has_thread = false;
            return Err(error);
        }
        Ok(registration)
    }

    fn start_thread(&'static self) -> io::Result<()> {
        signal::while_blocked(|| {
            std::thread::Builder::new()
                .name(THREAD_NAME.to_owned())
                .spawn(|| self.run())
        })??;
        Ok(())
    }

    /// Until nobody waits any more.
    fn run(&self) {
        loop {
            let slice_end_ns = monotonic_ns() + SLICE_NS;
            let told = self
                .arrivals
                .get()
                .map(|arrivals| arrivals.wait(slice_end_ns));
            let is_told = match told {
                Some(Ok(is_told)) => is_told,
                Some(Err(_)) | None => {
                    std::thread::sleep(std::time::Duration::from_nanos(SLICE_NS));
                    true
                }
            };
            let mut state = self.lock();
            if state.wakers.is_empty() {
                state.has_thread = false;
                return;
            }
            if !is_told && !state.is_blind {
                continue;
            }
            state.is_blind = false;
            let wakers = std::mem::take(&mut state.wakers);
            drop(state);
            for waker in wakers.into_values() {
                // As in the reactor: told by the panic hook, and no reason for others to wait.
                catch_unwind(AssertUnwindSafe(|| waker.wake())).ok();
            }
        }
    }
}
