//! A peer that may write a segment, and writes whatever it likes into the shared words: every
//! operation of everybody else returns, with an error or with old data, and the name can be removed.
//!
//! Payloads are the peer's to spoil, and so is truncating the file (`docs/segment-format.md`).
#![cfg(not(loom))]

mod peer;
mod user;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use peer::{Peer, Word};
use thalweg_shm::protocol::words::{AttachmentId, Head, LockWord, Sequence, Ticket, Who};
use thalweg_shm::stream::error::{LockError, ReadError, WriteError};
use thalweg_shm::{ArrayRef, Patience, PublishOptions, Stream, WaitPolicy};
use user::{FRAME, NAME, Scratch, briefly, soon, try_everything, write};

/// Far more than all operations of a test may take together.
const WATCHDOG: Duration = Duration::from_secs(100);

/// Runs `work`; fails, and says what it was doing, if it does not end.
fn within_watchdog(work: impl FnOnce(&dyn Fn(String)) + Send + 'static) {
    let (tell, told) = sync_channel::<Option<String>>(100);
    let worker = std::thread::spawn(move || {
        work(&|doing| tell.send(Some(doing)).unwrap_or_default());
        tell.send(None).unwrap_or_default();
    });
    let mut doing = String::from("starting");
    loop {
        match told.recv_timeout(WATCHDOG) {
            Ok(Some(next)) => doing = next,
            // Done, or panicked.
            Ok(None) | Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("hangs: {doing}"),
        }
    }
    if let Err(panic) = worker.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Values worth trying in any word: boundaries, and what the protocol writes elsewhere.
fn values() -> Vec<u64> {
    let somebody = AttachmentId::new(1, 0);
    let beyond_the_table = AttachmentId::new(3, 100);
    let head = |slot, count| Head(0).published(slot, count).0;
    vec![
        0,
        1,
        u64::MAX,
        1 << 63,
        1 << 31,
        head(0, 1),
        head(1, 1000),
        head(2, Sequence::MAX_COUNT),
        head(1, Sequence::MAX_COUNT + 1),
        head(100, 7),
        head(127, (1 << 52) - 1),
        Ticket::new(somebody, 1).0,
        Ticket::new(beyond_the_table, 126).0,
        u64::from(LockWord::held(somebody, false).0),
        u64::from(LockWord::held(beyond_the_table, true).0),
        u64::from(LockWord::held(AttachmentId::new(1, 5), false).0) & 0xff,
        Who::new(0, 1, std::process::id()).0,
        Who::new(63, u64::MAX, u32::MAX).0,
        Sequence::busy(2, 0).0,
        Sequence::complete(2, 9).0,
    ]
}

#[test]
fn every_operation_returns_after_any_word_was_overwritten() {
    within_watchdog(|tell| {
        for slots in [2, 3] {
            for word in Word::all(slots) {
                for value in values() {
                    tell(format!("{slots} slots, {value:#x} written to {word:?}"));
                    let scratch = Scratch::new();
                    let stream = scratch.create(slots);
                    (1..=3).for_each(|frame| write(&stream, frame));
                    let borrowed = stream.borrow().ok();
                    Peer::of(&scratch).put(word, value);
                    // Twice: what failed the first time may have left something behind.
                    try_everything(&scratch, &stream);
                    try_everything(&scratch, &stream);
                    drop((borrowed, stream));
                    scratch.assert_removable();
                }
            }
        }
    });
}

#[test]
fn every_operation_returns_while_words_keep_changing() {
    const ROUNDS: u64 = 150;
    within_watchdog(|tell| {
        for slots in [2, 4] {
            let scratch = Scratch::new();
            let stream = scratch.create(slots);
            let (done, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
            let mut peer = Peer::of(&scratch);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let words = Word::all(slots);
                    while !done.load(Ordering::Relaxed) {
                        peer.scribble(&words, &values());
                    }
                });
                let users = [0, 1].map(|_| {
                    let (scratch, stream, rounds) = (&scratch, stream.duplicate(), &rounds);
                    scope.spawn(move || {
                        for _ in 0..ROUNDS {
                            try_everything(scratch, &stream);
                            rounds.fetch_add(1, Ordering::Relaxed);
                        }
                    })
                });
                while !users.iter().all(|user| user.is_finished()) {
                    tell(format!(
                        "{slots} slots, {} rounds done",
                        rounds.load(Ordering::Relaxed)
                    ));
                    std::thread::park_timeout(Duration::from_millis(50));
                }
                done.store(true, Ordering::Relaxed);
            });
            drop(stream);
            scratch.assert_removable();
        }
    });
}

#[test]
fn a_head_without_its_frame_is_corrupt_and_not_waited_for() {
    for slots in [2, 3] {
        within_watchdog(move |_| {
            let scratch = Scratch::new();
            let stream = scratch.create(slots);
            write(&stream, 1);
            Peer::of(&scratch).put(Word::Head, Head(0).published(0, 77).0);
            assert_eq!(stream.newest().count, 77);
            let refused = stream.read(None);
            assert!(
                matches!(refused, Err(ReadError::Corrupt { .. })),
                "{refused:?}"
            );
            // Readers recover with the next frame of a process that has not written before.
            Peer::of(&scratch).put(Word::LastHolder, 0);
            write(&stream, 2);
            assert_eq!(stream.read(None).expect("readable").1.count, 78);
        });
    }
}

#[test]
fn a_writer_whose_copy_of_head_is_wrong_fails_once() {
    let scratch = Scratch::new();
    let stream = scratch.create(4);
    write(&stream, 1);
    Peer::of(&scratch).put(Word::Head, Head(0).published(2, 77).0);
    let frame = [2u64; FRAME];
    let frame = ArrayRef::from_slice(&frame, &[FRAME]);
    let refused = stream.write(frame, PublishOptions::default(), soon());
    assert!(
        matches!(refused, Err(WriteError::Corrupt { .. })),
        "{refused:?}"
    );
    let published = stream.write(frame, PublishOptions::default(), soon());
    assert_eq!(published.expect("written").count, 78);
    assert_eq!(stream.read(None).expect("readable").1.count, 78);
}

#[test]
fn more_frames_than_a_slot_can_number_are_refused() {
    let scratch = Scratch::new();
    let stream = scratch.create(4);
    for count in [Sequence::MAX_COUNT, (1 << 52) - 1] {
        Peer::of(&scratch).put(Word::Head, Head(0).published(1, count).0);
        let frame = [2u64; FRAME];
        let frame = ArrayRef::from_slice(&frame, &[FRAME]);
        let refused = stream.write(frame, PublishOptions::default(), soon());
        let text = refused.expect_err("no number is left").to_string();
        assert!(text.contains("more frames than"), "{text}");
    }
    scratch.assert_removable();
}

#[test]
fn a_lock_word_of_nobody_is_taken_from_it() {
    let scratch = Scratch::new();
    let stream = scratch.create(4);
    for word in [
        LockWord::held(AttachmentId::new(9, 100), false).0,
        LockWord::held(AttachmentId::new(9, 3), true).0,
        0xfe,
    ] {
        Peer::of(&scratch).put(Word::Lock, u64::from(word));
        drop(stream.lock(soon()).expect("nobody holds it"));
    }
    write(&stream, 1);
}

#[test]
fn a_lock_word_that_keeps_changing_does_not_keep_a_deadline_from_passing() {
    within_watchdog(|_| {
        let scratch = Scratch::new();
        let stream = scratch.create(4);
        let done = AtomicBool::new(false);
        let mut peer = Peer::of(&scratch);
        let dead: Vec<u64> = (0..64)
            .map(|row| u64::from(LockWord::held(AttachmentId::new(9, row), true).0))
            .collect();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    peer.scribble(&[Word::Lock], &dead);
                }
            });
            for _ in 0..50 {
                match stream.lock(Patience::until(0)) {
                    Ok(_) | Err(LockError::TimedOut { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            done.store(true, Ordering::Relaxed);
        });
    });
}

#[test]
fn giving_a_lock_back_leaves_the_lock_of_another_alone() {
    let scratch = Scratch::new();
    let stream = scratch.create(4);
    let peer = Peer::of(&scratch);
    let other = LockWord::held(AttachmentId::new(9, 40), true);
    let lock = stream.lock(soon()).expect("free");
    peer.put(Word::Lock, u64::from(other.0));
    drop(lock);
    assert_eq!(peer.get(Word::Lock) as u32, other.0);
    drop(stream.lock(soon()).expect("its holder does not exist"));
}

#[test]
fn a_forged_identity_is_told_about_and_removed() {
    // Offsets of pid, flags, start time and namespace of the creator.
    for (at, bytes) in [
        (48, &[0xff; 4][..]),
        (48, &[0, 0, 0, 0x80]),
        (56, &[0xff; 8]),
        (64, &[0xff; 8]),
    ] {
        let scratch = Scratch::new();
        drop(scratch.create(4));
        Peer::of(&scratch).forge_identity(at, bytes);
        assert_eq!(scratch.directory.list().expect("readable"), [NAME]);
        scratch.directory.stat(NAME).expect("a valid identity");
        let stream = scratch.directory.open(NAME).expect("a valid identity");
        assert!(!stream.is_abandoned());
        write(&stream, 1);
        let purged = scratch.directory.purge("", false).expect("readable");
        assert_eq!(purged.len(), 1);
        assert_eq!(scratch.directory.list().expect("readable"), [""; 0]);
    }
}

#[test]
fn waits_see_their_deadline_whatever_the_head_says() {
    within_watchdog(|_| {
        let scratch = Scratch::new();
        let stream = scratch.create(3);
        let peer = Peer::of(&scratch);
        for head in values() {
            peer.put(Word::Head, head);
            for policy in [WaitPolicy::Park, WaitPolicy::Adaptive, WaitPolicy::Spin] {
                for after in [0, u64::MAX - 1] {
                    stream.wait_after(after, policy, briefly()).ok();
                    stream.wait_for_frame(after, policy, briefly()).ok();
                    Stream::wait_any(&[(&stream, after)], briefly()).ok();
                }
            }
        }
    });
}
