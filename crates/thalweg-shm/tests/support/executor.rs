//! Running futures in tests: to their end, or poll by poll.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// Longer than anything takes on any machine.
const WATCHDOG: Duration = Duration::from_secs(30);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs `future` on this thread; panics if it takes suspiciously long.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let give_up = Instant::now() + WATCHDOG;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        let left = give_up.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "the task was never woken");
        std::thread::park_timeout(left);
    }
}

/// Counts how often it was called.
#[derive(Default)]
pub(crate) struct Tally(AtomicUsize);

impl Tally {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Tally {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls once, as an executor does when it first sees the task; the future must not be ready.
pub(crate) fn begin<F>(future: &mut F, waker: &Waker)
where
    F: Future<Output: Debug> + Unpin,
{
    let polled = Pin::new(future).poll(&mut Context::from_waker(waker));
    assert!(
        polled.is_pending(),
        "ready before anything came: {polled:?}"
    );
}

pub(crate) fn until(what: &str, holds: impl Fn() -> bool) {
    let give_up = Instant::now() + WATCHDOG;
    while !holds() {
        assert!(Instant::now() < give_up, "never came true: {what}");
        std::thread::yield_now();
    }
}

/// Threads of this process.
pub(crate) fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("readable");
    tasks.count()
}
