//! Frames read while they are written, as their users see them.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use thalweg_os::clock::deadline_after;
use thalweg_shm::stream::error::{CreateError, RowsError, WaitError, WriteError};
use thalweg_shm::{
    ArrayRef, DType, Loan, Patience, PublishOptions, RowProgress, Stream, StreamDirectory,
    StreamOptions, WaitPolicy,
};

const ROWS: usize = 8;
const COLUMNS: usize = 5;

/// A directory of its own per test.
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
    fn stream(&self, slots: usize) -> Stream {
        let options = StreamOptions {
            slots,
            progressive: true,
            ..StreamOptions::new(DType::Uint64, &[ROWS, COLUMNS])
        };
        self.directory.create("s", &options).unwrap()
    }
}

fn soon() -> Patience<'static> {
    Patience::until(deadline_after(Duration::from_secs(20)))
}

fn at_once() -> Patience<'static> {
    Patience::until(0)
}

/// Writes rows up to `rows` of frame `value` and announces them.
fn write_rows(loan: &mut Loan, from: usize, rows: usize, value: u64) {
    for row in from..rows {
        let words = [value * 100 + row as u64; COLUMNS];
        let mut array = loan.array().unwrap();
        array.copy_range_from(row * COLUMNS, &words).unwrap();
    }
    loan.announce_rows(rows).unwrap();
}

fn write(stream: &Stream, value: u64) {
    let mut loan = stream.loan(soon()).unwrap();
    write_rows(&mut loan, 0, ROWS, value);
    loan.publish(PublishOptions::default()).unwrap();
}

/// Reads rows and checks that they are those of frame `value`.
fn assert_rows(stream: &Stream, progress: &RowProgress, from: usize, rows: usize, value: u64) {
    let mut out = vec![0; (rows - from) * COLUMNS * 8];
    stream
        .read_rows_into(progress, from..rows, &mut out)
        .unwrap();
    let expected = (from..rows).flat_map(|row| [value * 100 + row as u64; COLUMNS]);
    let expected: Vec<u8> = expected.flat_map(u64::to_ne_bytes).collect();
    assert_eq!(out, expected);
}

fn wait(stream: &Stream, after: u64, rows: usize) -> Result<RowProgress, RowsError> {
    stream.wait_rows(after, rows, WaitPolicy::Park, at_once())
}

#[test]
fn rows_are_read_before_their_frame_is_there() {
    let scratch = scratch();
    for slots in [2, 4] {
        let stream = scratch.stream(slots);
        write(&stream, 1);
        let complete = wait(&stream, 0, ROWS).unwrap();
        assert_eq!((complete.count(), complete.rows()), (1, ROWS));
        assert!(complete.is_complete());
        assert_rows(&stream, &complete, 0, ROWS, 1);
        let mut loan = stream.loan(soon()).unwrap();
        assert!(matches!(
            wait(&stream, 1, 1),
            Err(RowsError::Wait(WaitError::TimedOut { after: 1, .. }))
        ));
        write_rows(&mut loan, 0, 3, 2);
        let begun = wait(&stream, 1, 2).unwrap();
        assert_eq!(
            (begun.count(), begun.rows(), begun.is_complete()),
            (2, 3, false)
        );
        assert_rows(&stream, &begun, 0, 3, 2);
        assert_eq!(stream.count(), 1, "not published");
        write_rows(&mut loan, 3, 6, 2);
        let further = stream.wait_more_rows(&begun, 5, WaitPolicy::Park, at_once());
        let further = further.unwrap();
        assert!(further.is_same_writing(&begun));
        assert_rows(&stream, &further, 3, 6, 2);
        write_rows(&mut loan, 6, ROWS, 2);
        loan.publish(PublishOptions::default()).unwrap();
        let mut out = vec![0; 8 * COLUMNS];
        let now = stream.read_rows_into(&further, 0..1, &mut out).unwrap();
        assert!(now.is_complete() && now.rows() == ROWS);
        assert_rows(&stream, &now, 6, ROWS, 2);
        stream.unlink().unwrap();
    }
}

#[test]
fn a_frame_that_is_given_up_is_told_from_its_next_attempt() {
    let scratch = scratch();
    let stream = scratch.stream(2);
    write(&stream, 1);
    let mut loan = stream.loan(soon()).unwrap();
    write_rows(&mut loan, 0, 4, 2);
    let begun = wait(&stream, 1, 4).unwrap();
    loan.abort();
    let mut out = vec![0; 8 * COLUMNS];
    let is_aborted = |result: Result<RowProgress, RowsError>| {
        let error = result.unwrap_err();
        assert!(
            matches!(error, RowsError::FrameAborted { count: 2, .. }),
            "{error}"
        );
    };
    is_aborted(stream.read_rows_into(&begun, 0..1, &mut out));
    is_aborted(stream.wait_more_rows(&begun, 5, WaitPolicy::Park, soon()));
    assert!(wait(&stream, 1, 1).is_err(), "nothing is being written");
    let mut loan = stream.loan(soon()).unwrap();
    write_rows(&mut loan, 0, 4, 3);
    let again = wait(&stream, 1, 4).unwrap();
    assert_eq!(again.count(), begun.count());
    assert!(!again.is_same_writing(&begun));
    is_aborted(stream.read_rows_into(&begun, 0..1, &mut out));
    assert_rows(&stream, &again, 0, 4, 3);
    write_rows(&mut loan, 4, ROWS, 3);
    loan.publish(PublishOptions::default()).unwrap();
    is_aborted(stream.read_rows_into(&begun, 0..1, &mut out));
    assert_rows(&stream, &again, 0, 4, 3);
}

#[test]
fn a_frame_that_is_replaced_is_overtaken() {
    let scratch = scratch();
    let stream = scratch.stream(3);
    write(&stream, 1);
    let first = wait(&stream, 0, 1).unwrap();
    (2..=5).for_each(|value| write(&stream, value));
    let mut out = vec![0; 8 * COLUMNS];
    let overtaken = stream.read_rows_into(&first, 0..1, &mut out);
    assert!(matches!(
        overtaken,
        Err(RowsError::Overtaken { count: 1, .. })
    ));
    let newest = wait(&stream, 1, 1).unwrap();
    assert_eq!(newest.count(), 5);
}

#[test]
fn announcements_are_checked() {
    let scratch = scratch();
    let stream = scratch.stream(4);
    let mut loan = stream.loan(soon()).unwrap();
    loan.announce_rows(5).unwrap();
    loan.announce_rows(5).unwrap();
    for found in [4, ROWS + 1] {
        let error = loan.announce_rows(found).unwrap_err();
        assert!(
            matches!(error, WriteError::Rows { announced: 5, .. }),
            "{error}"
        );
    }
    loan.announce_rows(ROWS).unwrap();
    assert!(matches!(
        wait(&stream, 0, ROWS + 1),
        Err(RowsError::Rows { of_rows: ROWS, .. })
    ));
    let begun = wait(&stream, 0, ROWS).unwrap();
    let size = stream.read_rows_into(&begun, 0..1, &mut [0; 3]);
    assert!(matches!(size, Err(RowsError::Size { .. })));
    drop(loan);
    let options = StreamOptions::new(DType::Uint8, &[4]);
    let plain = scratch.directory.create("plain", &options).unwrap();
    let refused = plain.loan(soon()).unwrap().announce_rows(1);
    assert!(matches!(refused, Err(WriteError::NotProgressive { .. })));
    assert!(matches!(
        wait(&plain, 0, 1),
        Err(RowsError::NotProgressive { .. })
    ));
    let options = StreamOptions {
        progressive: true,
        ..StreamOptions::new(DType::Uint8, &[1 << 24])
    };
    let too_many = scratch.directory.create("long", &options);
    assert!(matches!(too_many, Err(CreateError::Geometry(_))));
}

#[test]
fn sleepers_on_rows_are_woken_by_rows_frames_aborts_and_the_end() {
    let scratch = scratch();
    let stream = scratch.stream(4);
    for policy in [WaitPolicy::Park, WaitPolicy::Adaptive] {
        let start = stream.count();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                for round in 1..=300 {
                    let count = start + round;
                    let mut progress = stream.wait_rows(count - 1, 1, policy, soon()).unwrap();
                    let mut done = 0;
                    while progress.count() == count {
                        let rows = progress.rows();
                        let mut out = vec![0; (rows - done) * COLUMNS * 8];
                        let read = stream.read_rows_into(&progress, done..rows, &mut out);
                        done = rows;
                        if read.is_err() || rows == ROWS {
                            break;
                        }
                        match stream.wait_more_rows(&progress, rows + 1, policy, soon()) {
                            Ok(further) => progress = further,
                            Err(RowsError::Overtaken { .. }) => break,
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            });
            for round in 1..=300 {
                let mut loan = stream.loan(soon()).unwrap();
                for rows in 1..=ROWS {
                    write_rows(&mut loan, rows - 1, rows, round);
                }
                loan.publish(PublishOptions::default()).unwrap();
            }
            reader.join().unwrap();
        });
    }
    let start = stream.count();
    std::thread::scope(|scope| {
        let mut loan = stream.loan(soon()).unwrap();
        write_rows(&mut loan, 0, 2, 9);
        let begun = wait(&stream, start, 2).unwrap();
        let stream = &stream;
        let waiting =
            scope.spawn(move || stream.wait_more_rows(&begun, 3, WaitPolicy::Park, soon()));
        loan.abort();
        let given_up = waiting.join().unwrap();
        assert!(matches!(given_up, Err(RowsError::FrameAborted { .. })));
        let waiting = scope.spawn(move || stream.wait_rows(start, 1, WaitPolicy::Park, soon()));
        stream.end();
        let ended = waiting.join().unwrap();
        assert!(matches!(
            ended,
            Err(RowsError::Wait(WaitError::Stale { .. }))
        ));
    });
}

#[test]
fn sleepers_on_frames_sleep_through_rows() {
    let scratch = scratch();
    let stream = scratch.stream(4);
    write(&stream, 1);
    let looks = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let interrupt = || {
                looks.fetch_add(1, Ordering::Relaxed);
                false
            };
            let patience = Patience {
                interrupt: Some(&interrupt),
                ..soon()
            };
            stream.wait_after(1, WaitPolicy::Park, patience)
        });
        // Once it was woken for nothing it sleeps again.
        while looks.load(Ordering::Relaxed) == 0 {
            stream.nudge();
            std::thread::yield_now();
        }
        let begun = Instant::now();
        let before = looks.load(Ordering::Relaxed);
        // Frames that are given up in a lenient stream are not its business either.
        while begun.elapsed() < Duration::from_millis(50) {
            let mut loan = stream.loan(soon()).unwrap();
            for rows in 1..=ROWS {
                write_rows(&mut loan, rows - 1, rows, 2);
            }
            loan.abort();
        }
        let woken = looks.load(Ordering::Relaxed) - before;
        // By the last nudges, and by the ends of slices.
        let others = begun.elapsed().as_millis() as u64 / 100 + 3;
        assert!(woken <= others, "woken {woken} times");
        write(&stream, 2);
        assert_eq!(waiting.join().unwrap().unwrap(), 2);
    });
}

#[test]
fn whole_frames_are_written_and_read_as_ever() {
    let scratch = scratch();
    let stream = scratch.stream(4);
    let payload = [7u64; ROWS * COLUMNS];
    let array = ArrayRef::from_slice(&payload, stream.shape());
    stream
        .write(array, PublishOptions::default(), soon())
        .unwrap();
    let progress = wait(&stream, 0, ROWS).unwrap();
    assert!(progress.is_complete());
    assert_eq!(stream.read(None).unwrap().1.count, 1);
}
