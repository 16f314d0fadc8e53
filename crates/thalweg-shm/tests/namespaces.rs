//! Processes of different pid namespaces on one stream: to each other their pids say nothing.
#![cfg(all(target_os = "linux", not(loom)))]
#![expect(
    unsafe_code,
    reason = "entering a namespace is a call into the C library"
)]

#[path = "support/forking.rs"]
#[expect(dead_code, reason = "for other tests")]
mod forking;

use std::io::{self, Read, Write};
use std::time::Duration;

use forking::{Child, End, Scratch, finish, scratch, soon, write};
use thalweg_os::clock::deadline_after;
use thalweg_shm::{DType, Patience, Stream, StreamOptions};

/// Words of a frame: enough for two writers at once to show.
const WORDS: usize = 512;

fn create(scratch: &Scratch) -> Stream {
    let options = StreamOptions::new(DType::Uint64, &[WORDS]);
    scratch.directory.create("s", &options).expect("created")
}

fn open(scratch: &Scratch) -> Stream {
    scratch.directory.open("s").expect("open")
}

fn assert_whole(words: &[u64]) {
    assert!(words.iter().all(|&word| word == words[0]), "torn");
}

const EXIT_REFUSED: i32 = 77;

/// Runs `work` as the first process of a pid namespace of its own, and returns that process's
/// parent, which ends with the same code.
fn start_in_namespace(work: impl FnOnce()) -> Child {
    Child::start(|| {
        // SAFETY: changes what the children of this process are.
        let refused = unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0
            // SAFETY: as above; a user namespace grants what the first try lacked.
            && unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID) } != 0;
        let code = if refused {
            EXIT_REFUSED
        } else {
            match Child::start(work).finish() {
                End::Exited(code) => code,
                End::Killed => 128 + libc::SIGKILL,
                End::OtherSignal(signal) => 128 + signal,
            }
        };
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(code) };
    })
}

/// True if the test may be done; tells if not, past the harness, which would hide it.
fn may_make_namespaces() -> bool {
    let may = start_in_namespace(|| {}).finish() == End::Exited(0);
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
    drop(create(&scratch));
    let (mut ended, end) = io::pipe().expect("a pipe");
    let child = start_in_namespace(|| {
        assert_eq!(std::process::id(), 1);
        for round in 0..ROUNDS {
            // A new row each time.
            let stream = open(&scratch);
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
        let stream = open(&scratch);
        write(&stream, u64::MAX);
        let (bytes, _) = stream.read(soon().deadline_ns).expect("readable");
        assert!(
            bytes.chunks_exact(8).all(|word| word == &bytes[..8]),
            "torn"
        );
    }
    finish(child);
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
    let stream = create(&scratch);
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
    let pid = child.pid();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.expect("readable");
    let inner: libc::pid_t = children.trim().parse().expect("one child");
    // SAFETY: kill touches no memory; the process is our grandchild, which waits for this.
    unsafe { libc::kill(inner, libc::SIGKILL) };
    child.finish();
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
