//! Threads that work on one product together.
//!
//! A product of a megabyte takes ten microseconds, so handing it out must not cost more than one:
//! workers spin on a word of shared memory as long as products keep coming in quick succession,
//! and park when they do not. Every thread has pieces of its own, always the same, which its
//! caches then hold; whoever is done early helps the others. A worker that does not get a
//! processor is therefore not waited for: the others do its pieces, and it finds the task closed.

#![expect(
    unsafe_code,
    reason = "a task on the caller's stack is shared with threads that outlive it"
)]

use std::cell::UnsafeCell;
use std::fmt;
use std::hint::spin_loop;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// Work that is split into pieces: called once with each piece's index.
type Task<'a> = dyn Fn(usize) + Sync + 'a;

/// Spinning goes on this long after a task when the previous wait was shorter than that.
const BUSY_SPIN: Duration = Duration::from_millis(1);
/// Spinning after a task when the previous wait was long.
const IDLE_SPIN: Duration = Duration::from_micros(20);

/// Workers inside the task.
const ACTIVE: u64 = 0xffff;
/// Whether workers may enter the task.
const OPEN: u64 = 1 << 16;
/// One more task; the number of the task is in the bits from here on.
const NEXT: u64 = 1 << 17;

/// A caller and the threads that help it.
pub(super) struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Workers({})", self.threads.len())
    }
}

struct Shared {
    /// Number of the task, [`OPEN`], and how many are [`ACTIVE`].
    state: Padded<AtomicU64>,
    /// The next piece of each thread's own, counted from its first; the caller's come first.
    cursors: Box<[Padded<AtomicUsize>]>,
    /// Written by the caller while the task is closed and nobody active; read by active workers.
    current: UnsafeCell<Option<Current>>,
    panicked: AtomicBool,
    stop: AtomicBool,
    /// Whether every thread has a processor of its own, so that spinning takes time from nobody.
    may_spin: bool,
}

// SAFETY: `current` is the only field that is not Sync by itself; `state` hands it back and forth
// as its comment says. The task it points to is Sync.
unsafe impl Sync for Shared {}
// SAFETY: as above; a `Thread` handle and a reference to a Sync task may be sent.
unsafe impl Send for Shared {}

#[derive(Clone)]
struct Current {
    task: *const Task<'static>,
    pieces_per_thread: usize,
    caller: Thread,
}

/// Keeps a counter on a cache line (and its prefetched neighbour) of its own.
#[derive(Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl Workers {
    /// Starts `count` threads.
    pub(super) fn start(count: usize) -> io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let shared = Arc::new(Shared {
            state: Padded::default(),
            cursors: (0..=count).map(|_| Padded::default()).collect(),
            current: UnsafeCell::new(None),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            may_spin: processors > count,
        });
        let mut workers = Self {
            shared,
            threads: Vec::with_capacity(count),
        };
        for index in 1..=count {
            let shared = Arc::clone(&workers.shared);
            let thread = thread::Builder::new()
                .name(format!("product-{index}"))
                .spawn(move || shared.work(index))?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Calls `task` with every index below `pieces_per_thread` times the number of threads, the
    /// caller's included, and returns when all calls have.
    ///
    /// # Panics
    ///
    /// When one of the calls does, after the others are done.
    pub(super) fn run(&mut self, pieces_per_thread: usize, task: &Task<'_>) {
        let shared = &*self.shared;
        let task: *const Task<'_> = task;
        // SAFETY: only the lifetime changes. Workers use the pointer while they are active, and
        // `finish` below returns when none is and none can be any more.
        let task: *const Task<'static> = unsafe { std::mem::transmute(task) };
        let current = Current {
            task,
            pieces_per_thread,
            caller: thread::current(),
        };
        // SAFETY: the last task was closed and left by all before its call returned.
        unsafe { *shared.current.get() = Some(current.clone()) };
        for cursor in &shared.cursors {
            cursor.0.store(0, Ordering::Relaxed);
        }
        let state = shared.state.0.load(Ordering::Relaxed);
        let opened = state.wrapping_add(NEXT) | OPEN;
        shared.state.0.store(opened, Ordering::Release);
        for thread in &self.threads {
            thread.thread().unpark();
        }
        let own = catch_unwind(AssertUnwindSafe(|| shared.do_pieces(0, &current)));
        shared.finish();
        if let Err(payload) = own {
            resume_unwind(payload);
        }
        assert!(
            !shared.panicked.swap(false, Ordering::Relaxed),
            "a worker thread panicked"
        );
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // A task nobody may enter, for workers to look up from what they wait for.
        self.shared.state.0.fetch_add(NEXT, Ordering::Release);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // Panics of tasks are caught and reported by `run`.
            let _joined = thread.join();
        }
    }
}

impl Shared {
    /// Worker `index`: helps with one task after the other.
    fn work(&self, index: usize) {
        let mut seen = 0;
        let mut spin = IDLE_SPIN;
        loop {
            let waiting = Instant::now();
            self.wait_until(spin, || self.number() != seen);
            spin = if waiting.elapsed() < BUSY_SPIN {
                BUSY_SPIN
            } else {
                IDLE_SPIN
            };
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            seen = self.number();
            let Some(current) = self.enter() else {
                continue;
            };
            let done = catch_unwind(AssertUnwindSafe(|| self.do_pieces(index, &current)));
            if done.is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            let before = self.state.0.fetch_sub(1, Ordering::Release);
            if before & (OPEN | ACTIVE) == 1 {
                current.caller.unpark();
            }
        }
    }

    fn number(&self) -> u64 {
        self.state.0.load(Ordering::Acquire) / NEXT
    }

    /// Becomes active in the current task, if it is still open.
    fn enter(&self) -> Option<Current> {
        let enter = |state| (state & OPEN != 0).then_some(state + 1);
        self.state
            .0
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, enter)
            .ok()?;
        // SAFETY: the caller does not write the cell while this thread counts as active.
        unsafe { (*self.current.get()).clone() }
    }

    /// Does the pieces of thread `own`, then what is left of the others'.
    fn do_pieces(&self, own: usize, current: &Current) {
        let threads = self.cursors.len();
        for offset in 0..threads {
            let owner = (own + offset) % threads;
            loop {
                let piece = self.cursors[owner].0.fetch_add(1, Ordering::Relaxed);
                if piece >= current.pieces_per_thread {
                    break;
                }
                // SAFETY: `run` keeps the task alive as long as anybody is active.
                let task = unsafe { &*current.task };
                task(owner * current.pieces_per_thread + piece);
            }
        }
    }

    /// Closes the task and waits for those who are still active.
    fn finish(&self) {
        self.state.0.fetch_and(!OPEN, Ordering::Relaxed);
        self.wait_until(BUSY_SPIN, || {
            self.state.0.load(Ordering::Acquire) & ACTIVE == 0
        });
    }

    /// Returns once `condition` holds: spins for `spin`, then parks between looks. Whoever makes
    /// it hold unparks this thread.
    fn wait_until(&self, spin: Duration, condition: impl Fn() -> bool) {
        if self.may_spin {
            let start = Instant::now();
            loop {
                for _ in 0..32 {
                    if condition() {
                        return;
                    }
                    spin_loop();
                }
                if start.elapsed() >= spin {
                    break;
                }
            }
        }
        while !condition() {
            thread::park();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_many(workers: &mut Workers, pieces_per_thread: usize, rounds: usize) {
        let pieces = workers.shared.cursors.len() * pieces_per_thread;
        for round in 0..rounds {
            let seen: Vec<AtomicUsize> = (0..pieces).map(|_| AtomicUsize::new(0)).collect();
            workers.run(pieces_per_thread, &|piece| {
                seen[piece].fetch_add(round + 1, Ordering::Relaxed);
            });
            for piece in &seen {
                assert_eq!(piece.load(Ordering::Relaxed), round + 1);
            }
        }
    }

    #[test]
    fn every_piece_is_done_once_per_task() {
        for count in [0, 1, 3, 7] {
            let mut workers = Workers::start(count).unwrap();
            run_many(&mut workers, 1, 500);
            run_many(&mut workers, 9, 500);
        }
    }

    #[test]
    fn a_task_may_come_from_any_thread() {
        let mut workers = Workers::start(1).unwrap();
        run_many(&mut workers, 2, 10);
        thread::scope(|scope| {
            scope.spawn(|| run_many(&mut workers, 2, 100));
        });
        run_many(&mut workers, 2, 10);
    }

    #[test]
    fn a_worker_that_never_comes_is_not_waited_for() {
        let mut workers = Workers::start(1).unwrap();
        let mut started = 0;
        // Whatever the worker does of this task, the caller gets through all of the rest alone
        // while the worker is held up in its first piece.
        let (held, release) = (AtomicBool::new(false), AtomicBool::new(false));
        let done = AtomicUsize::new(0);
        while !held.load(Ordering::Relaxed) {
            done.store(0, Ordering::Relaxed);
            release.store(false, Ordering::Relaxed);
            let caller = thread::current().id();
            workers.run(4, &|_piece| {
                if thread::current().id() == caller {
                    // The last piece but the one the worker is in sets it free.
                    if done.fetch_add(1, Ordering::AcqRel) == 6 {
                        release.store(true, Ordering::Release);
                    }
                    thread::yield_now();
                } else if !held.swap(true, Ordering::Relaxed) {
                    while !release.load(Ordering::Acquire) {
                        thread::yield_now();
                    }
                }
            });
            started += 1;
        }
        assert!(started >= 1);
        assert_eq!(done.load(Ordering::Relaxed), 7);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_leaves_the_workers_usable() {
        let mut workers = Workers::start(2).unwrap();
        for culprit in 0..3 {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                workers.run(1, &|piece| assert_ne!(piece, culprit, "on purpose"));
            }));
            assert!(caught.is_err());
            run_many(&mut workers, 2, 5);
        }
    }
}
