//! Waits for a producer that keeps a pace, which adaptive waiters sleep and spin for in turns.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use thalweg_os::clock::{deadline_after, monotonic_ns};
use thalweg_shm::stream::error::WaitError;
use thalweg_shm::{
    ArrayRef, DType, Patience, PublishOptions, Stream, StreamDirectory, StreamOptions, WaitPolicy,
};

const PERIOD_NS: u64 = 500_000;
const FRAMES: u64 = 200;

fn soon() -> Patience<'static> {
    Patience::until(deadline_after(Duration::from_secs(20)))
}

/// A writer's and a reader's handle of a stream in a directory of its own.
fn pair() -> (tempfile::TempDir, Stream, Stream) {
    let folder = tempfile::Builder::new()
        .prefix("thalweg-test-")
        .tempdir_in("/dev/shm")
        .unwrap();
    let directory = StreamDirectory::new(folder.path());
    let writer = directory
        .create("paced", &StreamOptions::new(DType::Uint64, &[1]))
        .unwrap();
    let reader = directory.open("paced").unwrap();
    (folder, writer, reader)
}

/// Publishes frames on a schedule, as a camera does.
fn keep_pace(writer: &Stream) {
    let start_ns = monotonic_ns();
    for frame in 1..=FRAMES {
        let due_ns = start_ns + frame * PERIOD_NS;
        std::thread::sleep(Duration::from_nanos(due_ns.saturating_sub(monotonic_ns())));
        writer
            .write(
                ArrayRef::from_slice(&[frame], writer.shape()),
                PublishOptions::default(),
                soon(),
            )
            .unwrap();
    }
}

/// Waits for every frame of the pace.
fn learn_pace(writer: &Stream, reader: &Stream) {
    std::thread::scope(|scope| {
        scope.spawn(|| keep_pace(writer));
        let mut seen = 0;
        while seen < FRAMES {
            let count = reader
                .wait_after(seen, WaitPolicy::Adaptive, soon())
                .unwrap();
            assert!(count > seen, "a wait ended without a frame");
            seen = count;
        }
    });
}

#[test]
fn a_lossless_reader_gets_every_frame_of_a_pace() {
    let (_folder, writer, reader) = pair();
    let mut frames = reader.subscribe(2).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| keep_pace(&writer));
        for expected in 1..=FRAMES {
            let frame = frames.next(WaitPolicy::Adaptive, soon()).unwrap();
            assert_eq!(frame.array().to_vec::<u64>().unwrap(), [expected]);
        }
    });
}

#[test]
fn waits_for_a_pace_that_has_ended_end_as_all_others_do() {
    let (_folder, writer, reader) = pair();
    learn_pace(&writer, &reader);
    for timeout_us in [0, 50, 400, 600, 3_000] {
        let patience = Patience::until(deadline_after(Duration::from_micros(timeout_us)));
        let late = reader.wait_after(FRAMES, WaitPolicy::Adaptive, patience);
        assert!(matches!(late, Err(WaitError::TimedOut { .. })), "{late:?}");
    }
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| reader.wait_after(FRAMES, WaitPolicy::Adaptive, soon()));
        reader.close();
        let closed = waiter.join().unwrap();
        assert!(
            matches!(closed, Err(WaitError::Closed { .. })),
            "{closed:?}"
        );
    });
}

#[test]
fn removing_the_stream_ends_a_wait_for_its_pace() {
    let (_folder, writer, reader) = pair();
    learn_pace(&writer, &reader);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| reader.wait_after(FRAMES, WaitPolicy::Adaptive, soon()));
        writer.unlink().unwrap();
        let stale = waiter.join().unwrap();
        assert!(matches!(stale, Err(WaitError::Stale { .. })), "{stale:?}");
    });
}
