//! What tests that fork share: a folder of streams, one test at a time, and children under a
//! watchdog.
#![expect(
    unsafe_code,
    reason = "forking and what belongs to it are calls into the C library"
)]

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thalweg_os::clock::deadline_after;
use thalweg_shm::{ArrayRef, Patience, PublishOptions, Stream, StreamDirectory};

#[path = "child.rs"]
mod child;

pub(crate) use child::{Child, End};

/// Forking copies locks as they are: no other test of this process may be inside one.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
/// Longer than anything takes on any machine.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(30);

/// A folder of its own for the streams of one test, which runs alone.
pub(crate) struct Scratch {
    pub(crate) directory: StreamDirectory,
    pub(crate) folder: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

pub(crate) fn scratch() -> Scratch {
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::Builder::new()
        .prefix("thalweg-test-")
        .tempdir_in("/dev/shm")
        .expect("a folder");
    Scratch {
        directory: StreamDirectory::new(folder.path()),
        folder,
        _turn: turn,
    }
}

pub(crate) fn soon() -> Patience<'static> {
    Patience::until(deadline_after(WATCHDOG))
}

/// Publishes a frame all of whose elements are `value`.
pub(crate) fn write(stream: &Stream, value: u64) {
    let payload = vec![value; stream.shape().iter().product()];
    let frame = ArrayRef::from_slice(&payload, stream.shape());
    stream
        .write(frame, PublishOptions::default(), soon())
        .expect("written");
}

/// Forks a process that runs `work` and nothing else, and is killed if that hangs.
pub(crate) fn start(work: impl FnOnce()) -> Child {
    Child::start(|| {
        let watchdog_s = WATCHDOG.as_secs() as libc::c_uint;
        // SAFETY: has the kernel end this process after a while.
        unsafe { libc::alarm(watchdog_s) };
        work();
    })
}

/// Waits until a child has done its work.
pub(crate) fn finish(child: Child) {
    let end = child.finish();
    assert_ne!(end, End::OtherSignal(libc::SIGALRM), "the child hung");
    assert_eq!(end, End::Exited(0), "the child failed");
}

/// Runs `work` in a forked process.
pub(crate) fn in_a_fork(work: impl FnOnce()) {
    finish(start(work));
}
