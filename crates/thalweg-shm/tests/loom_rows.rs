//! Models of progressive frames: rows are read while the frame is written, given up, and written
//! again.
#![cfg(loom)]

#[path = "loom_support/alone.rs"]
mod alone;
#[path = "loom_support/futex.rs"]
mod futex;
mod loom_support;

use alone::Alone;
use futex::Futex;
use loom::thread;
use loom_support::{Shared, Stream, explore};
use thalweg_shm::protocol::Words;
use thalweg_shm::protocol::publish::{Claim, Record};
use thalweg_shm::protocol::rows::{Fate, Progress};
use thalweg_shm::protocol::sync::{AtomicU64, Ordering, remove_full_fences};
use thalweg_shm::protocol::words::Who;

/// Rows of a frame.
const ROWS: usize = 2;

struct Model {
    stream: Stream,
    /// By slot and row: which attempt wrote it, from 1.
    payload: Vec<[AtomicU64; ROWS]>,
    row_futex: Futex,
}

impl Model {
    /// A stream with one published frame, which says 100.
    fn new(slots: usize) -> Shared<Self> {
        let model = Self {
            stream: Stream::new(slots),
            payload: (0..slots)
                .map(|_| [AtomicU64::new(0), AtomicU64::new(0)])
                .collect(),
            row_futex: Futex::new(),
        };
        let claim = model.begin();
        (0..ROWS).for_each(|row| model.write_row(claim, row, 100));
        model.commit(claim);
        Shared::new(model)
    }

    fn words(&self) -> Words<'_> {
        self.stream.words()
    }

    fn wake(&self) {
        self.row_futex.wake(usize::MAX);
    }

    fn begin(&self) -> Claim {
        let words = self.words();
        let claim = words.begin(words.head(), &Alone).expect("a slot");
        words.begin_rows(claim);
        claim
    }

    fn write_row(&self, claim: Claim, row: usize, value: u64) {
        self.payload[claim.slot][row].store(value, Ordering::Relaxed);
        self.words()
            .announce_rows(claim, row + 1, false, || self.wake());
    }

    fn commit(&self, claim: Claim) {
        let words = self.words();
        words
            .commit(&mut words.head(), claim, Record::default(), false, || {})
            .expect("nobody else writes");
        words.ring_rows(false, || self.wake());
    }

    fn abort(&self, claim: Claim) {
        self.words().abort(claim, false);
        self.words().ring_rows(false, || self.wake());
    }

    /// Copies the announced rows and, if the copy is good, checks that one attempt wrote them.
    fn copy(&self, progress: &Progress) {
        let rows = if progress.is_complete {
            ROWS
        } else {
            progress.announced
        };
        let slot = &self.payload[progress.slot];
        let copied: Vec<u64> = (0..rows)
            .map(|row| slot[row].load(Ordering::Relaxed))
            .collect();
        if let Fate::There(_) = self.words().fate_of(progress) {
            let first = copied.first().copied().unwrap_or(1);
            assert!(first != 0, "a row before it was written");
            assert!(
                copied.iter().all(|&value| value == first),
                "rows of two attempts: {copied:?}"
            );
        }
    }

    /// Sleeps until a frame above `after` has `rows` rows, as `Stream::wait_rows` does.
    fn wait_for_rows(&self, after: u64, rows: usize) {
        let words = self.words();
        loop {
            let bell = words.row_bell();
            let is_enough = |progress: Progress| {
                progress.count() > after && (progress.is_complete || progress.announced >= rows)
            };
            if words.live_rows().is_some_and(is_enough)
                || words.complete_rows().is_some_and(is_enough)
            {
                return;
            }
            words.announce_row_park();
            self.row_futex
                .sleep_if(|| words.control.row_bell.bell.load(Ordering::Relaxed) == bell);
        }
    }
}

/// A frame is given up after its first row and written again, in the same slot.
fn rows_over_an_abort(abort: fn(&Model, Claim)) {
    let model = Model::new(2);
    let reader = model.clone();
    let reader = thread::spawn(move || {
        for progress in [reader.words().live_rows(), reader.words().complete_rows()] {
            if let Some(progress) = progress {
                reader.copy(&progress);
            }
        }
    });
    let claim = model.begin();
    model.write_row(claim, 0, 1);
    model.write_row(claim, 1, 1);
    abort(&model, claim);
    let again = model.begin();
    assert_eq!((again.slot, again.count), (claim.slot, claim.count));
    model.write_row(again, 0, 2);
    model.write_row(again, 1, 2);
    model.commit(again);
    reader.join().expect("no panic");
}

#[test]
fn rows_of_two_attempts_are_never_mixed() {
    explore("m11", Some(3), || rows_over_an_abort(Model::abort));
}

#[test]
#[should_panic(expected = "rows of two attempts")]
fn attempts_are_not_counted() {
    explore("m11, no attempt number", Some(3), || {
        rows_over_an_abort(|model, claim| {
            model.words().slots[claim.slot]
                .sequence
                .store(0, Ordering::Release);
        });
    });
}

#[test]
fn what_became_of_a_frame_is_told() {
    explore("m11, fates", Some(3), || {
        let model = Model::new(2);
        let claim = model.begin();
        model.write_row(claim, 0, 1);
        let begun = model.words().live_rows().expect("being written");
        let reader = model.clone();
        let reader = thread::spawn(move || match reader.words().fate_of(&begun) {
            Fate::There(now) => assert!(now.is_same_writing(&begun) && !now.is_complete),
            Fate::Aborted => {}
            Fate::Replaced => panic!("the first attempt was never complete"),
            Fate::Marked => panic!("nobody pins"),
        });
        model.abort(claim);
        let again = model.begin();
        model.write_row(again, 0, 2);
        model.commit(again);
        reader.join().expect("no panic");
        assert_eq!(model.words().fate_of(&begun), Fate::Aborted);
    });
}

/// A writer comes by the slot of a frame that is pinned, and reads the ticket after it has marked it.
#[test]
fn a_pinned_frame_is_there_whoever_comes_by() {
    explore("rows of a pinned frame", None, || {
        let model = Model::new(3);
        let words = model.words();
        let own = words.register(Who(1)).expect("a row");
        let pinned = words.pin(own).expect("published");
        let kept = words.complete_rows().expect("published");
        assert_eq!(kept.slot, pinned.slot);
        (0..2).for_each(|_| model.commit(model.begin()));
        // Next in turn is the pinned slot.
        let writer = model.clone();
        let writer = thread::spawn(move || {
            let claim = writer.begin();
            assert_ne!(claim.slot, pinned.slot);
            writer.commit(claim);
        });
        let fate = loop {
            match words.fate_of(&kept) {
                Fate::Marked => thread::yield_now(),
                fate => break fate,
            }
        };
        assert_eq!(fate, Fate::There(kept));
        writer.join().expect("no panic");
    });
}

/// Two sleepers with different targets, one of which a commit has to wake.
fn two_sleepers() {
    let model = Model::new(2);
    let sleepers = [1, ROWS].map(|rows| {
        let sleeper = model.clone();
        thread::spawn(move || sleeper.wait_for_rows(1, rows))
    });
    let claim = model.begin();
    model.write_row(claim, 0, 1);
    // The second row is announced by nobody.
    model.commit(claim);
    for sleeper in sleepers {
        sleeper.join().expect("no panic");
    }
}

#[test]
fn sleepers_see_rows_and_frames() {
    explore("rows, two sleepers", Some(2), two_sleepers);
}

#[test]
#[should_panic(expected = "deadlock")]
fn sleepers_without_barriers() {
    remove_full_fences();
    explore("rows, two sleepers, mutant", Some(2), two_sleepers);
}
