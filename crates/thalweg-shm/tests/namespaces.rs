//! Processes of different pid namespaces on one stream: to each other their pids say nothing.
#![cfg(all(target_os = "linux", not(loom)))]
#![expect(
    unsafe_code,
    reason = "forking and entering a namespace are calls into the C library"
)]

use std::io::{self, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thalweg_os::clock::deadline_after;
use thalweg_shm::{
    ArrayRef, DType, Patience, PublishOptions, Stream, StreamDirectory, StreamOptions,
};

/// The tests fork: one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
/// Words of a frame: enough for two writers at once to show.
const WORDS: usize = 512;

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
        let options = StreamOptions::new(DType::Uint64, &[WORDS]);
        self.directory.create("s", &options).expect("created")
    }

    fn open(&self) -> Stream {
        self.directory.open("s").expect("open")
    }
}

fn soon() -> Patience<'static> {
    Patience::until(deadline_after(Duration::from_secs(20)))
}

fn write(stream: &Stream, value: u64) {
    let payload = [value; WORDS];
    let frame = ArrayRef::from_slice(&payload, &[WORDS]);
    stream
        .write(frame, PublishOptions::default(), soon())
        .expect("written");
}

fn assert_whole(words: &[u64]) {
    assert!(words.iter().all(|&word| word == words[0]), "torn");
}

const EXIT_REFUSED: i32 = 77;

/// Runs `work` as the first process of a pid namespace of its own, and returns that process's
/// parent, which ends with the same code.
fn start_in_namespace(work: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the child runs on its only thread and ends without returning.
    let outer = unsafe { libc::fork() };
    if outer == 0 {
        // SAFETY: changes what the children of this process are.
        let refused = unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0
            // SAFETY: as above; a user namespace grants what the first try lacked.
            && unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID) } != 0;
        if refused {
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(EXIT_REFUSED) };
        }
        // SAFETY: as the fork above.
        let inner = unsafe { libc::fork() };
        if inner == 0 {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(i32::from(outcome.is_err())) };
        }
        let status = wait_for(inner);
        let code = if libc::WIFEXITED(status) {
            libc::WEXITSTATUS(status)
        } else {
            128 + libc::WTERMSIG(status)
        };
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(code) };
    }
    assert!(outer > 0, "fork: {}", io::Error::last_os_error());
    outer
}

fn wait_for(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: `status` is a local the kernel fills in.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid, "waitpid: {}", io::Error::last_os_error());
    status
}

/// True if the test may be done; tells if not, past the harness, which would hide it.
fn may_make_namespaces() -> bool {
    let may = wait_for(start_in_namespace(|| {})) == 0;
    if !may {
        let hint = "this machine does not let processes make pid namespaces";
        writeln!(io::stderr(), "SKIPPED namespaces: {hint}").ok();
    }
    may
}

#[test]
fn a_newcomer_of_another_namespace_is_never_taken_for_dead() {
    const ROUNDS: u64 = 4000;
    let scratch = scratch();
    if !may_make_namespaces() {
        return;
    }
    drop(scratch.create());
    let (mut ended, end) = io::pipe().expect("a pipe");
    let child = start_in_namespace(|| {
        assert_eq!(std::process::id(), 1);
        for round in 0..ROUNDS {
            // A new row each time.
            let stream = scratch.open();
            write(&stream, round);
            let frame = stream.borrow().expect("borrowed");
            let words = frame.array().to_vec::<u64>().expect("u64");
            assert_whole(&words);
            let lock = stream.lock(soon()).expect("free");
            assert!(stream.lock_depth() == 1);
            write(&stream, round);
            drop(lock);
            let again = frame.array().to_vec::<u64>().expect("u64");
            assert_eq!(words, again, "a borrowed frame changed");
        }
    });
    drop(end);
    // Looks for the dead as often as it can, until the other end of the pipe is gone.
    let watching = std::thread::spawn(move || ended.read(&mut [0]).expect("readable"));
    while !watching.is_finished() {
        let stream = scratch.open();
        write(&stream, u64::MAX);
        let (bytes, _) = stream.read(soon().deadline_ns).expect("readable");
        assert!(
            bytes.chunks_exact(8).all(|word| word == &bytes[..8]),
            "torn"
        );
    }
    assert_eq!(wait_for(child), 0, "the child failed");
    let stat = scratch.directory.stat("s").expect("open");
    assert_eq!(stat.attached_pids, [0; 0]);
    assert_eq!((stat.borrowed, stat.lock_holder_pid), (0, None));
}

#[test]
fn what_a_dead_process_of_another_namespace_held_comes_back() {
    let scratch = scratch();
    if !may_make_namespaces() {
        return;
    }
    let stream = scratch.create();
    write(&stream, 1);
    let (mut told, tell) = io::pipe().expect("a pipe");
    let child = start_in_namespace(|| {
        // By the descriptor it inherited, whose locks are its parent's as well.
        let _frame = stream.borrow().expect("borrowed");
        let _lock = stream.lock(soon()).expect("free");
        (&tell).write_all(&[1]).expect("told");
        loop {
            // SAFETY: waits for the signal that ends this process.
            unsafe { libc::pause() };
        }
    });
    told.read_exact(&mut [0]).expect("told");
    let stat = scratch.directory.stat("s").expect("open");
    assert_eq!((stat.borrowed, stat.lock_holder_pid), (1, Some(1)));
    let refused = stream.lock(Patience::until(deadline_after(Duration::from_millis(50))));
    refused.expect_err("its holder lives");
    let children = std::fs::read_to_string(format!("/proc/{child}/task/{child}/children"));
    let children = children.expect("readable");
    let inner: libc::pid_t = children.trim().parse().expect("one child");
    // SAFETY: kill touches no memory; the process is our grandchild, which waits for this.
    unsafe { libc::kill(inner, libc::SIGKILL) };
    wait_for(child);
    drop(stream.lock(soon()).expect("its holder is dead"));
    let borrowed = [2, 3].map(|value| {
        write(&stream, value);
        stream
            .borrow()
            .expect("a ticket, though it was a dead one's")
    });
    let stat = scratch.directory.stat("s").expect("open");
    assert_eq!((stat.borrowed, stat.lock_holder_pid), (2, None));
    assert_eq!(stat.attached_pids, [std::process::id()]);
    drop(borrowed);
}
