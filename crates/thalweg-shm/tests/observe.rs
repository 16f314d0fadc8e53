//! What an observer sees of a stream, and that nobody notices it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use thalweg_os::clock::deadline_after;
use thalweg_os::process::Liveness;
use thalweg_shm::stream::error::OpenError;
use thalweg_shm::stream::observe::{
    ObservedPin, ObservedProcess, ObservedSlot, ObservedSubscriber,
};
use thalweg_shm::{
    ArrayRef, DType, Patience, PublishOptions, StaleReason, Stream, StreamDirectory, StreamOptions,
    WaitPolicy,
};

fn scratch() -> (tempfile::TempDir, StreamDirectory) {
    let folder = tempfile::Builder::new()
        .prefix("thalweg-test-")
        .tempdir_in("/dev/shm")
        .unwrap();
    let directory = StreamDirectory::new(folder.path());
    (folder, directory)
}

fn patience() -> Patience<'static> {
    Patience::until(deadline_after(Duration::from_secs(20)))
}

fn write(stream: &Stream, value: u64) {
    let options = PublishOptions {
        frame_id: Some(value),
        origin_ns: Some(1),
    };
    stream
        .write(ArrayRef::from_slice(&[value], &[1]), options, patience())
        .unwrap();
}

fn this_process() -> ObservedProcess {
    ObservedProcess {
        pid: Some(std::process::id()),
        liveness: Liveness::Alive,
    }
}

#[test]
fn what_is_held_is_seen_with_its_holder() {
    let (_folder, directory) = scratch();
    let options = StreamOptions::new(DType::Uint64, &[1]);
    let stream = directory.create("s", &options).unwrap();
    let observer = directory.observe("s").unwrap();
    let fresh = observer.look();
    assert_eq!((fresh.newest.count, fresh.age_ns()), (0, None));
    assert_eq!(fresh.slots, [ObservedSlot::Empty; 4]);
    assert_eq!((fresh.lock_holder, fresh.last_writer), (None, None));
    assert_eq!(fresh.attached, []);

    write(&stream, 7);
    let frame = stream.borrow().unwrap();
    write(&stream, 8);
    let loan = stream.loan(patience()).unwrap();
    let seen = observer.look();
    let held: Vec<u64> = seen.held().iter().map(|one| one.frame_id).collect();
    assert_eq!(held, [7, 8]);
    assert!(seen.slots.contains(&ObservedSlot::Writing { count: 3 }));
    assert_eq!(
        seen.pins,
        [ObservedPin {
            slot: 1,
            holder: this_process()
        }]
    );
    assert_eq!(seen.lock_holder, Some(this_process()));
    assert_eq!(seen.last_writer, Some(this_process()));
    assert_eq!(seen.attached, [this_process()]);
    assert_eq!((seen.pin_limit, seen.creator), (2, Liveness::Alive));
    assert_eq!(seen.latency_ns(), Some(seen.newest.publish_ns - 1));
    assert!(seen.age_ns().is_some() && !seen.is_inconsistent);
    loan.abort();
    drop(frame);
    let seen = observer.look();
    assert_eq!((seen.pins.len(), seen.lock_holder), (0, None));
    assert_eq!((seen.abandoned_frames, seen.newest.count), (1, 2));
}

#[test]
fn lossless_readers_are_seen_with_how_far_they_are_behind() {
    let (_folder, directory) = scratch();
    let options = StreamOptions::new(DType::Uint64, &[1]);
    let stream = directory.create("s", &options).unwrap();
    let observer = directory.observe("s").unwrap();
    assert_eq!(observer.look().lossless, []);
    write(&stream, 1);
    let mut reader = stream.subscribe(3).unwrap();
    write(&stream, 2);
    write(&stream, 3);
    let seen = observer.look();
    let expected = ObservedSubscriber {
        process: this_process(),
        lag: 2,
        budget: 3,
    };
    assert_eq!(seen.lossless, [expected]);
    assert_eq!((seen.reserved_pins, seen.pins.len()), (1, 0));
    assert_eq!(seen.holding_up().count(), 0, "one more frame has room");
    write(&stream, 4);
    let seen = observer.look();
    assert_eq!(seen.holding_up().count(), 1);
    assert!(!seen.writer_waits_for_room, "nobody writes");
    reader.next(WaitPolicy::Park, patience()).unwrap();
    drop(reader);
    assert_eq!(observer.look().lossless, []);
}

#[test]
fn looking_changes_no_byte_of_the_stream() {
    let (folder, directory) = scratch();
    let options = StreamOptions::new(DType::Uint64, &[1]);
    let stream = directory.create("s", &options).unwrap();
    write(&stream, 1);
    let file = folder.path().join("thalweg.s");
    let before = std::fs::read(&file).unwrap();
    for _ in 0..10 {
        directory.observe("s").unwrap().look();
    }
    assert!(std::fs::read(&file).unwrap() == before, "bytes changed");
}

#[test]
fn the_end_of_a_stream_is_seen() {
    let (_folder, directory) = scratch();
    let options = StreamOptions::new(DType::Uint64, &[1]);
    let stream = directory.create("s", &options).unwrap();
    let observer = directory.observe("s").unwrap();
    stream.loan(patience()).unwrap().abort();
    assert!(observer.look().is_inconsistent);
    stream.unlink().unwrap();
    assert_eq!(observer.look().stale, Some(StaleReason::Unlinked));
    let gone = directory.observe("s");
    assert!(matches!(gone, Err(OpenError::Missing { .. })));
    std::fs::write(directory.path().join("thalweg.t"), b"none").unwrap();
    let broken = directory.observe("t");
    assert!(matches!(broken, Err(OpenError::Header { .. })));
}
