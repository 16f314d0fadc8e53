//! What a forked child may and may not do with the handles it inherited.
#![cfg(not(loom))]
#![expect(unsafe_code, reason = "forking is a call into the C library")]

use std::io::{Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thalweg_os::clock::deadline_after;
use thalweg_shm::stream::error::WriteError;
use thalweg_shm::{
    ArrayRef, DType, Patience, PublishOptions, Stream, StreamDirectory, StreamOptions,
};

/// Forking copies locks as they are: no other test of this process may be inside one.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

struct Scratch {
    directory: StreamDirectory,
    _folder: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

fn scratch() -> Scratch {
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::Builder::new()
        .prefix("thalweg-test-")
        .tempdir_in("/dev/shm")
        .expect("a folder");
    Scratch {
        directory: StreamDirectory::new(folder.path()),
        _folder: folder,
        _turn: turn,
    }
}

impl Scratch {
    fn create(&self) -> Stream {
        let options = StreamOptions::new(DType::Uint64, &[4]);
        self.directory.create("s", &options).expect("created")
    }

    fn lock_holder(&self) -> Option<u32> {
        self.directory.stat("s").expect("open").lock_holder_pid
    }
}

fn soon() -> Patience<'static> {
    Patience::until(deadline_after(Duration::from_secs(20)))
}

fn write(stream: &Stream, value: u64) {
    let payload = [value; 4];
    let frame = ArrayRef::from_slice(&payload, &[4]);
    stream
        .write(frame, PublishOptions::default(), soon())
        .expect("written");
}

fn newest(stream: &Stream) -> (u64, u64) {
    let (bytes, publication) = stream.read(soon().deadline_ns).expect("readable");
    let word = bytes[..8].try_into().expect("eight bytes");
    (publication.count, u64::from_ne_bytes(word))
}

/// A forked process.
struct Child(libc::pid_t);

impl Child {
    /// Forks a process that runs `work` and nothing else.
    fn start(work: impl FnOnce()) -> Self {
        // SAFETY: the child runs `work` on its only thread and ends without returning.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(i32::from(outcome.is_err())) };
        }
        assert!(pid > 0, "fork: {}", std::io::Error::last_os_error());
        Self(pid)
    }

    fn finish(self) {
        let mut status = 0;
        // SAFETY: `status` is a local the kernel fills in.
        let waited = unsafe { libc::waitpid(self.0, &raw mut status, 0) };
        assert_eq!((waited, status), (self.0, 0), "the child failed");
    }
}

fn in_a_fork(work: impl FnOnce()) {
    Child::start(work).finish();
}

#[test]
fn a_child_cannot_give_its_parents_lock_back() {
    let scratch = scratch();
    let stream = scratch.create();
    let lock = stream.lock(soon()).expect("free");
    let mut inherited = Some(lock);
    in_a_fork(|| {
        drop(inherited.take());
        assert_eq!(stream.lock_depth(), 0);
        let refused = stream.lock(Patience::until(0));
        refused.expect_err("the parent holds it");
    });
    assert_eq!(scratch.lock_holder(), Some(std::process::id()));
    assert_eq!(stream.lock_depth(), 1);
    drop(inherited);
    assert_eq!(scratch.lock_holder(), None);
    in_a_fork(|| write(&stream, 7));
    assert_eq!(newest(&stream), (1, 7));
}

#[test]
fn a_child_cannot_abort_its_parents_frame() {
    let scratch = scratch();
    let stream = scratch.create();
    write(&stream, 1);
    let mut loan = Some(stream.loan(soon()).expect("lent"));
    in_a_fork(|| drop(loan.take()));
    assert_eq!(scratch.lock_holder(), Some(std::process::id()));
    let mut loan = loan.take().expect("still the parent's");
    let mut array = loan.array().expect("mapped");
    array.copy_from(&[2u64; 4]).expect("of one layout");
    loan.publish(PublishOptions::default()).expect("published");
    assert_eq!(newest(&stream), (2, 2));
}

#[test]
fn a_child_has_no_frame_open_because_its_parent_had() {
    let scratch = scratch();
    let stream = scratch.create();
    let mut loan = Some(stream.loan(soon()).expect("lent"));
    let (mut told, mut tell) = std::io::pipe().expect("a pipe");
    let child = Child::start(|| {
        let mut inherited = loan.take().expect("inherited");
        let refused = inherited.array().map(drop);
        assert!(matches!(refused, Err(WriteError::Inherited { .. })));
        told.read_exact(&mut [0]).expect("told");
        write(&stream, 3);
        drop(inherited);
    });
    drop(loan);
    tell.write_all(&[1]).expect("told");
    child.finish();
    assert_eq!(newest(&stream), (1, 3));
}

#[test]
fn a_child_borrows_with_a_ticket_of_its_own() {
    let scratch = scratch();
    let stream = scratch.create();
    write(&stream, 1);
    let frame = stream.borrow().expect("borrowed");
    let (mut inherited, mut kept) = (Some(frame), None);
    in_a_fork(|| {
        let own = stream.borrow().expect("a second ticket");
        drop(inherited.take());
        assert_eq!(own.array().to_vec::<u64>().expect("u64"), [1; 4]);
        // The process ends without giving it back.
        kept = Some(own);
    });
    assert!(kept.is_none(), "only the child's");
    let frame = inherited.expect("still the parent's");
    for value in 2..20 {
        write(&stream, value);
    }
    assert_eq!(frame.array().to_vec::<u64>().expect("u64"), [1; 4]);
    let again = stream.borrow().expect("the child's ticket is free again");
    assert_eq!(again.publication().count, 19);
}
