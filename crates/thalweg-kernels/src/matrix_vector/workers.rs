//! Threads that work on one product together.
//!
//! A product of a megabyte takes ten microseconds, so handing it out must not cost more than one:
//! workers spin on a generation counter as long as products keep coming in quick succession, and
//! park when they do not. Shard `k` always goes to the same thread, whose caches then hold it.

#![expect(
    unsafe_code,
    reason = "a task on the caller's stack is shared with threads that outlive it"
)]

use std::cell::UnsafeCell;
use std::fmt;
use std::hint::spin_loop;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// Work that is split into shards: called once with each shard's index.
type Task<'a> = dyn Fn(usize) + Sync + 'a;

/// Spinning goes on this long after a product when the previous wait was shorter than that.
const BUSY_SPIN: Duration = Duration::from_millis(1);
/// Spinning after a product when the previous wait was long.
const IDLE_SPIN: Duration = Duration::from_micros(20);

/// A caller and `workers.len()` threads that share its tasks.
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
    /// Counts tasks; also tells workers to look at `stop`.
    generation: Padded<AtomicUsize>,
    /// Workers that have not finished the current task.
    unfinished: Padded<AtomicUsize>,
    /// The current task and who waits for it. Written by the caller while `unfinished` is zero,
    /// read by workers between seeing a new generation and counting `unfinished` down.
    current: UnsafeCell<Option<Current>>,
    panicked: AtomicBool,
    stop: AtomicBool,
    /// Whether every thread has a processor of its own, so that spinning takes time from nobody.
    may_spin: bool,
}

// SAFETY: `current` is the only field that is not Sync by itself; `unfinished` and `generation`
// hand it back and forth as its comment says. The task it points to is Sync.
unsafe impl Sync for Shared {}
// SAFETY: as above; a `Thread` handle and a reference to a Sync task may be sent.
unsafe impl Send for Shared {}

#[derive(Clone)]
struct Current {
    task: *const Task<'static>,
    caller: Thread,
}

/// Keeps a counter on a cache line (and its prefetched neighbour) of its own.
#[repr(align(128))]
struct Padded<T>(T);

impl Workers {
    /// Starts `count` threads.
    pub(super) fn start(count: usize) -> io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let shared = Arc::new(Shared {
            generation: Padded(AtomicUsize::new(0)),
            unfinished: Padded(AtomicUsize::new(0)),
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

    /// Calls `task` with `0` on this thread and with `k` on worker `k`; returns when all are done.
    ///
    /// # Panics
    ///
    /// When one of the calls does, after all are done.
    pub(super) fn run(&mut self, task: &Task<'_>) {
        let task: *const Task<'_> = task;
        // SAFETY: only the lifetime changes. Workers use the pointer before they count
        // `unfinished` down, and `finish` below does not return earlier, even if `task` unwinds.
        let task: *const Task<'static> = unsafe { std::mem::transmute(task) };
        let current = Some(Current {
            task,
            caller: thread::current(),
        });
        // SAFETY: every worker counted `unfinished` down to zero before the last call returned, so
        // none looks at the cell until `generation` moves on.
        unsafe { *self.shared.current.get() = current };
        self.shared
            .unfinished
            .0
            .store(self.threads.len(), Ordering::Relaxed);
        self.shared.generation.0.fetch_add(1, Ordering::Release);
        for thread in &self.threads {
            thread.thread().unpark();
        }

        // SAFETY: it is the caller's own reference, still borrowed.
        let own = catch_unwind(AssertUnwindSafe(|| unsafe { (*task)(0) }));
        self.shared.wait_for_workers();
        if let Err(payload) = own {
            std::panic::resume_unwind(payload);
        }
        assert!(
            !self.shared.panicked.swap(false, Ordering::Relaxed),
            "a worker thread panicked"
        );
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.generation.0.fetch_add(1, Ordering::Release);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // Panics of tasks are caught and reported by `run`.
            let _joined = thread.join();
        }
    }
}

impl Shared {
    /// Worker `index`: does its shard of one task after the other.
    fn work(&self, index: usize) {
        let mut seen = 0;
        let mut spin = IDLE_SPIN;
        loop {
            let waiting = Instant::now();
            self.wait_until(spin, || self.generation.0.load(Ordering::Acquire) != seen);
            // The caller waits for every worker before it moves on, so no generation is skipped.
            seen = seen.wrapping_add(1);
            spin = if waiting.elapsed() < BUSY_SPIN {
                BUSY_SPIN
            } else {
                IDLE_SPIN
            };
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            // SAFETY: a new generation was seen and `unfinished` not yet counted down: the caller
            // does not write the cell.
            let current = unsafe { (*self.current.get()).clone() };
            let Some(Current { task, caller }) = current else {
                return;
            };
            // SAFETY: the caller keeps the task alive until `unfinished` is zero.
            let done = catch_unwind(AssertUnwindSafe(|| unsafe { (*task)(index) }));
            if done.is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            if self.unfinished.0.fetch_sub(1, Ordering::Release) == 1 {
                caller.unpark();
            }
        }
    }

    fn wait_for_workers(&self) {
        self.wait_until(BUSY_SPIN, || self.unfinished.0.load(Ordering::Acquire) == 0);
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

    fn sums(workers: &mut Workers, shards: usize, rounds: usize) {
        for round in 0..rounds {
            let seen: Vec<AtomicUsize> = (0..shards).map(|_| AtomicUsize::new(0)).collect();
            workers.run(&|shard| {
                seen[shard].fetch_add(round + 1, Ordering::Relaxed);
            });
            for shard in &seen {
                assert_eq!(shard.load(Ordering::Relaxed), round + 1);
            }
        }
    }

    #[test]
    fn every_shard_is_called_once_per_task() {
        for count in [0, 1, 3, 7] {
            sums(&mut Workers::start(count).unwrap(), count + 1, 500);
        }
    }

    #[test]
    fn a_task_may_come_from_any_thread() {
        let mut workers = Workers::start(1).unwrap();
        sums(&mut workers, 2, 10);
        thread::scope(|scope| {
            scope.spawn(|| sums(&mut workers, 2, 100));
        });
        sums(&mut workers, 2, 10);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_leaves_the_workers_usable() {
        let mut workers = Workers::start(2).unwrap();
        for culprit in 0..3 {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                workers.run(&|shard| assert_ne!(shard, culprit, "on purpose"));
            }));
            assert!(caught.is_err());
            sums(&mut workers, 3, 5);
        }
    }
}
