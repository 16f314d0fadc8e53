//! Lossless readers as their users see them, within one process and between two.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/forking.rs"]
#[expect(dead_code, reason = "for other tests")]
mod forking;

use std::io::{Read, Write};
use std::time::Duration;

use forking::{Child, Scratch, finish, scratch, soon, start, write};
use thalweg_os::clock::deadline_after;
use thalweg_shm::stream::error::{
    BorrowError, LockError, LosslessError, SubscribeError, WaitError, WriteError,
};
use thalweg_shm::{
    ArrayRef, DType, LosslessReader, LosslessStat, Patience, PublishOptions, StaleReason, Stream,
    StreamOptions, WaitPolicy,
};

fn create(scratch: &Scratch, elements: usize, slots: usize) -> Stream {
    create_that(scratch, elements, slots, false)
}

fn create_that(scratch: &Scratch, elements: usize, slots: usize, reuse_slots: bool) -> Stream {
    let options = StreamOptions {
        slots,
        reuse_slots,
        ..StreamOptions::new(DType::Uint64, &[elements])
    };
    scratch.directory.create("s", &options).unwrap()
}

/// A writer that waits for room holds the lock.
fn lock_holder(scratch: &Scratch) -> Option<u32> {
    scratch.directory.stat("s").unwrap().lock_holder_pid
}

fn lossless(scratch: &Scratch) -> Vec<LosslessStat> {
    scratch.directory.stat("s").unwrap().lossless
}

fn at_once() -> Patience<'static> {
    Patience::until(0)
}

fn try_write(stream: &Stream, value: u64, patience: Patience<'_>) -> Result<u64, WriteError> {
    let payload = vec![value; stream.shape()[0]];
    let array = ArrayRef::from_slice(&payload, stream.shape());
    stream
        .write(array, PublishOptions::default(), patience)
        .map(|publication| publication.count)
}

/// The next frame's count and value; all its elements are the same.
fn next(reader: &mut LosslessReader) -> (u64, u64) {
    let frame = reader.next(WaitPolicy::Park, soon()).unwrap();
    let words = frame.array().to_vec::<u64>().unwrap();
    assert!(words.iter().all(|&word| word == words[0]), "torn frame");
    (frame.publication().count, words[0])
}

/// Starts a child that subscribes, says so, and does nothing more until it is killed.
fn idle_subscriber(scratch: &Scratch, budget: usize) -> Child {
    let (mut told, mut tell) = std::io::pipe().unwrap();
    let child = start(|| {
        let stream = scratch.directory.open("s").unwrap();
        let _reader = stream.subscribe(budget).unwrap();
        tell.write_all(&[1]).unwrap();
        loop {
            std::thread::park();
        }
    });
    told.read_exact(&mut [0]).unwrap();
    child
}

#[test]
fn a_slow_reader_loses_nothing_against_a_fast_writer() {
    const FRAMES: u64 = 2000;
    let scratch = scratch();
    let cases = [(2, 1), (2, 2), (3, 2), (4, 2), (4, 4), (5, 3)];
    let cases = cases.map(|case| [(case, false), (case, true)]);
    for ((slots, budget), reuse_slots) in cases.into_iter().flatten() {
        let stream = create_that(&scratch, 100, slots, reuse_slots);
        let mut reader = stream.subscribe(budget).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| (1..=FRAMES).for_each(|value| write(&stream, value)));
            for count in 1..=FRAMES {
                assert_eq!(next(&mut reader), (count, count));
                let ahead = stream.count() - (count - 1);
                assert!(ahead <= budget as u64, "the writer is {ahead} frames ahead");
            }
        });
        assert_eq!((reader.position(), reader.lag()), (FRAMES, 0));
        stream.unlink().unwrap();
    }
}

#[test]
fn frames_stay_in_place_until_they_are_given_back() {
    let scratch = scratch();
    let stream = create(&scratch, 64, 4);
    let mut reader = stream.subscribe(2).unwrap();
    write(&stream, 1);
    assert_eq!(next(&mut reader), (1, 1));
    write(&stream, 2);
    let refused = try_write(&stream, 3, at_once()).unwrap_err();
    assert!(matches!(refused, WriteError::Lagging { .. }), "{refused}");
    assert_eq!(stream.count(), 2, "nothing was published");
    let in_hand = reader.frame().unwrap().array().to_vec::<u64>().unwrap();
    assert_eq!(in_hand, [1; 64]);
    reader.advance().unwrap();
    assert!(reader.frame().is_none());
    assert_eq!(try_write(&stream, 3, at_once()).unwrap(), 3);
    let mut copied = vec![0; stream.payload_bytes()];
    let publication = reader.read_next_into(&mut copied, WaitPolicy::Park, soon());
    assert_eq!(publication.unwrap().count, 2);
    assert_eq!(copied[..8], 2u64.to_ne_bytes());
    assert_eq!((reader.position(), reader.lag()), (2, 1));
    // A copy gives its frame back at once.
    assert_eq!(try_write(&stream, 4, at_once()).unwrap(), 4);
}

#[test]
fn the_error_names_the_reader_that_lags() {
    let scratch = scratch();
    let stream = create(&scratch, 4, 4);
    let child = idle_subscriber(&scratch, 2);
    let own = stream.subscribe(4).unwrap();
    write(&stream, 1);
    write(&stream, 2);
    let expected = [
        LosslessStat {
            pid: child.pid(),
            lag: 2,
            budget: 2,
        },
        LosslessStat {
            pid: std::process::id(),
            lag: 2,
            budget: 4,
        },
    ];
    let mut listed = lossless(&scratch);
    listed.sort_by_key(|stat| stat.budget);
    assert_eq!(listed, expected);
    let refused = try_write(
        &stream,
        3,
        Patience::until(deadline_after(Duration::from_millis(50))),
    );
    let error = refused.unwrap_err();
    let WriteError::Lagging {
        pid,
        behind,
        budget,
        ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!((pid, behind, budget), (Some(child.pid()), 2, 2));
    let text = error.to_string();
    assert!(text.contains(&child.pid().to_string()), "{text}");
    child.signal(libc::SIGKILL);
    child.finish();
    drop(own);
    assert_eq!(lossless(&scratch), []);
}

#[test]
fn who_queues_behind_a_writer_that_waits_is_told_whom_that_waits_for() {
    let scratch = scratch();
    let stream = create(&scratch, 4, 4);
    let reader = idle_subscriber(&scratch, 1);
    write(&stream, 1);
    let writer = start(|| {
        let stream = scratch.directory.open("s").unwrap();
        write(&stream, 2);
    });
    let give_up = std::time::Instant::now() + Duration::from_secs(20);
    let error = loop {
        assert!(std::time::Instant::now() < give_up, "it never waited");
        let refused = stream.lock(at_once());
        match refused.map(drop) {
            Err(LockError::TimedOut {
                waits_for: None, ..
            })
            | Ok(()) => std::thread::yield_now(),
            Err(error) => break error,
        }
    };
    let LockError::TimedOut {
        holder, waits_for, ..
    } = error
    else {
        panic!("{error}");
    };
    let (holding, lagging) = (writer.pid(), reader.pid());
    assert_eq!((holder, waits_for), (Some(holding), Some(lagging)));
    let text = error.to_string();
    let expected =
        format!("process {holding} holds it, and waits for a lossless reader in process {lagging}");
    assert!(text.contains(&expected), "{text}");
    reader.kill();
    finish(writer);
    assert_eq!(stream.count(), 2);
    let lock = stream.lock(soon()).unwrap();
    let refused = std::thread::scope(|scope| scope.spawn(|| stream.lock(at_once())).join());
    assert!(matches!(
        refused.unwrap(),
        Err(LockError::TimedOut {
            waits_for: None,
            ..
        })
    ));
    drop(lock);
}

#[test]
fn a_killed_reader_holds_the_writer_no_longer_than_a_slice() {
    let scratch = scratch();
    let stream = create(&scratch, 4, 3);
    // Killed before the writer waits: found dead at once, without any sleep.
    let child = idle_subscriber(&scratch, 1);
    write(&stream, 1);
    child.signal(libc::SIGKILL);
    child.finish();
    assert_eq!(try_write(&stream, 2, at_once()).unwrap(), 2);
    // Killed while the writer sleeps: an endless wait ends.
    let child = idle_subscriber(&scratch, 3);
    (3..=5).for_each(|value| write(&stream, value));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| try_write(&stream, 6, soon()).unwrap());
        while stream.count() == 5 && lock_holder(&scratch).is_none() {
            std::thread::yield_now();
        }
        child.signal(libc::SIGKILL);
        assert_eq!(writer.join().unwrap(), 6);
    });
    child.finish();
    assert_eq!(lossless(&scratch), []);
    stream.borrow().expect("the ticket of its budget is free");
}

#[test]
fn a_stopped_reader_is_alive_and_is_waited_for() {
    let scratch = scratch();
    let stream = create(&scratch, 4, 4);
    let child = idle_subscriber(&scratch, 1);
    child.signal(libc::SIGSTOP);
    write(&stream, 1);
    let refused = try_write(
        &stream,
        2,
        Patience::until(deadline_after(Duration::from_millis(60))),
    );
    assert!(matches!(refused, Err(WriteError::Lagging { .. })));
    child.signal(libc::SIGKILL);
    child.finish();
    write(&stream, 2);
}

#[test]
fn an_interrupt_ends_the_wait_for_room() {
    let scratch = scratch();
    let stream = create(&scratch, 4, 4);
    let _reader = stream.subscribe(1).unwrap();
    write(&stream, 1);
    let interrupt = || true;
    let patience = Patience {
        interrupt: Some(&interrupt),
        ..soon()
    };
    let refused = stream.loan(patience).unwrap_err();
    assert!(
        matches!(refused, WriteError::Interrupted { .. }),
        "{refused}"
    );
    assert_eq!(lock_holder(&scratch), None, "the lock was given back");
}

#[test]
fn large_budgets_are_paid_with_tickets() {
    let scratch = scratch();
    let stream = create(&scratch, 4, 4);
    write(&stream, 1);
    let refused = stream.subscribe(5).unwrap_err();
    assert!(
        matches!(refused, SubscribeError::Budget { slots: 4, .. }),
        "{refused}"
    );
    assert!(matches!(
        stream.subscribe(0),
        Err(SubscribeError::Budget { .. })
    ));
    let frame = stream.borrow().unwrap();
    let refused = stream.subscribe(4).unwrap_err();
    let SubscribeError::Limit {
        tickets, holders, ..
    } = refused
    else {
        panic!("{refused}");
    };
    assert_eq!((tickets, holders), (2, vec![std::process::id()]));
    let reader = stream.subscribe(3).unwrap();
    write(&stream, 2);
    assert!(matches!(stream.borrow(), Err(BorrowError::Limit { .. })));
    assert_eq!(scratch.directory.stat("s").unwrap().borrowed, 1);
    drop(frame);
    let _frame = stream.borrow().expect("the refused budget took none");
    assert!(stream.borrow().is_ok(), "a view of the same frame");
    drop(reader);
    write(&stream, 3);
    stream.borrow().expect("the budget was given back");
}

#[test]
fn budgets_and_pins_never_leave_the_writer_without_a_slot() {
    let scratch = scratch();
    let stream = create(&scratch, 16, 5);
    let mut reader = stream.subscribe(4).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (1..=3000).for_each(|value| write(&stream, value)));
        for count in 1..=3000 {
            assert_eq!(next(&mut reader), (count, count));
            let frame = stream.borrow().expect("the one ticket left");
            let words = frame.array().to_vec::<u64>().unwrap();
            assert_eq!(words, [frame.publication().count; 16]);
        }
        writer.join().unwrap();
    });
}

#[test]
fn readers_of_one_process_share_a_subscription() {
    let scratch = scratch();
    let stream = create(&scratch, 4, 5);
    let mut patient = stream.subscribe(5).unwrap();
    (1..=4).for_each(|value| write(&stream, value));
    let mut strict = stream.duplicate().subscribe(1).unwrap();
    assert_eq!((patient.position(), strict.position()), (0, 4));
    assert_eq!(lossless(&scratch).len(), 1);
    // The smallest budget and the slowest cursor hold for all.
    assert!(try_write(&stream, 5, at_once()).is_err());
    (1..=4).for_each(|count| assert_eq!(next(&mut patient), (count, count)));
    patient.advance().unwrap();
    write(&stream, 5);
    assert!(try_write(&stream, 6, at_once()).is_err());
    assert_eq!(next(&mut strict), (5, 5));
    assert_eq!(next(&mut patient), (5, 5));
    drop(strict);
    // The large budget is back, and its tickets were kept all the while.
    (6..=9).for_each(|value| write(&stream, value));
    assert!(try_write(&stream, 10, at_once()).is_err());
    (6..=9).for_each(|count| assert_eq!(next(&mut patient), (count, count)));
    drop(patient);
    assert_eq!(lossless(&scratch), []);
    (10..=99).for_each(|value| write(&stream, value));
}

#[test]
fn aborted_frames_are_no_frames() {
    let scratch = scratch();
    for strict in [false, true] {
        let options = StreamOptions {
            strict,
            ..StreamOptions::new(DType::Uint64, &[4])
        };
        let stream = scratch.directory.create("aborted", &options).unwrap();
        let mut reader = stream.subscribe(3).unwrap();
        for value in 1..=20 {
            stream.loan(soon()).unwrap().abort();
            write(&stream, value);
            stream.loan(soon()).unwrap().abort();
            assert_eq!(next(&mut reader), (value, value));
        }
        stream.unlink().unwrap();
    }
}

#[test]
fn the_frames_before_the_end_are_read() {
    let scratch = scratch();
    let stream = create(&scratch, 4, 4);
    let mut reader = stream.subscribe(2).unwrap();
    write(&stream, 1);
    write(&stream, 2);
    stream.end();
    assert_eq!(next(&mut reader), (1, 1));
    assert_eq!(next(&mut reader), (2, 2));
    let Err(LosslessError::Wait(WaitError::Stale { reason, .. })) =
        reader.next(WaitPolicy::Park, soon())
    else {
        panic!("a frame after the end");
    };
    assert_eq!(reason, StaleReason::Ended);
}

#[test]
fn closing_the_handle_ends_the_wait_of_its_reader() {
    let scratch = scratch();
    let stream = create(&scratch, 4, 4);
    let mut reader = stream.subscribe(2).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| match reader.next(WaitPolicy::Park, soon()) {
            Err(LosslessError::Wait(error)) => error,
            other => panic!("{other:?}"),
        });
        stream.close();
        assert!(matches!(waiting.join().unwrap(), WaitError::Closed { .. }));
    });
}

#[test]
fn a_child_does_not_inherit_its_parents_readers() {
    let scratch = scratch();
    let stream = create(&scratch, 4, 4);
    let mut reader = Some(stream.subscribe(2).unwrap());
    write(&stream, 1);
    let child = start(|| {
        let mut inherited = reader.take().unwrap();
        let refused = inherited.next(WaitPolicy::Park, soon()).map(drop);
        assert!(matches!(refused, Err(LosslessError::Inherited { .. })));
        let mut own = stream.subscribe(1).unwrap();
        drop(inherited);
        assert_eq!(lossless(&scratch).len(), 2, "the parent's and the child's");
        assert_eq!(own.position(), 1);
        assert!(own.next(WaitPolicy::Park, at_once()).is_err());
    });
    finish(child);
    let mut reader = reader.unwrap();
    write(&stream, 2);
    assert!(
        try_write(&stream, 3, at_once()).is_err(),
        "still the parent's"
    );
    assert_eq!(next(&mut reader), (1, 1));
    assert_eq!(next(&mut reader), (2, 2));
}

#[test]
fn two_processes_lose_nothing() {
    const FRAMES: u64 = 2000;
    let scratch = scratch();
    let stream = create(&scratch, 64, 4);
    let (mut told, mut tell) = std::io::pipe().unwrap();
    let children: Vec<Child> = [1, 2]
        .map(|budget| {
            let (scratch, tell) = (&scratch, &mut tell);
            start(move || {
                let stream = scratch.directory.open("s").unwrap();
                let mut reader = stream.subscribe(budget).unwrap();
                tell.write_all(&[1]).unwrap();
                for count in 1..=FRAMES {
                    assert_eq!(next(&mut reader), (count, count));
                }
            })
        })
        .into();
    told.read_exact(&mut [0; 2]).unwrap();
    (1..=FRAMES).for_each(|value| write(&stream, value));
    for child in children {
        finish(child);
    }
}
