//! Waiting for rows of frames as futures: what ends them, and what they leave behind.
#![cfg(not(loom))]

#[path = "support/executor.rs"]
mod executor;
#[path = "support/forking.rs"]
#[expect(dead_code, reason = "for other tests")]
mod forking;

use std::io::{Read, Write};
use std::sync::Arc;
use std::task::Waker;

use executor::{Tally, begin, block_on, threads, until};
use forking::{Scratch, in_a_fork, scratch, soon, start, write};
use thalweg_shm::stream::error::{RowsError, WaitError};
use thalweg_shm::{DType, Loan, NextRows, PublishOptions, StaleReason, Stream, StreamOptions};

const ROWS: usize = 8;

fn create(scratch: &Scratch, name: &str) -> Stream {
    let options = StreamOptions {
        progressive: true,
        ..StreamOptions::new(DType::Uint64, &[ROWS, 3])
    };
    scratch.directory.create(name, &options).expect("created")
}

/// Waits on another thread, and goes on once that is asleep on behalf of `future`.
fn await_elsewhere(
    mut future: NextRows,
) -> std::thread::JoinHandle<Result<thalweg_shm::RowProgress, RowsError>> {
    begin(&mut future, Waker::noop());
    std::thread::spawn(|| block_on(future))
}

fn fill(loan: &mut Loan, from: usize, rows: usize, value: u64) {
    let mut array = loan.array().expect("mapped");
    let words = vec![value; (rows - from) * 3];
    array.copy_range_from(from * 3, &words).expect("inside");
    loan.announce_rows(rows).expect("announced");
}

#[test]
fn rows_end_the_wait_before_their_frame_is_there() {
    let scratch = scratch();
    let stream = create(&scratch, "s");
    write(&stream, 1);
    let whole = block_on(stream.next_rows(0, ROWS)).expect("there already");
    assert!(whole.is_complete());

    let awaiting = await_elsewhere(stream.next_rows(1, 3));
    let mut loan = stream.loan(soon()).expect("lent");
    fill(&mut loan, 0, 2, 2);
    fill(&mut loan, 2, 4, 2);
    let begun = awaiting.join().expect("no panic").expect("awaited");
    assert_eq!((begun.count(), begun.rows()), (2, 4));
    assert!(!begun.is_complete() && stream.count() == 1);

    let awaiting = await_elsewhere(stream.next_more_rows(&begun, 6));
    fill(&mut loan, 4, 6, 2);
    let more = awaiting.join().expect("no panic").expect("awaited");
    assert!(more.is_same_writing(&begun) && more.rows() == 6);
    let mut out = [0; 6 * 3 * 8];
    stream.read_rows_into(&more, 0..6, &mut out).expect("kept");
    assert!(out.chunks_exact(8).all(|word| word == 2u64.to_ne_bytes()));

    // The last rows are announced by the publication alone.
    let awaiting = await_elsewhere(stream.next_more_rows(&begun, ROWS));
    loan.publish(PublishOptions::default()).expect("published");
    let whole = awaiting.join().expect("no panic").expect("awaited");
    assert!(whole.is_same_writing(&begun) && whole.is_complete());
}

#[test]
fn no_row_is_missed_in_an_exchange() {
    const FRAMES: u64 = 200;
    let scratch = scratch();
    let (there, back) = (create(&scratch, "there"), create(&scratch, "back"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for frame in 0..FRAMES {
                let mut begun = block_on(there.next_rows(frame, 1)).expect("awaited");
                let mut loan = back.loan(soon()).expect("lent");
                fill(&mut loan, 0, 1, frame);
                for rows in 2..=ROWS {
                    begun = block_on(there.next_more_rows(&begun, rows)).expect("awaited");
                    fill(&mut loan, rows - 1, rows, frame);
                }
                loan.publish(PublishOptions::default()).expect("published");
            }
        });
        for frame in 0..FRAMES {
            let mut loan = there.loan(soon()).expect("lent");
            fill(&mut loan, 0, 1, frame);
            let mut begun = block_on(back.next_rows(frame, 1)).expect("awaited");
            for rows in 2..=ROWS {
                fill(&mut loan, rows - 1, rows, frame);
                begun = block_on(back.next_more_rows(&begun, rows)).expect("awaited");
            }
            loan.publish(PublishOptions::default()).expect("published");
            let whole = block_on(back.next_after(frame)).expect("awaited");
            assert_eq!(whole, frame + 1);
        }
    });
}

#[test]
fn a_frame_given_up_ends_only_those_waits_that_have_rows_of_it() {
    let scratch = scratch();
    let stream = create(&scratch, "s");
    let mut loan = stream.loan(soon()).expect("lent");
    fill(&mut loan, 0, 2, 1);
    let begun = block_on(stream.next_rows(0, 2)).expect("there");
    let of_it = await_elsewhere(stream.next_more_rows(&begun, 3));
    let of_any = await_elsewhere(stream.next_rows(0, 3));
    loan.abort();
    let outcome = of_it.join().expect("no panic");
    assert!(matches!(
        outcome,
        Err(RowsError::FrameAborted { count: 1, .. })
    ));
    let mut loan = stream.loan(soon()).expect("lent");
    fill(&mut loan, 0, 3, 2);
    let again = of_any.join().expect("no panic").expect("awaited");
    assert!(again.count() == 1 && !again.is_same_writing(&begun));
}

#[test]
fn the_end_of_the_writer_the_stream_and_the_handle_end_waits() {
    let scratch = scratch();
    let stream = create(&scratch, "s");
    let (mut told, tell) = std::io::pipe().expect("a pipe");
    let writer = start(|| {
        let stream = scratch.directory.open("s").expect("open");
        let mut loan = stream.loan(soon()).expect("lent");
        fill(&mut loan, 0, 2, 1);
        (&tell).write_all(&[1]).expect("told");
        std::thread::park();
    });
    told.read_exact(&mut [0]).expect("told");
    let begun = block_on(stream.next_rows(0, 2)).expect("there");
    let of_it = await_elsewhere(stream.next_more_rows(&begun, 3));
    let mut of_any = stream.next_rows(0, 3);
    begin(&mut of_any, Waker::noop());
    writer.kill();
    // Nobody tells of this death: nobody wants the lock.
    let outcome = of_it.join().expect("no panic");
    assert!(matches!(
        outcome,
        Err(RowsError::FrameAborted { count: 1, .. })
    ));
    let other = stream.duplicate();
    let of_other = await_elsewhere(other.next_rows(0, 3));
    other.close();
    let outcome = of_other.join().expect("no panic");
    assert!(matches!(
        outcome,
        Err(RowsError::Wait(WaitError::Closed { .. }))
    ));
    stream.end();
    assert!(matches!(
        block_on(of_any),
        Err(RowsError::Wait(WaitError::Stale {
            reason: StaleReason::Ended,
            ..
        }))
    ));
}

#[test]
fn what_can_never_be_awaited_is_refused() {
    let scratch = scratch();
    let stream = create(&scratch, "s");
    assert!(matches!(
        block_on(stream.next_rows(0, ROWS + 1)),
        Err(RowsError::Rows { of_rows: ROWS, .. })
    ));
    let options = StreamOptions::new(DType::Uint8, &[4]);
    let plain = scratch.directory.create("plain", &options);
    assert!(matches!(
        block_on(plain.expect("created").next_rows(0, 1)),
        Err(RowsError::NotProgressive { .. })
    ));
}

#[test]
fn waits_for_rows_and_frames_share_one_thread_and_leave_nothing_behind() {
    let scratch = scratch();
    // In a process of its own, whose reactor has seen no other test.
    in_a_fork(|| {
        let stream = create(&scratch, "s");
        let (rows, frames) = (Arc::new(Tally::default()), Arc::new(Tally::default()));
        let (row_waker, frame_waker) = (
            Waker::from(Arc::clone(&rows)),
            Waker::from(Arc::clone(&frames)),
        );
        let mut of_rows: Vec<_> = (0..100).map(|_| stream.next_rows(0, 2)).collect();
        let mut of_frames: Vec<_> = (0..100).map(|_| stream.next_after(0)).collect();
        of_rows.iter_mut().for_each(|wait| begin(wait, &row_waker));
        of_frames
            .iter_mut()
            .for_each(|wait| begin(wait, &frame_waker));
        assert_eq!(threads(), 1 + 1);
        drop(row_waker);
        drop(of_rows.split_off(50));
        assert_eq!(Arc::strong_count(&rows), 50 + 1, "half of them are left");
        let mut loan = stream.loan(soon()).expect("lent");
        fill(&mut loan, 0, 2, 1);
        until("the rows are told of", || rows.count() == 50);
        assert_eq!(frames.count(), 0, "frames are not, before they are there");
        assert_eq!(Arc::strong_count(&rows), 1);
        loan.publish(PublishOptions::default()).expect("published");
        until("the frame is told of", || frames.count() == 100);
        assert_eq!(rows.count(), 50, "each task was woken once");
    });
}
