//! Waiting as futures: whom they wake, what ends them, and what they leave behind.
#![cfg(not(loom))]
#![expect(unsafe_code, reason = "forking is a call into the C library")]

#[path = "support/executor.rs"]
mod executor;
#[path = "support/forking.rs"]
#[expect(dead_code, reason = "for other tests")]
mod forking;

use std::future::Future;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use executor::{Tally, begin, block_on, threads, until};
use forking::{Scratch, finish, in_a_fork, scratch, soon, start, write};
use thalweg_shm::stream::error::{OpenError, WaitError};
use thalweg_shm::{DType, NextAfter, StaleReason, Stream, StreamDirectory, StreamOptions};

fn create(scratch: &Scratch, name: &str) -> Stream {
    let options = StreamOptions::new(DType::Uint64, &[4]);
    scratch.directory.create(name, &options).expect("created")
}

/// Several waits in one task.
struct Join {
    waits: Vec<NextAfter>,
    outcomes: Vec<Option<Result<u64, WaitError>>>,
}

impl Join {
    fn new(waits: impl IntoIterator<Item = NextAfter>) -> Self {
        let waits: Vec<NextAfter> = waits.into_iter().collect();
        let outcomes = waits.iter().map(|_| None).collect();
        Self { waits, outcomes }
    }
}

impl Future for Join {
    type Output = Vec<Result<u64, WaitError>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { waits, outcomes } = self.get_mut();
        for (wait, outcome) in waits.iter_mut().zip(outcomes.iter_mut()) {
            if outcome.is_none()
                && let Poll::Ready(found) = Pin::new(wait).poll(context)
            {
                *outcome = Some(found);
            }
        }
        if outcomes.iter().all(Option::is_some) {
            Poll::Ready(outcomes.drain(..).flatten().collect())
        } else {
            Poll::Pending
        }
    }
}

fn is_send_and_static<T: Send + 'static>(value: T) -> T {
    value
}

#[test]
fn a_frame_ends_the_wait_for_it() {
    let scratch = scratch();
    let stream = create(&scratch, "s");
    write(&stream, 1);
    assert_eq!(block_on(stream.next_after(0)).expect("there already"), 1);
    let future = is_send_and_static(stream.next_after(1));
    let awaiting = std::thread::spawn(|| block_on(future));
    write(&stream, 2);
    assert_eq!(awaiting.join().expect("no panic").expect("awaited"), 2);
}

#[test]
fn no_frame_is_missed_in_an_exchange() {
    const ROUNDS: u64 = 2000;
    let scratch = scratch();
    let (there, back) = (create(&scratch, "there"), create(&scratch, "back"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..ROUNDS {
                let count = block_on(there.next_after(round)).expect("awaited");
                write(&back, count);
            }
        });
        for round in 0..ROUNDS {
            write(&there, round);
            let count = block_on(back.next_after(round)).expect("awaited");
            assert_eq!(count, round + 1);
        }
    });
}

#[test]
fn all_who_wait_for_one_stream_are_woken() {
    let scratch = scratch();
    let stream = create(&scratch, "s");
    let futures = Join::new((0..64).map(|_| stream.next_after(0)));
    let awaiting = std::thread::spawn(|| block_on(futures));
    write(&stream, 1);
    for outcome in awaiting.join().expect("no panic") {
        assert_eq!(outcome.expect("awaited"), 1);
    }
}

#[test]
fn hundreds_of_waits_share_one_thread() {
    let scratch = scratch();
    // In a process of its own, whose reactor has seen no other test.
    in_a_fork(|| {
        let streams = ["a", "b", "c"].map(|name| create(&scratch, name));
        let tally = Arc::new(Tally::default());
        let waker = Waker::from(Arc::clone(&tally));
        let mut futures: Vec<NextAfter> = (0..300)
            .map(|index| streams[index % 3].next_after(0))
            .collect();
        assert_eq!(threads(), 1, "nothing is awaited yet");
        futures.iter_mut().for_each(|future| begin(future, &waker));
        assert_eq!(threads(), 1 + 1);
        write(&streams[1], 1);
        until("100 tasks are woken", || tally.count() == 100);
        write(&streams[0], 1);
        write(&streams[2], 1);
        until("all are woken", || tally.count() == 300);
        let ended = block_on(Join::new(futures));
        assert!(ended.iter().all(|outcome| matches!(outcome, Ok(1))));
        assert_eq!(tally.count(), 300, "each task was woken once");
        assert_eq!(threads(), 1 + 1);
    });
}

#[test]
fn more_streams_than_one_thread_can_watch_are_watched_by_two() {
    let scratch = scratch();
    in_a_fork(|| {
        let streams: Vec<Stream> = (0..140)
            .map(|index| create(&scratch, &format!("s{index}")))
            .collect();
        let tally = Arc::new(Tally::default());
        let waker = Waker::from(Arc::clone(&tally));
        let mut futures: Vec<NextAfter> =
            streams.iter().map(|stream| stream.next_after(0)).collect();
        futures.iter_mut().for_each(|future| begin(future, &waker));
        assert_eq!(threads(), 1 + 2);
        for (index, stream) in streams.iter().enumerate() {
            write(stream, 1);
            until("the task is woken", || tally.count() == index + 1);
        }
        // What was left is filled up again.
        let mut again: Vec<NextAfter> = streams.iter().map(|stream| stream.next_after(1)).collect();
        again.iter_mut().for_each(|future| begin(future, &waker));
        assert_eq!(threads(), 1 + 2);
    });
}

#[test]
fn a_dropped_future_leaves_nothing_behind() {
    let scratch = scratch();
    drop(create(&scratch, "cancelled"));
    // The system shows the mappings of its creator under another name.
    let stream = scratch.directory.open("cancelled").expect("open");
    let tally = Arc::new(Tally::default());
    let waker = Waker::from(Arc::clone(&tally));
    let mut futures: Vec<NextAfter> = (0..10).map(|_| stream.next_after(0)).collect();
    futures.iter_mut().for_each(|future| begin(future, &waker));
    drop(waker);
    let kept = futures.split_off(9);
    drop(futures);
    assert_eq!(Arc::strong_count(&tally), 2, "one waker is left, and this");
    write(&stream, 1);
    until("the one that is left is woken", || tally.count() == 1);
    drop(kept);
    let mut last = stream.next_after(1);
    begin(&mut last, Waker::noop());
    drop(stream);
    let is_mapped = || {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("readable");
        maps.contains("thalweg.cancelled")
    };
    assert!(is_mapped(), "a future holds a share of the mapping");
    drop(last);
    until("the mapping is gone", || !is_mapped());
    assert_eq!(tally.count(), 1, "the others were not woken");
}

#[test]
fn a_future_wakes_the_task_that_polled_it_last() {
    let scratch = scratch();
    let stream = create(&scratch, "s");
    let (first, second) = (Arc::new(Tally::default()), Arc::new(Tally::default()));
    let mut future = stream.next_after(0);
    begin(&mut future, &Waker::from(Arc::clone(&first)));
    begin(&mut future, &Waker::from(Arc::clone(&second)));
    assert_eq!(Arc::strong_count(&first), 1, "its waker was dropped");
    write(&stream, 1);
    until("the second is woken", || second.count() == 1);
    assert_eq!(first.count(), 0);
}

#[test]
fn unlinking_and_closing_and_ending_end_futures() {
    let scratch = scratch();
    let stream = create(&scratch, "s");
    let awaiting = {
        let future = stream.next_after(0);
        std::thread::spawn(|| block_on(future))
    };
    stream.unlink().expect("removed");
    let outcome = awaiting.join().expect("no panic");
    assert!(matches!(
        outcome,
        Err(WaitError::Stale {
            reason: StaleReason::Unlinked,
            ..
        })
    ));

    let stream = create(&scratch, "s");
    let other = stream.duplicate();
    let (future, of_other) = (stream.next_after(0), other.next_after(0));
    let awaiting = std::thread::spawn(|| block_on(future));
    stream.close();
    let outcome = awaiting.join().expect("no panic");
    assert!(matches!(outcome, Err(WaitError::Closed { .. })));
    let awaiting = std::thread::spawn(|| block_on(of_other));
    drop(other);
    stream.end();
    let outcome = awaiting.join().expect("no panic");
    assert!(matches!(
        outcome,
        Err(WaitError::Stale {
            reason: StaleReason::Ended,
            ..
        })
    ));
}

#[test]
fn a_name_that_went_without_notice_ends_futures_too() {
    let scratch = scratch();
    let stream = create(&scratch, "s");
    let mut future = stream.next_after(0);
    begin(&mut future, Waker::noop());
    std::fs::remove_file(scratch.folder.path().join("thalweg.s")).expect("removed");
    assert!(matches!(
        block_on(future),
        Err(WaitError::Stale {
            reason: StaleReason::Unlinked,
            ..
        })
    ));
}

#[test]
fn a_frame_given_up_ends_only_those_waits_that_heed_it() {
    let scratch = scratch();
    let options = StreamOptions {
        strict: true,
        ..StreamOptions::new(DType::Uint64, &[4])
    };
    let stream = scratch
        .directory
        .create("strict", &options)
        .expect("created");
    write(&stream, 1);
    let (heeding, patient) = (stream.next_after(1), stream.next_frame_after(1));
    let awaiting = std::thread::spawn(|| block_on(patient));
    let heeding = std::thread::spawn(|| block_on(heeding));
    stream.loan(soon()).expect("lent").abort();
    let outcome = heeding.join().expect("no panic");
    assert!(matches!(outcome, Err(WaitError::Inconsistent { .. })));
    write(&stream, 2);
    assert_eq!(awaiting.join().expect("no panic").expect("awaited"), 2);
}

#[test]
fn any_of_several_streams_ends_the_wait() {
    let scratch = scratch();
    let (first, second) = (create(&scratch, "first"), create(&scratch, "second"));
    for round in 0..200 {
        let future = Stream::any_after(&[(&first, 0), (&second, round)]);
        let awaiting = std::thread::spawn(|| block_on(future));
        write(&second, round);
        assert_eq!(awaiting.join().expect("no panic").expect("awaited"), 1);
    }
    let none = block_on(Stream::any_after(&[]));
    assert!(matches!(none, Err(WaitError::NoStream)));
}

/// Awaits and drops futures of its own from inside a wake-up.
struct Busy {
    stream: Stream,
    begun: Mutex<Vec<NextAfter>>,
}

impl Wake for Busy {
    fn wake(self: Arc<Self>) {
        let mut future = self.stream.next_after(100);
        begin(&mut future, Waker::noop());
        drop(future);
        let mut future = self.stream.next_after(100);
        begin(&mut future, Waker::noop());
        self.begun.lock().expect("no panic").push(future);
    }
}

/// Fails.
struct Panicking;

impl Wake for Panicking {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics, on purpose");
    }
}

#[test]
fn wakers_may_do_anything() {
    let scratch = scratch();
    let stream = create(&scratch, "s");
    let busy = Arc::new(Busy {
        stream: stream.duplicate(),
        begun: Mutex::default(),
    });
    let tally = Arc::new(Tally::default());
    let wakers = [
        Waker::from(Arc::new(Panicking)),
        Waker::from(Arc::clone(&busy)),
        Waker::from(Arc::clone(&tally)),
    ];
    let mut futures = [(); 3].map(|()| stream.next_after(0));
    for (future, waker) in futures.iter_mut().zip(&wakers) {
        begin(future, waker);
    }
    write(&stream, 1);
    until("the last is woken", || tally.count() == 1);
    assert_eq!(busy.begun.lock().expect("no panic").len(), 1);
    for future in futures {
        assert_eq!(block_on(future).expect("there"), 1);
    }
}

#[test]
fn a_writer_in_another_process_ends_the_wait() {
    let scratch = scratch();
    let stream = create(&scratch, "s");
    for round in 0..50 {
        let (mut told, mut tell) = std::io::pipe().expect("a pipe");
        let child = start(|| {
            let stream = scratch.directory.open("s").expect("open");
            told.read_exact(&mut [0]).expect("told");
            write(&stream, round);
        });
        let mut future = stream.next_after(round);
        begin(&mut future, Waker::noop());
        tell.write_all(&[1]).expect("told");
        assert_eq!(block_on(future).expect("awaited"), round + 1);
        finish(child);
    }
}

#[test]
fn a_forked_child_awaits_with_a_thread_of_its_own() {
    let scratch = scratch();
    let stream = create(&scratch, "s");
    let mut future = Some(stream.next_after(0));
    if let Some(future) = &mut future {
        begin(future, Waker::noop());
    }
    let mut dropped = Some(stream.next_after(0));
    if let Some(future) = &mut dropped {
        begin(future, Waker::noop());
    }
    in_a_fork(|| {
        drop(dropped.take());
        assert_eq!(threads(), 1, "threads are not inherited");
        let future = future.take().expect("inherited");
        let awaiting = std::thread::spawn(|| block_on(future));
        until("it waits", || threads() == 3);
        write(&stream, 1);
        assert_eq!(awaiting.join().expect("no panic").expect("awaited"), 1);
        let awaiting = block_on(stream.next_after(0));
        assert_eq!(awaiting.expect("there"), 1);
    });
    let future = future.take().expect("still the parent's");
    assert_eq!(block_on(future).expect("awaited"), 1);
}

#[test]
fn a_process_ends_while_futures_are_pending() {
    let scratch = scratch();
    let stream = create(&scratch, "s");
    in_a_fork(|| {
        let mut future = stream.next_after(0);
        begin(&mut future, Waker::noop());
        assert_eq!(threads(), 1 + 1);
        // SAFETY: runs exit handlers and ends the process, as returning from `main` does.
        unsafe { libc::exit(0) };
    });
}

#[test]
fn streams_are_opened_as_soon_as_they_exist() {
    let scratch = scratch();
    for round in 0..30 {
        let name = format!("s{round}");
        let future = is_send_and_static(scratch.directory.open_when_created(&name));
        let opening = std::thread::spawn(|| block_on(future));
        drop(create(&scratch, &format!("other{round}")));
        drop(create(&scratch, &name));
        let stream = opening.join().expect("no panic").expect("opened");
        assert_eq!(stream.header().name, name);
    }
    let broken = scratch.folder.path().join("thalweg.broken");
    std::fs::write(broken, b"no stream").expect("written");
    let refused = block_on(scratch.directory.open_when_created("broken"));
    assert!(matches!(refused, Err(OpenError::Header { .. })));
}

#[test]
fn a_folder_that_comes_goes_and_comes_is_watched() {
    let scratch = scratch();
    let folder = scratch.folder.path().join("later");
    let directory = StreamDirectory::new(&folder);
    let future = directory.open_when_created("s");
    let opening = std::thread::spawn(|| block_on(future));
    for _ in 0..20 {
        std::fs::create_dir(&folder).expect("made");
        std::fs::remove_dir(&folder).expect("removed");
    }
    std::fs::create_dir(&folder).expect("made");
    let options = StreamOptions::new(DType::Uint64, &[4]);
    drop(directory.create("s", &options).expect("created"));
    opening.join().expect("no panic").expect("opened");
}

#[test]
fn any_number_of_openings_share_one_thread_that_ends_with_them() {
    let scratch = scratch();
    in_a_fork(|| {
        let tally = Arc::new(Tally::default());
        let waker = Waker::from(Arc::clone(&tally));
        let mut openings: Vec<_> = (0..100)
            .map(|index| scratch.directory.open_when_created(&format!("s{index}")))
            .collect();
        for opening in &mut openings {
            let polled = Pin::new(opening).poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
        }
        assert_eq!(threads(), 1 + 1);
        drop(openings.split_off(1));
        drop(waker);
        assert_eq!(Arc::strong_count(&tally), 2, "one waker is left, and this");
        drop(create(&scratch, "s0"));
        until("it is woken", || tally.count() == 1);
        let opened = block_on(openings.remove(0)).expect("opened");
        assert_eq!(opened.header().name, "s0");
        until("the thread has ended", || threads() == 1);
    });
}

#[test]
fn who_may_only_read_awaits_and_closes_too() {
    let scratch = scratch();
    // SAFETY: asks who this is.
    let is_root = unsafe { libc::geteuid() } == 0;
    let options = StreamOptions {
        // Nothing keeps the superuser from writing, so then the child becomes somebody else.
        mode: if is_root { 0o644 } else { 0o444 },
        ..StreamOptions::new(DType::Uint64, &[4])
    };
    let folder = scratch.folder.path();
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).expect("ours");
    let (mut told, tell) = std::io::pipe().expect("a pipe");
    // Before there is a handle that may write, which would be the child's as well.
    let child = start(|| {
        if is_root {
            // SAFETY: gives rights up, for good.
            assert_eq!(unsafe { libc::setgid(65534) }, 0);
            // SAFETY: as above.
            assert_eq!(unsafe { libc::setuid(65534) }, 0);
        }
        let stream = block_on(scratch.directory.open_when_created("s")).expect("opened");
        assert!(!stream.is_writable());
        for count in 1..20 {
            let mut future = stream.next_after(count - 1);
            begin(&mut future, Waker::noop());
            (&tell).write_all(&[1]).expect("told");
            assert_eq!(block_on(future).expect("awaited"), count);
        }
        let future = stream.next_after(100);
        let awaiting = std::thread::spawn(|| block_on(future));
        stream.close();
        let outcome = awaiting.join().expect("no panic");
        assert!(matches!(outcome, Err(WaitError::Closed { .. })));
    });
    let stream = scratch.directory.create("s", &options).expect("created");
    for value in 1..20 {
        told.read_exact(&mut [0]).expect("told");
        write(&stream, value);
    }
    finish(child);
}
