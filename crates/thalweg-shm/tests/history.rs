//! The last frames of a stream: which are there, which are not, and that none is torn.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    unsafe_code,
    reason = "the forms that copy to an address are tested, too"
)]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use thalweg_os::clock::deadline_after;
use thalweg_shm::stream::error::ReadError;
use thalweg_shm::{
    ArrayRef, DType, Patience, Publication, PublishOptions, Stream, StreamDirectory, StreamOptions,
};

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
        self.directory.create("history", &options).unwrap()
    }
}

fn patience() -> Patience<'static> {
    Patience::until(deadline_after(Duration::from_secs(20)))
}

/// Writes a frame whose elements and id are `value`.
fn write(stream: &Stream, value: u64) {
    let payload = vec![value; stream.shape()[0]];
    let options = PublishOptions {
        frame_id: Some(value),
        origin_ns: None,
    };
    stream
        .write(
            ArrayRef::from_slice(&payload, stream.shape()),
            options,
            patience(),
        )
        .unwrap();
}

/// What every element of the frame is.
fn value_of(frame: &[u8]) -> u64 {
    let words: Vec<u64> = frame
        .chunks_exact(8)
        .map(|word| u64::from_ne_bytes(word.try_into().unwrap()))
        .collect();
    assert!(words.iter().all(|&word| word == words[0]), "torn frame");
    words[0]
}

/// Counts of a history whose frames were written by [`write()`] with their own count as value.
fn counts(history: &[(Vec<u8>, Publication)]) -> Vec<u64> {
    history
        .iter()
        .map(|(frame, publication)| {
            assert_eq!(value_of(frame), publication.count);
            assert_eq!(publication.frame_id, publication.count);
            publication.count
        })
        .collect()
}

#[test]
fn the_last_frames_come_oldest_first_and_never_more_than_there_are() {
    let scratch = scratch();
    let stream = scratch.stream(300, 4);
    assert_eq!(stream.history(10, None).unwrap(), []);
    write(&stream, 1);
    assert_eq!(counts(&stream.history(10, None).unwrap()), [1]);
    for value in 2..=9 {
        write(&stream, value);
    }
    assert_eq!(counts(&stream.history(10, None).unwrap()), [6, 7, 8, 9]);
    assert_eq!(counts(&stream.history(2, None).unwrap()), [8, 9]);
    assert_eq!(stream.history(0, None).unwrap(), []);
    assert_eq!(
        counts(&stream.history(usize::MAX, None).unwrap()).len(),
        4,
        "asking for everything allocates what there is"
    );
    let newest = stream.history(1, None).unwrap();
    assert_eq!(newest, [stream.read(None).unwrap()]);
}

#[test]
fn a_pinned_slot_and_an_aborted_frame_are_holes() {
    let scratch = scratch();
    let stream = scratch.stream(8, 4);
    write(&stream, 1);
    let pinned = stream.borrow().unwrap();
    for value in 2..=7 {
        write(&stream, value);
    }
    // Frame 1 is still held, but it is none of the last four; its slot is missing to those.
    assert_eq!(counts(&stream.history(4, None).unwrap()), [5, 6, 7]);
    assert_eq!(counts(&stream.history(7, None).unwrap()), [1, 5, 6, 7]);
    stream.loan(patience()).unwrap().abort();
    assert_eq!(counts(&stream.history(7, None).unwrap()), [1, 6, 7]);
    drop(pinned);
}

#[test]
fn a_frame_that_was_overwritten_says_so() {
    let scratch = scratch();
    let stream = scratch.stream(64, 3);
    for value in 1..=3 {
        write(&stream, value);
    }
    let held = stream.held_frames(3).unwrap();
    let seen: Vec<u64> = held.iter().map(|frame| frame.count()).collect();
    assert_eq!(seen, [1, 2, 3]);
    write(&stream, 4);
    let mut out = vec![0; stream.payload_bytes()];
    assert!(!held[0].copy_to(&mut out).unwrap(), "its slot was taken");
    assert!(held[1].copy_to(&mut out).unwrap());
    assert_eq!(value_of(&out), 2);
    assert_eq!(held[2].publication().frame_id, 3);
    let refused = held[2].copy_to(&mut out[1..]);
    assert!(matches!(refused, Err(ReadError::Size { .. })));
}

#[test]
fn frames_are_copied_one_behind_the_other_into_the_callers_memory() {
    let scratch = scratch();
    let stream = scratch.stream(5, 4);
    for value in 1..=6 {
        write(&stream, value);
    }
    let mut words = [u64::MAX; 15];
    let size_bytes = size_of_val(&words);
    // SAFETY: the array is writable and private.
    let publications =
        unsafe { stream.history_to_address(3, NonNull::from(&mut words).cast(), size_bytes, None) }
            .unwrap();
    let found: Vec<u64> = publications.iter().map(|one| one.count).collect();
    assert_eq!(found, [4, 5, 6]);
    assert_eq!(words, [[4; 5], [5; 5], [6; 5]].as_flattened());
    let mut odd = vec![0; stream.payload_bytes() + 1];
    let refused = stream.history_into(3, &mut odd, None).unwrap_err();
    assert!(matches!(refused, ReadError::Size { .. }), "{refused}");
    let newest = &stream.held_frames(1).unwrap()[0];
    let target = NonNull::from(&mut words).cast();
    // SAFETY: as above.
    assert!(unsafe { newest.copy_to_address(target, 5 * size_of::<u64>()) }.unwrap());
    assert_eq!(words[..5], [6; 5]);
}

#[test]
fn a_stream_never_completed_has_no_history_but_an_error() {
    let scratch = scratch();
    let stream = scratch.stream(8, 4);
    stream.loan(patience()).unwrap().abort();
    let refused = stream.history(3, None);
    assert!(matches!(refused, Err(ReadError::Inconsistent { .. })));
}

#[test]
fn behind_a_fast_writer_there_is_always_something_and_nothing_torn() {
    let scratch = scratch();
    // Two slots: nothing can be pinned. Four large ones: copying takes longer than writing one.
    for (elements, slots) in [(1, 2), (512, 3), (65_536, 4), (16, 127)] {
        let stream = scratch.stream(elements, slots);
        write(&stream, 1);
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writer = stream.duplicate();
            let is_done = &is_done;
            scope.spawn(move || {
                let mut value = 2;
                while !is_done.load(Ordering::Relaxed) {
                    write(&writer, value);
                    value += 1;
                }
            });
            let (mut last, mut looks) = (0, 0);
            // Enough rounds, and enough frames for the writer to have lapped the reader.
            while looks < 300 || last < 1000 {
                let deadline_ns = deadline_after(Duration::from_secs(20));
                let before = stream.count();
                let history = stream.history(slots, Some(deadline_ns)).unwrap();
                let counts = counts(&history);
                assert!(!counts.is_empty() && counts.len() <= slots);
                assert!(counts.is_sorted_by(|one, next| one < next), "{counts:?}");
                let newest = counts[counts.len() - 1];
                assert!(newest >= before, "older than the call");
                assert!(newest <= stream.count());
                last = newest;
                looks += 1;
            }
            is_done.store(true, Ordering::Relaxed);
        });
        stream.unlink().unwrap();
    }
}
