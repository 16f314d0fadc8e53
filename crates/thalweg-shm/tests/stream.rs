//! Streams as their users see them, within one process and a few threads.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use thalweg_os::clock::deadline_after;
use thalweg_shm::stream::error::{
    BorrowError, CreateError, LockError, OpenError, ReadError, UnlinkError, WaitError, WriteError,
};
use thalweg_shm::{
    ArrayMut, ArrayRef, DType, Patience, PublishOptions, Purged, StaleReason, Stream,
    StreamDirectory, StreamOptions, WaitPolicy,
};

/// A directory of its own per test, so that what is left behind can be counted.
struct Scratch {
    directory: StreamDirectory,
    _folder: tempfile::TempDir,
}

fn scratch() -> Scratch {
    let folder = tempfile::Builder::new()
        .prefix("thalweg-test-")
        .tempdir_in("/dev/shm")
        .unwrap();
    Scratch {
        directory: StreamDirectory::new(folder.path()),
        _folder: folder,
    }
}

impl Scratch {
    fn stream(&self, elements: usize, slots: usize) -> Stream {
        let options = StreamOptions {
            slots,
            ..StreamOptions::new(DType::Uint64, &[elements])
        };
        self.directory.create("s", &options).unwrap()
    }
}

fn write(stream: &Stream, value: u64) {
    let payload = vec![value; stream.shape()[0]];
    stream
        .write(
            ArrayRef::from_slice(&payload, stream.shape()),
            PublishOptions::default(),
            soon(),
        )
        .unwrap();
}

fn read(stream: &Stream) -> (u64, u64) {
    let (bytes, publication) = stream.read(None).unwrap();
    let words: Vec<u64> = bytes
        .chunks_exact(8)
        .map(|word| u64::from_ne_bytes(word.try_into().unwrap()))
        .collect();
    assert!(words.iter().all(|&word| word == words[0]), "torn frame");
    (words[0], publication.count)
}

fn soon() -> Patience<'static> {
    Patience::until(deadline_after(Duration::from_secs(20)))
}

fn at_once() -> Patience<'static> {
    Patience::until(0)
}

#[test]
fn the_newest_frame_is_read_with_its_own_count() {
    let scratch = scratch();
    for slots in [2, 3, 4, 127] {
        let stream = scratch.stream(100, slots);
        assert_eq!(read(&stream), (0, 0), "zeros before the first write");
        for value in 1..300 {
            write(&stream, value);
            assert_eq!(read(&stream), (value, value));
        }
        stream.unlink().unwrap();
    }
    assert_eq!(scratch.directory.list().unwrap(), Vec::<String>::new());
}

#[test]
fn a_name_is_created_once_and_found_by_everybody() {
    let scratch = scratch();
    let first = scratch.stream(4, 4);
    let again = scratch
        .directory
        .create("s", &StreamOptions::new(DType::Int8, &[1]));
    assert!(matches!(again, Err(CreateError::Exists { .. })));
    let second = scratch.directory.open("s").unwrap();
    assert_eq!((second.dtype(), second.shape()), (DType::Uint64, &[4][..]));
    write(&first, 9);
    assert_eq!(read(&second), (9, 1));
    assert_eq!(scratch.directory.list().unwrap(), ["s"]);
    assert!(matches!(
        scratch.directory.open("t"),
        Err(OpenError::Missing { .. })
    ));
}

#[test]
fn an_abort_leaves_the_last_good_frame() {
    let scratch = scratch();
    let stream = scratch.stream(8, 3);
    write(&stream, 1);
    let mut loan = stream.loan(soon()).unwrap();
    loan.array().unwrap().copy_from(&[2u64; 8]).unwrap();
    assert!(matches!(
        stream.write(
            ArrayRef::from_slice(&[0u64; 8], &[8]),
            PublishOptions::default(),
            soon()
        ),
        Err(WriteError::ScopeOpen { .. })
    ));
    loan.abort();
    assert_eq!(read(&stream), (1, 1));
    write(&stream, 3);
    assert_eq!(read(&stream), (3, 2), "an aborted frame has no number");
}

#[test]
fn a_stream_never_completed_is_inconsistent_until_it_is() {
    let scratch = scratch();
    let stream = scratch.stream(8, 4);
    stream.loan(soon()).unwrap().abort();
    assert!(matches!(
        stream.read(None),
        Err(ReadError::Inconsistent { .. })
    ));
    assert!(matches!(
        stream.wait_after(0, WaitPolicy::Park, soon()),
        Err(WaitError::Inconsistent { .. })
    ));
    write(&stream, 5);
    assert_eq!(read(&stream), (5, 1));
}

#[test]
fn strict_streams_say_that_a_frame_was_given_up() {
    let scratch = scratch();
    let options = StreamOptions {
        strict: true,
        ..StreamOptions::new(DType::Uint64, &[8])
    };
    let stream = scratch.directory.create("strict", &options).unwrap();
    write(&stream, 1);
    stream.loan(soon()).unwrap().abort();
    assert!(matches!(
        stream.read(None),
        Err(ReadError::Inconsistent { .. })
    ));
    assert!(matches!(
        stream.borrow(),
        Err(BorrowError::Inconsistent { .. })
    ));
    write(&stream, 2);
    assert_eq!(read(&stream), (2, 2));
}

#[test]
fn a_borrowed_frame_stays_while_the_writer_goes_on() {
    let scratch = scratch();
    let stream = scratch.stream(64, 4);
    assert!(matches!(stream.borrow(), Err(BorrowError::Empty { .. })));
    write(&stream, 1);
    let first = stream.borrow().unwrap();
    let shared = first.clone();
    write(&stream, 2);
    let second = stream.borrow().unwrap();
    for value in 3..100 {
        write(&stream, value);
    }
    assert_eq!(first.array().to_vec::<u64>().unwrap(), [1; 64]);
    assert_eq!(second.array().to_vec::<u64>().unwrap(), [2; 64]);
    assert_eq!(
        (first.publication().count, second.publication().count),
        (1, 2)
    );
    let Err(BorrowError::Limit {
        tickets, holders, ..
    }) = stream.borrow()
    else {
        panic!("a third ticket of two");
    };
    assert_eq!((tickets, holders), (2, vec![std::process::id()]));
    drop(first);
    assert!(stream.borrow().is_err(), "a clone still holds the ticket");
    drop(shared);
    let newest = stream.borrow().unwrap();
    assert_eq!(newest.publication().count, 99);
}

#[test]
fn views_of_one_frame_share_a_ticket() {
    let scratch = scratch();
    let stream = scratch.stream(1, 3);
    write(&stream, 1);
    let views: Vec<_> = (0..10).map(|_| stream.borrow().unwrap()).collect();
    assert_eq!(scratch.directory.stat("s").unwrap().borrowed, 1);
    drop(views);
    assert_eq!(scratch.directory.stat("s").unwrap().borrowed, 0);
}

#[test]
fn two_slots_are_too_few_to_borrow() {
    let scratch = scratch();
    let stream = scratch.stream(1, 2);
    write(&stream, 1);
    let error = stream.borrow().unwrap_err();
    assert!(error.to_string().contains("slots >= 3"), "{error}");
}

#[test]
fn views_outlive_handles_and_names() {
    let scratch = scratch();
    let stream = scratch.stream(4, 4);
    write(&stream, 7);
    let frame = stream.borrow().unwrap();
    stream.unlink().unwrap();
    drop(stream);
    assert_eq!(frame.array().to_vec::<u64>().unwrap(), [7; 4]);
}

#[test]
fn waits_return_for_frames_already_there_and_time_out_for_others() {
    let scratch = scratch();
    let stream = scratch.stream(1, 4);
    write(&stream, 1);
    write(&stream, 2);
    for policy in [WaitPolicy::Park, WaitPolicy::Spin, WaitPolicy::Adaptive] {
        assert_eq!(stream.wait_after(0, policy, at_once()).unwrap(), 2);
        let late = stream.wait_after(
            2,
            policy,
            Patience::until(deadline_after(Duration::from_millis(3))),
        );
        assert!(matches!(late, Err(WaitError::TimedOut { after: 2, .. })));
    }
}

#[test]
fn every_frame_wakes_its_waiter() {
    let scratch = scratch();
    let (there, back) = (scratch.stream(1, 4), {
        let options = StreamOptions::new(DType::Uint64, &[1]);
        scratch.directory.create("back", &options).unwrap()
    });
    for policy in [WaitPolicy::Park, WaitPolicy::Adaptive] {
        let (start_there, start_back) = (there.count(), back.count());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=2000 {
                    there
                        .wait_after(start_there + round - 1, policy, soon())
                        .unwrap();
                    write(&back, round);
                }
            });
            for round in 1..=2000 {
                write(&there, round);
                back.wait_after(start_back + round - 1, policy, soon())
                    .unwrap();
                assert_eq!(read(&back), (round, start_back + round));
            }
        });
    }
}

#[test]
fn closing_and_unlinking_end_waits() {
    let scratch = scratch();
    let stream = scratch.stream(1, 4);
    let other = stream.duplicate();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| stream.wait_after(0, WaitPolicy::Park, soon()));
        stream.close();
        assert!(matches!(
            waiter.join().unwrap(),
            Err(WaitError::Closed { .. })
        ));
        let waiter = scope.spawn(|| other.wait_after(0, WaitPolicy::Park, soon()));
        scratch.directory.unlink("s").unwrap();
        let Err(WaitError::Stale { reason, .. }) = waiter.join().unwrap() else {
            panic!("the wait went on");
        };
        assert_eq!(reason, StaleReason::Unlinked);
    });
    write(&other, 1);
    assert_eq!(read(&other), (1, 1), "old handles stay usable");
}

#[test]
fn an_interrupt_ends_a_wait() {
    let scratch = scratch();
    let stream = scratch.stream(1, 4);
    let asked = AtomicBool::new(false);
    let interrupt = || asked.swap(true, Ordering::Relaxed);
    let patience = Patience {
        interrupt: Some(&interrupt),
        ..soon()
    };
    let outcome = stream.wait_after(0, WaitPolicy::Park, patience);
    assert!(matches!(outcome, Err(WaitError::Interrupted { .. })));
}

#[test]
fn the_lock_is_reentrant_and_excludes_other_threads() {
    let scratch = scratch();
    let stream = scratch.stream(1, 4);
    let outer = stream.lock(soon()).unwrap();
    let inner = stream.lock(soon()).unwrap();
    write(&stream, 1);
    assert_eq!(stream.lock_depth(), 2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let refused = stream.lock(at_once()).unwrap_err();
            assert!(matches!(refused, LockError::TimedOut { holder: None, .. }));
        });
    });
    drop(inner);
    drop(outer);
    assert_eq!(stream.lock_depth(), 0);
}

#[test]
fn the_last_guard_may_be_dropped_by_another_thread_at_any_time() {
    const ROUNDS: u64 = 3000;
    let scratch = scratch();
    let stream = scratch.stream(20, 4);
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    std::thread::scope(|scope| {
        let stream = &stream;
        scope.spawn(move || {
            for value in 0..ROUNDS {
                sender.send(stream.lock(soon()).unwrap()).unwrap();
                write(stream, value);
                drop(stream.lock(soon()).unwrap());
                write(stream, value);
            }
        });
        scope.spawn(move || receiver.into_iter().for_each(drop));
        scope.spawn(move || (0..ROUNDS).for_each(|value| write(stream, value)));
    });
    assert_eq!(stream.lock_depth(), 0);
    assert_eq!(read(&stream).1, 3 * ROUNDS);
}

#[test]
fn the_wrong_shape_is_refused_and_loses_nothing() {
    let scratch = scratch();
    let stream = scratch.stream(4, 4);
    write(&stream, 1);
    let wrong = stream.write(
        ArrayRef::from_slice(&[1u64; 5], &[5]),
        PublishOptions::default(),
        soon(),
    );
    let text = wrong.unwrap_err().to_string();
    assert!(text.contains("[4]") && text.contains("[5]"), "{text}");
    assert!(stream.read_into(&mut [0; 7], None).is_err());
    assert_eq!(read(&stream), (1, 1));
}

#[test]
fn frame_ids_and_origins_travel_with_the_frame() {
    let scratch = scratch();
    let stream = scratch.stream(1, 4);
    let publish = |frame_id, origin_ns| {
        let options = PublishOptions {
            frame_id,
            origin_ns,
        };
        stream
            .write(ArrayRef::from_slice(&[1u64], &[1]), options, soon())
            .unwrap()
    };
    let first = publish(Some(42), Some(7));
    assert_eq!((first.frame_id, first.origin_ns), (42, 7));
    let second = publish(None, None);
    assert_eq!((second.frame_id, second.origin_ns), (42, second.publish_ns));
    assert_eq!(stream.newest(), second);
}

#[test]
fn old_handles_cannot_unlink_a_newer_generation() {
    let scratch = scratch();
    let old = scratch.stream(1, 4);
    scratch.directory.unlink("s").unwrap();
    let new = scratch.stream(2, 4);
    assert!(matches!(old.unlink(), Err(UnlinkError::Stale { .. })));
    new.unlink().unwrap();
    new.unlink().unwrap();
    assert!(!scratch.directory.unlink("s").unwrap());
}

#[test]
fn names_are_never_stuck() {
    let scratch = scratch();
    let path = scratch.directory.path().join("thalweg.broken");
    std::fs::write(&path, b"not a stream").unwrap();
    let error = scratch.directory.open("broken").unwrap_err();
    assert!(error.to_string().contains("metadata block"), "{error}");
    assert!(scratch.directory.unlink("broken").unwrap());
    assert!(!path.exists());
}

#[test]
fn purge_removes_by_prefix_and_can_only_tell() {
    let scratch = scratch();
    let options = StreamOptions::new(DType::Uint8, &[1]);
    for name in ["a.1", "a.2", "b.1"] {
        scratch.directory.create(name, &options).unwrap();
    }
    let removed = |name: &str| (name.to_owned(), Purged::Removed);
    let told = scratch.directory.purge("a.", true).unwrap();
    assert_eq!(told, [removed("a.1"), removed("a.2")]);
    assert_eq!(scratch.directory.list().unwrap().len(), 3);
    scratch.directory.purge("a.", false).unwrap();
    assert_eq!(scratch.directory.list().unwrap(), ["b.1"]);
}

#[test]
fn contending_writers_lose_no_frame_and_tear_none() {
    let scratch = scratch();
    let stream = scratch.stream(512, 4);
    std::thread::scope(|scope| {
        for writer in 0..3u64 {
            let stream = stream.duplicate();
            scope.spawn(move || {
                for frame in 0..2000 {
                    write(&stream, writer << 32 | frame);
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let mut seen = 0;
                while seen < 6000 {
                    seen = stream
                        .wait_after(seen, WaitPolicy::Adaptive, soon())
                        .unwrap();
                    read(&stream);
                    let frame = stream.borrow().unwrap();
                    let words = frame.array().to_vec::<u64>().unwrap();
                    assert!(words.iter().all(|&word| word == words[0]), "torn borrow");
                }
            });
        }
    });
    assert_eq!(stream.count(), 6000);
}

#[test]
fn one_wait_covers_several_streams() {
    let scratch = scratch();
    let (first, second) = (scratch.stream(1, 4), {
        let options = StreamOptions::new(DType::Uint64, &[1]);
        scratch.directory.create("second", &options).unwrap()
    });
    let nothing = Stream::wait_any(
        &[(&first, 0), (&second, 0)],
        Patience::until(deadline_after(Duration::from_millis(2))),
    );
    assert!(matches!(nothing, Err(WaitError::TimedOut { .. })));
    std::thread::scope(|scope| {
        for round in 0..500 {
            let streams = [(&first, 0), (&second, round)];
            let waiter = scope.spawn(move || Stream::wait_any(&streams, soon()).unwrap());
            write(&second, round);
            assert_eq!(waiter.join().unwrap(), 1);
        }
    });
    second.end();
    let ended = Stream::wait_any(&[(&first, 0), (&second, 500)], soon());
    assert!(matches!(
        ended,
        Err(WaitError::Stale {
            reason: StaleReason::Ended,
            ..
        })
    ));
}

#[test]
fn memory_is_found_again_by_its_arrays() {
    let scratch = scratch();
    let writer = scratch.stream(3, 4);
    // A second handle of one process, as code has that is only shown arrays.
    let other = scratch.directory.open("s").unwrap();
    for value in 1..=6 {
        let mut loan = writer.loan(Patience::ENDLESS).unwrap();
        let mut array = loan.array().unwrap();
        array.copy_from(&[value, value, value]).unwrap();
        let lent = other.lend_at(&array).unwrap().unwrap();
        assert_ne!(
            lent.address().as_ptr(),
            array.as_bytes_mut_ptr(),
            "a window"
        );
        lent.reuse();
        let again = other.lend_at(&array).unwrap().unwrap();
        assert_eq!(again.address(), lent.address(), "the same window");
        again.revoke().unwrap();
        let new = other.lend_at(&array).unwrap().unwrap();
        assert_ne!(new.address(), lent.address(), "a revoked window is gone");
        new.reuse();
        loan.publish(PublishOptions::default()).unwrap();
        let frame = writer.borrow().unwrap();
        assert_eq!(frame.array().to_vec::<u64>().unwrap(), [value; 3]);
        let peek = other.peek_at(frame.array()).unwrap();
        assert_eq!(peek.array().as_bytes_ptr(), frame.array().as_bytes_ptr());
    }
    let mut own = [1u64, 2, 3];
    assert!(other.peek_at(ArrayRef::from_slice(&own, &[3])).is_none());
    let elsewhere = ArrayMut::from_slice(&mut own, &[3]);
    assert!(other.lend_at(&elsewhere).unwrap().is_none());
}
