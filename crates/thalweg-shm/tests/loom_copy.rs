//! Models of copying readers against a lapping, an aborting and a dying writer.
#![cfg(loom)]

#[path = "loom_support/alone.rs"]
mod alone;
mod loom_support;

use alone::Alone;
use loom::thread;
use loom_support::{Shared, Stream, explore};
use thalweg_shm::protocol::Words;
use thalweg_shm::protocol::publish::Record;
use thalweg_shm::protocol::snapshot::{Look, Snapshot};
use thalweg_shm::protocol::sync::{AtomicU64, Ordering, remove_full_fences};

/// A stream whose payload is one word, which like the record says which frame it belongs to.
struct Model {
    stream: Stream,
    payload: Vec<AtomicU64>,
}

/// What the payload of an abandoned frame says.
const ABANDONED: u64 = 1000;

impl Model {
    /// A stream with one published frame.
    fn new(slots: usize) -> Shared<Self> {
        let model = Self {
            stream: Stream::new(slots),
            payload: (0..slots).map(|_| AtomicU64::new(0)).collect(),
        };
        model.write();
        Shared::new(model)
    }

    fn words(&self) -> Words<'_> {
        self.stream.words()
    }

    fn write(&self) {
        let words = self.words();
        let mut head = words.head();
        let claim = words.begin(head, &Alone).expect("a slot");
        self.payload[claim.slot].store(claim.count, Ordering::Relaxed);
        let record = Record {
            frame_id: claim.count,
            ..Record::default()
        };
        words
            .commit(&mut head, claim, record, false, || {})
            .expect("nobody else writes");
    }

    /// Copies and, if the copy is good, checks it. Returns its number.
    fn copy(&self, snapshot: &Snapshot) -> Option<u64> {
        let words = self.words();
        let record = words.record(snapshot);
        let payload = self.payload[snapshot.slot].load(Ordering::Relaxed);
        words.is_current(snapshot).then(|| {
            assert_eq!(
                (record.frame_id, payload),
                (snapshot.count, snapshot.count),
                "a torn copy passed its check"
            );
            snapshot.count
        })
    }

    fn read(&self) -> Option<u64> {
        match self.words().snapshot().expect("nothing corrupt") {
            Look::Frame(snapshot) => self.copy(&snapshot),
            Look::Empty(_) => panic!("a frame was published before"),
            Look::Again => None,
        }
    }
}

fn against_a_lapping_writer(slots: usize, frames: u64) {
    let model = Model::new(slots);
    let reader = model.clone();
    let reader = thread::spawn(move || reader.read());
    for _ in 0..frames {
        model.write();
    }
    let seen = reader.join().expect("no panic");
    assert!(seen.is_none_or(|count| (1..=frames + 1).contains(&count)));
    assert_eq!(model.read(), Some(frames + 1));
}

#[test]
fn two_slots() {
    explore("m1, 2 slots", None, || against_a_lapping_writer(2, 2));
}

#[test]
fn three_slots() {
    explore("m1, 3 slots", None, || against_a_lapping_writer(3, 3));
}

#[test]
#[should_panic(expected = "a torn copy passed its check")]
fn three_slots_without_barriers() {
    remove_full_fences();
    explore("m1 mutant", Some(3), || against_a_lapping_writer(3, 3));
}

#[test]
fn history_never_mixes_frames() {
    explore("m1, history", Some(3), || {
        let model = Model::new(3);
        model.write();
        let reader = model.clone();
        let reader = thread::spawn(move || {
            let frames = reader.words().history(0);
            assert!(frames.is_sorted_by(|a, b| a.count < b.count));
            for snapshot in &frames {
                reader.copy(snapshot);
            }
        });
        model.write();
        model.write();
        reader.join().expect("no panic");
        let counts: Vec<u64> = model.words().history(0).iter().map(|f| f.count).collect();
        assert_eq!(counts, [2, 3, 4]);
    });
}

/// Where a writer stopped. What came before is in the shared words, what would follow is not.
#[derive(Clone, Copy, Debug)]
enum Stop {
    Aborted,
    KilledBusy,
    KilledComplete,
    KilledInRepair,
}

fn with_an_abandoned_frame(stop: Stop) {
    let model = Model::new(3);
    let reader = model.clone();
    let reader = thread::spawn(move || {
        let words = reader.words();
        for snapshot in words.history(0) {
            reader.copy(&snapshot);
        }
        reader.read()
    });
    let words = model.words();
    let head = words.head();
    let claim = words.begin(head, &Alone).expect("a slot");
    model.payload[claim.slot].store(ABANDONED, Ordering::Relaxed);
    let sequence = &words.slots[claim.slot].sequence;
    match stop {
        Stop::Aborted => words.abort(claim, false),
        Stop::KilledBusy => words.repair(head, false),
        Stop::KilledComplete => {
            let busy = sequence.load(Ordering::Relaxed);
            sequence.store(busy & !1, Ordering::Release);
            words.repair(head, false);
        }
        Stop::KilledInRepair => {
            words.control.writer.attempts.store(1, Ordering::Relaxed);
            words.repair(head, false);
        }
    }
    assert_eq!(sequence.load(Ordering::Relaxed), 0);
    // The same number again, and enough frames for the same slot.
    model.write();
    model.write();
    let seen = reader.join().expect("no panic");
    assert!(seen.is_none_or(|count| (1..=3).contains(&count)));
    assert_eq!(model.read(), Some(3));
}

#[test]
fn abandoned_frames_are_never_read() {
    for stop in [
        Stop::Aborted,
        Stop::KilledBusy,
        Stop::KilledComplete,
        Stop::KilledInRepair,
    ] {
        explore(&format!("m5, {stop:?}"), Some(4), move || {
            with_an_abandoned_frame(stop);
        });
    }
}
