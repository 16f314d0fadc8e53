//! Models of pins: a pinned slot is read in place while the writer laps.
#![cfg(loom)]

#[path = "loom_support/alone.rs"]
mod alone;
#[path = "loom_support/exclusive.rs"]
mod exclusive;
mod loom_support;

use alone::Alone;
use exclusive::Exclusive;
use loom::thread;
use loom_support::{Shared, Stream, explore};
use thalweg_shm::protocol::Words;
use thalweg_shm::protocol::publish::Record;
use thalweg_shm::protocol::sync::remove_full_fences;
use thalweg_shm::protocol::words::{AttachmentId, Who};

struct Model {
    stream: Stream,
    payload: Vec<Exclusive>,
}

impl Model {
    /// A stream with one published frame.
    fn new(slots: usize) -> Shared<Self> {
        Self::of(Stream::new(slots), slots)
    }

    fn of(stream: Stream, slots: usize) -> Shared<Self> {
        let model = Self {
            stream,
            payload: (0..slots).map(|_| Exclusive::new()).collect(),
        };
        model.write();
        Shared::new(model)
    }

    fn words(&self) -> Words<'_> {
        self.stream.words()
    }

    fn borrower(&self, process: u64) -> AttachmentId {
        self.words().register(Who(process)).expect("a row")
    }

    fn write(&self) {
        let words = self.words();
        let mut head = words.head();
        let claim = words
            .begin(head, &Alone)
            .expect("tickets are too few to pin all");
        self.payload[claim.slot].write(claim.count);
        words
            .commit(&mut head, claim, Record::default(), false, || {})
            .expect("nobody else writes");
    }

    fn borrow(&self, borrower: AttachmentId) {
        let pin = self.words().pin(borrower).expect("a ticket each");
        // Twice: the content stays while the pin lasts.
        assert_eq!(self.payload[pin.slot].read(), pin.count);
        assert_eq!(self.payload[pin.slot].read(), pin.count);
        self.words().unpin(pin.ticket);
    }
}

fn one_borrower() {
    borrow_beside_a_writer(&Model::new(3));
}

/// The writer comes back to the borrower's slot at once.
fn one_borrower_of_reused_slots() {
    borrow_beside_a_writer(&Model::of(Stream::reusing(3), 3));
}

fn borrow_beside_a_writer(model: &Shared<Model>) {
    let reader = model.clone();
    let id = model.borrower(1);
    let reader = thread::spawn(move || reader.borrow(id));
    for _ in 0..3 {
        model.write();
    }
    reader.join().expect("no panic");
    assert_eq!(model.words().pin_owners().count(), 0);
}

fn two_borrowers() {
    let model = Model::new(4);
    let readers = [1, 2].map(|process| {
        let reader = model.clone();
        let id = model.borrower(process);
        thread::spawn(move || reader.borrow(id))
    });
    for _ in 0..3 {
        model.write();
    }
    for reader in readers {
        reader.join().expect("no panic");
    }
    assert_eq!(model.words().pin_owners().count(), 0);
}

/// A forked child takes a ticket for the frame its parent shows it, and the parent then gives it
/// back.
fn a_pin_handed_on() {
    let model = Model::new(4);
    let (parent, child) = (model.borrower(1), model.borrower(2));
    let pin = model.words().pin(parent).expect("a ticket");
    let reader = model.clone();
    let reader = thread::spawn(move || {
        let words = reader.words();
        let again = words.pin_again(child, pin.slot, pin.count);
        words.unpin(pin.ticket);
        if let Some(again) = again {
            assert_eq!(reader.payload[again.slot].read(), pin.count);
            assert_eq!(reader.payload[again.slot].read(), pin.count);
            words.unpin(again.ticket);
        }
    });
    for _ in 0..3 {
        model.write();
    }
    reader.join().expect("no panic");
    assert_eq!(model.words().pin_owners().count(), 0);
}

#[test]
fn pins_are_handed_on() {
    explore("m2c", Some(3), a_pin_handed_on);
}

#[test]
fn one_borrower_three_slots() {
    explore("m2", None, one_borrower);
}

#[test]
fn one_borrower_three_reused_slots() {
    explore("m2r", Some(3), one_borrower_of_reused_slots);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn one_borrower_of_reused_slots_without_barriers() {
    remove_full_fences();
    explore("m2r mutant", Some(3), one_borrower_of_reused_slots);
}

#[test]
fn two_borrowers_four_slots() {
    explore("m2b", Some(3), two_borrowers);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn one_borrower_without_barriers() {
    remove_full_fences();
    explore("m2 mutant", Some(3), one_borrower);
}
