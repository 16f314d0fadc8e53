//! Models of lossless readers: every frame is read in place, exactly once, and the writer waits.
#![cfg(loom)]

#[path = "loom_support/exclusive.rs"]
mod exclusive;
#[path = "loom_support/futex.rs"]
mod futex;
mod loom_support;

use exclusive::Exclusive;
use futex::Futex;
use loom::thread;
use loom_support::{Shared, Stream, explore};
use thalweg_shm::protocol::Words;
use thalweg_shm::protocol::publish::Record;
use thalweg_shm::protocol::room::RoomEnvironment;
use thalweg_shm::protocol::sync::{AtomicU32, Ordering, remove_full_fences};
use thalweg_shm::protocol::words::{AttachmentId, Head, Subscription, Who};

struct Model {
    stream: Stream,
    payload: Vec<Exclusive>,
    head_futex: Futex,
    space_futex: Futex,
}

impl Model {
    /// A stream with one published frame.
    fn new(slots: usize) -> Shared<Self> {
        let model = Self {
            stream: Stream::new(slots),
            payload: (0..slots).map(|_| Exclusive::new()).collect(),
            head_futex: Futex::new(),
            space_futex: Futex::new(),
        };
        model.write();
        Shared::new(model)
    }

    fn words(&self) -> Words<'_> {
        self.stream.words()
    }

    fn reader(&self) -> AttachmentId {
        self.words().register(Who(1)).expect("a row")
    }

    fn wake_writer(&self) {
        self.space_futex.wake(usize::MAX);
    }

    fn write(&self) {
        let words = self.words();
        let mut head = words.head();
        let claim = words.begin(head, self).expect("nobody gives up");
        self.payload[claim.slot].write(claim.count);
        words
            .commit(&mut head, claim, Record::default(), false, || {
                self.head_futex.wake(usize::MAX);
            })
            .expect("nobody else writes");
    }

    /// Sleeps until frame `count` is published.
    fn wait_for(&self, count: u64) {
        let words = self.words();
        loop {
            let head = words.head();
            if head.count() >= count {
                return;
            }
            words.announce_park();
            let word = &words.control.head.head;
            self.head_futex
                .sleep_if(|| Head(word.load(Ordering::Relaxed)).futex() == head.futex());
        }
    }

    fn subscribe(&self, reader: AttachmentId, budget: u8) -> u64 {
        self.words()
            .subscribe(reader, budget, || self.wake_writer())
    }

    /// Reads the frames above `start` up to `last`, in place, and gives each back.
    fn read(&self, reader: AttachmentId, start: u64, last: u64) {
        let words = self.words();
        for count in start + 1..=last {
            self.wait_for(count);
            let slot = words.slot_of(count, 0).expect("a frame was lapped");
            assert_eq!(self.payload[slot].read(), count, "a frame was lapped");
            words.advance(reader, count, || self.wake_writer());
        }
    }
}

impl RoomEnvironment for Model {
    fn sleep(&self, word: &AtomicU32, expected: u32, _slice_ns: u64) -> bool {
        self.space_futex
            .sleep_if(|| word.load(Ordering::Relaxed) == expected);
        false
    }

    fn clear_if_dead(&self, _owner: AttachmentId) -> bool {
        false
    }

    fn gives_up(&self) -> bool {
        false
    }
}

/// A reader that is subscribed from the beginning.
fn handed_over(slots: usize, budget: u8, frames: u64) {
    let model = Model::new(slots);
    let reader = model.clone();
    let id = model.reader();
    let start = model.subscribe(id, budget);
    assert_eq!(start, 1);
    let thread = thread::spawn(move || reader.read(id, start, frames));
    for _ in start..frames {
        model.write();
    }
    thread.join().expect("no panic");
    assert_eq!(model.words().head().count(), frames);
}

#[test]
fn frames_are_handed_over_one_by_one() {
    explore("m6", Some(3), || handed_over(2, 1, 4));
}

#[test]
#[should_panic(expected = "deadlock")]
fn frames_are_handed_over_without_barriers() {
    remove_full_fences();
    explore("m6 mutant", Some(2), || handed_over(2, 1, 4));
}

/// How a reader subscribes.
type Subscribe = fn(&Model, AttachmentId, u8) -> u64;

/// A reader that subscribes while the writer is writing.
fn subscribed_under_way(slots: usize, budget: u8, frames: u64, subscribe: Subscribe) {
    let model = Model::new(slots);
    let id = model.reader();
    read_while_writing(&model, id, budget, frames, subscribe, |_| {});
}

/// As [`subscribed_under_way`], with the bit of a former subscriber in the mask.
fn subscribed_over_a_stale_bit(frames: u64, before_begin: fn(&Words<'_>)) {
    let model = Model::new(2);
    let id = model.reader();
    let lossless = &model.words().control.request.lossless;
    lossless.store(1 << id.row(), Ordering::Relaxed);
    read_while_writing(&model, id, 1, frames, Model::subscribe, before_begin);
}

fn read_while_writing(
    model: &Shared<Model>,
    id: AttachmentId,
    budget: u8,
    frames: u64,
    subscribe: Subscribe,
    before_begin: fn(&Words<'_>),
) {
    let reader = model.clone();
    let thread = thread::spawn(move || {
        let start = subscribe(&reader, id, budget);
        reader.read(id, start, frames);
    });
    for _ in 1..frames {
        before_begin(&model.words());
        model.write();
    }
    thread.join().expect("no panic");
    assert_eq!(model.words().head().count(), frames);
}

#[test]
fn a_reader_subscribes_under_way_two_slots() {
    explore("m8, 2 slots", Some(3), || {
        subscribed_under_way(2, 1, 3, Model::subscribe);
    });
}

#[test]
fn a_reader_subscribes_under_way_three_slots() {
    explore("m8, 3 slots", Some(3), || {
        subscribed_under_way(3, 2, 4, Model::subscribe);
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_reader_subscribes_without_barriers() {
    remove_full_fences();
    explore("m8 mutant", Some(3), || {
        subscribed_under_way(2, 1, 3, Model::subscribe);
    });
}

/// The constraint of `subscribe`, by hand.
fn constrain(words: &Words<'_>, id: AttachmentId, budget: u8, cursor: u64) {
    let row = &words.control.rows[id.row()];
    row.cursor.store(cursor, Ordering::Relaxed);
    row.subscription
        .store(Subscription::new(id, budget).0, Ordering::Release);
    words
        .control
        .request
        .lossless
        .fetch_or(1 << id.row(), Ordering::AcqRel);
    loom::sync::atomic::fence(Ordering::SeqCst);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_reader_subscribes_with_a_bare_store_of_the_cursor() {
    explore("m8, bare store", Some(3), || {
        subscribed_under_way(2, 1, 3, |model, id, budget| {
            let words = model.words();
            constrain(&words, id, budget, words.head().count());
            let start = words.head().count();
            words.control.rows[id.row()]
                .cursor
                .store(start, Ordering::Release);
            start
        });
    });
}

#[test]
#[should_panic(expected = "a frame was lapped")]
fn a_reader_fixes_its_start_before_it_constrains() {
    explore("m8, start first", Some(3), || {
        subscribed_under_way(2, 1, 4, |model, id, budget| {
            let words = model.words();
            let start = words.head().count();
            constrain(&words, id, budget, start);
            start
        });
    });
}

#[test]
fn a_reader_subscribes_while_its_bit_is_swept() {
    explore("m9", Some(3), || subscribed_over_a_stale_bit(4, |_| {}));
}

/// Clears the bit of the first row if nobody is behind it, without a second look.
fn sweep_carelessly(words: &Words<'_>) {
    let subscription = &words.control.rows[0].subscription;
    if subscription.load(Ordering::Acquire) == 0 {
        let lossless = &words.control.request.lossless;
        lossless.fetch_and(!1, Ordering::AcqRel);
    }
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_writer_sweeps_without_a_second_look() {
    explore("m9, no second look", Some(3), || {
        subscribed_over_a_stale_bit(4, sweep_carelessly);
    });
}

/// A writer is killed between clearing a bit and the second look; the next one repairs.
fn a_writer_dies_sweeping(repair: fn(&Words<'_>)) {
    let model = Model::new(2);
    let id = model.reader();
    model
        .words()
        .control
        .request
        .lossless
        .store(1 << id.row(), Ordering::Relaxed);
    let reader = model.clone();
    let thread = thread::spawn(move || {
        let start = reader.subscribe(id, 1);
        reader.read(id, start, 4);
    });
    sweep_carelessly(&model.words());
    repair(&model.words());
    for _ in 1..4 {
        model.write();
    }
    thread.join().expect("no panic");
}

#[test]
fn repairing_restores_the_bit_of_a_reader() {
    explore("m9, repaired", Some(3), || {
        a_writer_dies_sweeping(|words| words.repair(words.head(), false));
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn nobody_restores_the_bit_of_a_reader() {
    explore("m9, not repaired", Some(3), || {
        a_writer_dies_sweeping(|_| {})
    });
}

/// A budget of three frames in four slots is paid with one of the two tickets; a borrower has the
/// other one. All slots hold frames when they meet.
#[test]
fn budgets_and_pins_leave_a_slot() {
    explore("budget and pin", Some(3), || {
        let model = Model::new(4);
        let words = model.words();
        let id = model.reader();
        let borrower = words.register(Who(2)).expect("a row");
        words.reserve(id).expect("a ticket");
        let start = model.subscribe(id, 3);
        (2..=4).for_each(|_| model.write());
        let lossless = model.clone();
        let lossless = thread::spawn(move || lossless.read(id, start, 3));
        let pinning = model.clone();
        let pinning = thread::spawn(move || {
            let pin = pinning.words().pin(borrower).expect("the other ticket");
            assert_eq!(pinning.payload[pin.slot].read(), pin.count);
            pinning.words().unpin(pin.ticket);
        });
        // Frame 5 needs the reader past frame 2, frame 6 past frame 3.
        (5..=6).for_each(|_| model.write());
        lossless.join().expect("no panic");
        pinning.join().expect("no panic");
        let slot = words.slot_of(4, 0).expect("a frame was lapped");
        assert_eq!(model.payload[slot].read(), 4, "a frame was lapped");
    });
}

/// A reader leaves while the writer waits for it, and its ticket goes to a borrower.
#[test]
fn a_reader_leaves_and_its_ticket_goes_on() {
    explore("budget handed on", Some(2), || {
        let model = Model::new(3);
        let words = model.words();
        let id = model.reader();
        let borrower = words.register(Who(2)).expect("a row");
        let ticket = words.reserve(id).expect("the only ticket");
        model.subscribe(id, 3);
        let leaving = model.clone();
        let leaving = thread::spawn(move || {
            let words = leaving.words();
            words.unsubscribe(id, || leaving.wake_writer());
            words.unpin(ticket);
            if let Ok(pin) = words.pin(borrower) {
                assert_eq!(leaving.payload[pin.slot].read(), pin.count);
                words.unpin(pin.ticket);
            }
        });
        for _ in 1..6 {
            model.write();
        }
        leaving.join().expect("no panic");
        assert_eq!(words.subscribers().count(), 0);
    });
}
