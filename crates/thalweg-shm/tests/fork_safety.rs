//! Forks at any moment, and what a child sees of the frames its parent had borrowed.
#![cfg(not(loom))]

#[path = "support/forking.rs"]
#[expect(dead_code, reason = "for other tests")]
mod forking;

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use forking::{Scratch, finish, in_a_fork, scratch, soon, start, write};
use thalweg_shm::{DType, Frame, Stream, StreamOptions, WaitPolicy};

fn create(scratch: &Scratch, name: &str, slots: usize) -> Stream {
    let options = StreamOptions {
        slots,
        ..StreamOptions::new(DType::Uint64, &[4])
    };
    scratch.directory.create(name, &options).expect("created")
}

fn contents(frame: &Frame) -> Vec<u64> {
    frame.array().to_vec().expect("u64")
}

/// Does everything that takes a lock of this process, on streams of its own and shared ones.
fn use_streams(scratch: &Scratch, own_name: &str) {
    let shared = scratch.directory.open("shared").expect("open");
    let before = shared.count();
    write(&shared, 7);
    assert!(shared.count() > before);
    // Others may hold all tickets.
    let borrowed = shared.borrow();
    let fresh = create(scratch, own_name, 4);
    write(&fresh, 1);
    let frame = fresh.borrow().expect("nobody else borrows");
    write(&fresh, 2);
    assert_eq!(contents(&frame), [1; 4]);
    let copy = frame.clone();
    drop(frame);
    drop(copy);
    assert_eq!(fresh.count(), 2);
    let mut reader = fresh.subscribe(3).expect("a ticket");
    write(&fresh, 3);
    let next = reader.next(WaitPolicy::Park, soon()).expect("the third");
    assert_eq!(next.publication().count, 3);
    drop(reader);
    fresh.unlink().expect("removed");
    drop(borrowed);
}

#[test]
fn a_fork_at_any_moment_leaves_a_child_that_works() {
    const FORKS: u64 = 300;
    let scratch = scratch();
    let _shared = create(&scratch, "shared", 6);
    let is_over = AtomicBool::new(false);
    let rounds = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (scratch, is_over, rounds) = (&scratch, &is_over, &rounds);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let round = rounds.fetch_add(1, Ordering::Relaxed);
                    use_streams(scratch, &format!("thread{thread}-{round}"));
                }
            });
        }
        let forking = std::panic::AssertUnwindSafe(|| {
            for fork in 0..FORKS {
                in_a_fork(|| use_streams(&scratch, &format!("child{fork}")));
            }
        });
        let outcome = std::panic::catch_unwind(forking);
        is_over.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert!(
        rounds.load(Ordering::Relaxed) > 2,
        "the threads did nothing"
    );
    assert_eq!(scratch.directory.list().expect("readable"), ["shared"]);
}

/// Two ends of two pipes: "go on" to the child, "done" from it.
struct Signals {
    go: (std::io::PipeReader, std::io::PipeWriter),
    done: (std::io::PipeReader, std::io::PipeWriter),
}

impl Signals {
    fn new() -> Self {
        Self {
            go: std::io::pipe().expect("a pipe"),
            done: std::io::pipe().expect("a pipe"),
        }
    }
}

fn send(mut to: &std::io::PipeWriter) {
    to.write_all(&[1]).expect("told");
}

fn receive(mut from: &std::io::PipeReader) {
    from.read_exact(&mut [0]).expect("told");
}

#[test]
fn an_inherited_frame_is_safe_once_it_was_used() {
    let scratch = scratch();
    let stream = create(&scratch, "s", 4);
    write(&stream, 1);
    let signals = Signals::new();
    let mut frame = Some(stream.borrow().expect("borrowed"));
    let child = start(|| {
        assert_eq!((stream.local_views(), stream.inherited_views()), (0, 1));
        let inherited = frame.take().expect("inherited");
        assert_eq!(contents(&inherited), [1; 4]);
        assert!(inherited.is_protected());
        assert_eq!((stream.local_views(), stream.inherited_views()), (1, 0));
        let copy = inherited.clone();
        send(&signals.done.1);
        receive(&signals.go.0);
        drop(inherited);
        assert_eq!(contents(&copy), [1; 4], "overwritten under a ticket");
        assert_eq!(copy.publication().count, 1);
        drop(copy);
        assert_eq!(stream.local_views(), 0);
        send(&signals.done.1);
        receive(&signals.go.0);
    });
    receive(&signals.done.0);
    assert_eq!(scratch.directory.stat("s").expect("open").borrowed, 2);
    drop(frame);
    (2..20).for_each(|value| write(&stream, value));
    assert_eq!(scratch.directory.stat("s").expect("open").borrowed, 1);
    send(&signals.go.1);
    receive(&signals.done.0);
    assert_eq!(scratch.directory.stat("s").expect("open").borrowed, 0);
    send(&signals.go.1);
    finish(child);
}

#[test]
fn without_a_free_ticket_an_inherited_frame_depends_on_the_parent() {
    let scratch = scratch();
    let stream = create(&scratch, "s", 3);
    write(&stream, 1);
    let signals = Signals::new();
    let mut frame = Some(stream.borrow().expect("the only ticket"));
    let child = start(|| {
        let inherited = frame.take().expect("inherited");
        assert!(!inherited.is_protected(), "there is one ticket");
        assert_eq!(contents(&inherited), [1; 4], "the parent holds it");
        assert_eq!((stream.local_views(), stream.inherited_views()), (0, 1));
        send(&signals.done.1);
        receive(&signals.go.0);
        assert!(!inherited.is_protected(), "the frame is gone");
        drop(inherited);
        assert_eq!(stream.inherited_views(), 0);
        let own = stream.borrow().expect("the ticket is free");
        assert_eq!(contents(&own), [9; 4]);
    });
    receive(&signals.done.0);
    let frame = frame.expect("still the parent's");
    (2..6).for_each(|value| write(&stream, value));
    assert_eq!(contents(&frame), [1; 4], "the parent's own ticket holds");
    drop(frame);
    (6..10).for_each(|value| write(&stream, value));
    send(&signals.go.1);
    finish(child);
}

#[test]
fn a_child_that_uses_nothing_takes_nothing() {
    let scratch = scratch();
    let stream = create(&scratch, "s", 4);
    write(&stream, 1);
    let frame = stream.borrow().expect("borrowed");
    let signals = Signals::new();
    let child = start(|| {
        send(&signals.done.1);
        receive(&signals.go.0);
    });
    receive(&signals.done.0);
    let stat = scratch.directory.stat("s").expect("open");
    assert_eq!(stat.attached_pids, [std::process::id()]);
    assert_eq!(stat.borrowed, 1);
    send(&signals.go.1);
    finish(child);
    assert_eq!(contents(&frame), [1; 4]);
}
