//! Models of the attachment table: reapers of one dead process against a newcomer in its row.
#![cfg(loom)]

#[path = "loom_support/alone.rs"]
mod alone;
mod loom_support;

use std::convert::Infallible;

use alone::Alone;
use loom::sync::Mutex;
use loom::thread;
use loom_support::{Shared, Stream, explore};
use thalweg_shm::protocol::Words;
use thalweg_shm::protocol::publish::Record;
use thalweg_shm::protocol::sync::Ordering;
use thalweg_shm::protocol::words::{
    AttachmentId, ROWS, Subscription, Ticket, Who, next_generation,
};

const DEAD: Who = Who(0xdead);
const NEWCOMER: Who = Who(0x1111);

/// A stream with one frame, whose only ticket and first row belong to a dead process. The other
/// rows are taken.
fn stream() -> Shared<Stream> {
    let stream = Stream::new(3);
    let words = stream.words();
    let dead = words.register(DEAD).expect("the first row");
    words.register(Who(1)).expect("the second row");
    words.register(Who(2)).expect("the third row");
    let mut head = words.head();
    let claim = words.begin(head, &Alone).expect("a slot");
    words
        .commit(&mut head, claim, Record::default(), false, || {})
        .expect("nobody else writes");
    words.pin(dead).expect("the only ticket");
    Shared::new(stream)
}

fn two_reapers_and_a_newcomer(
    register: impl Fn(&Words<'_>) -> Option<AttachmentId>,
    reap: fn(&Words<'_>),
) {
    let stream = stream();
    let reapers = [(), ()].map(|()| {
        let stream = stream.clone();
        thread::spawn(move || reap(&stream.words()))
    });
    let words = stream.words();
    let newcomer = register(&words);
    let pinned = newcomer.map(|id| (id, words.pin(id).expect("holdings are cleared first")));
    for reaper in reapers {
        reaper.join().expect("no panic");
    }
    if let Some((id, pin)) = pinned {
        let ticket = Ticket(words.control.ticket(pin.ticket).load(Ordering::Relaxed));
        assert_eq!(
            ticket,
            Ticket::new(id, pin.slot),
            "a live process's pin was reaped"
        );
        assert_eq!(words.who(id), Some(NEWCOMER), "a live process lost its row");
    } else {
        assert_eq!(words.pin_owners().count(), 0);
        assert_eq!(words.attached().count(), 2);
    }
}

fn register(words: &Words<'_>) -> Option<AttachmentId> {
    words.register(NEWCOMER)
}

#[test]
fn reapers_leave_a_newcomer_alone() {
    explore("m7", None, || {
        two_reapers_and_a_newcomer(register, |words| words.reap(0, DEAD, |_| {}));
    });
}

/// Clears the tickets of `id`, as `reap` does.
fn clear_tickets(words: &Words<'_>, id: AttachmentId) {
    let word = words.control.ticket(0);
    let ticket = word.load(Ordering::Acquire);
    if Ticket(ticket).owner() == Some(id) {
        word.compare_exchange(ticket, Ticket::FREE.0, Ordering::AcqRel, Ordering::Relaxed)
            .ok();
    }
}

fn clear_row(words: &Words<'_>) {
    words.control.rows[0]
        .who
        .compare_exchange(DEAD.0, Who::NOBODY.0, Ordering::AcqRel, Ordering::Relaxed)
        .ok();
}

#[test]
#[should_panic(expected = "a live process")]
fn reapers_that_do_not_look_twice() {
    explore("m7, no second look", Some(3), || {
        two_reapers_and_a_newcomer(register, |words| {
            let generation = words.control.rows[0].generation.load(Ordering::Acquire);
            clear_tickets(words, AttachmentId::new(generation, 0));
            clear_row(words);
        });
    });
}

#[test]
#[should_panic(expected = "a live process")]
fn reapers_that_move_the_generation_on() {
    let register = |words: &Words<'_>| {
        let row = &words.control.rows[0];
        row.who
            .compare_exchange(0, NEWCOMER.0, Ordering::AcqRel, Ordering::Relaxed)
            .ok()?;
        Some(AttachmentId::new(row.generation.load(Ordering::Acquire), 0))
    };
    explore("m7, reapers' generation", Some(3), move || {
        two_reapers_and_a_newcomer(register, |words| {
            let row = &words.control.rows[0];
            let generation = row.generation.load(Ordering::Acquire);
            if row.who.load(Ordering::Acquire) != DEAD.0 {
                return;
            }
            clear_tickets(words, AttachmentId::new(generation, 0));
            let next = next_generation(generation);
            row.generation
                .compare_exchange(generation, next, Ordering::AcqRel, Ordering::Relaxed)
                .ok();
            clear_row(words);
        });
    });
}

/// As [`two_reapers_and_a_newcomer`], with lossless readers in place of pins.
fn two_reapers_and_a_new_subscriber(reap: fn(&Words<'_>)) {
    let stream = stream();
    let dead = AttachmentId::new(1, 0);
    stream.words().subscribe(dead, 1, || {});
    let reapers = [(), ()].map(|()| {
        let stream = stream.clone();
        thread::spawn(move || reap(&stream.words()))
    });
    let words = stream.words();
    let newcomer = register(&words);
    if let Some(id) = newcomer {
        assert_eq!(words.subscribers().count(), 0, "holdings are cleared first");
        words.subscribe(id, 2, || {});
    }
    for reaper in reapers {
        reaper.join().expect("no panic");
    }
    let subscription = words.control.rows[0].subscription.load(Ordering::Relaxed);
    let expected = newcomer.map_or(Subscription::NONE, |id| Subscription::new(id, 2));
    assert_eq!(
        Subscription(subscription),
        expected,
        "a live process's subscription was reaped"
    );
}

#[test]
fn reapers_leave_a_new_subscription_alone() {
    explore("m7, subscriptions", Some(4), || {
        two_reapers_and_a_new_subscriber(|words| words.reap(0, DEAD, |_| {}));
    });
}

#[test]
#[should_panic(expected = "a live process's subscription was reaped")]
fn reapers_of_subscriptions_that_do_not_look_twice() {
    explore("m7, subscriptions, no second look", Some(3), || {
        two_reapers_and_a_new_subscriber(|words| {
            let row = &words.control.rows[0];
            let generation = row.generation.load(Ordering::Acquire);
            let seen = row.subscription.load(Ordering::Acquire);
            if Subscription(seen).owner() == Some(AttachmentId::new(generation, 0)) {
                row.subscription
                    .compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Relaxed)
                    .ok();
            }
            clear_row(words);
        });
    });
}

/// The kernel's locks on the witness bytes: how many share a byte, or -1 for one who has it alone.
struct Witnesses(Mutex<[i32; ROWS]>);

impl Witnesses {
    /// Everybody who has a row has its witness, too.
    fn of(stream: &Stream) -> Self {
        let mut bytes = [0; ROWS];
        for (row, _) in stream.words().attached() {
            bytes[row] = 1;
        }
        Self(Mutex::new(bytes))
    }

    fn share(&self, row: usize) -> bool {
        let mut bytes = self.0.lock().expect("no panic");
        let may = bytes[row] >= 0;
        bytes[row] += i32::from(may);
        may
    }

    fn give_back(&self, row: usize) {
        self.0.lock().expect("no panic")[row] -= 1;
    }

    fn claim(&self, row: usize) -> bool {
        let mut bytes = self.0.lock().expect("no panic");
        let may = bytes[row] == 0;
        if may {
            bytes[row] = -1;
        }
        may
    }

    fn give_up_claim(&self, row: usize) {
        self.0.lock().expect("no panic")[row] = 0;
    }

    fn is_held(&self, row: usize) -> bool {
        self.0.lock().expect("no panic")[row] != 0
    }
}

/// A stream with one frame and one free row, and the witnesses of those who have the others.
fn witnessed_stream() -> Shared<(Stream, Witnesses)> {
    let stream = Stream::new(3);
    let words = stream.words();
    words.register(Who(1)).expect("the first row");
    words.register(Who(2)).expect("the second row");
    let mut head = words.head();
    let claim = words.begin(head, &Alone).expect("a slot");
    words
        .commit(&mut head, claim, Record::default(), false, || {})
        .expect("nobody else writes");
    let witnesses = Witnesses::of(&stream);
    Shared::new((stream, witnesses))
}

fn register_witnessed(words: &Words<'_>, witnesses: &Witnesses) -> Option<AttachmentId> {
    let Ok(id) = words.register_witnessed(
        NEWCOMER,
        |row| Ok::<_, Infallible>(witnesses.share(row)),
        |row| witnesses.give_back(row),
    );
    id
}

fn leave(words: &Words<'_>, witnesses: &Witnesses, id: AttachmentId) {
    words.reap(id.row(), NEWCOMER, |_| {});
    witnesses.give_back(id.row());
}

/// Reaps as a process of another pid namespace does, which has only the witnesses to go by.
fn reap_by_witness(words: &Words<'_>, witnesses: &Witnesses) {
    for (row, who) in words.attached() {
        if witnesses.claim(row) {
            words.reap(row, who, |_| {});
            witnesses.give_up_claim(row);
        }
    }
}

/// A process comes, leaves and comes again while a process of another namespace looks for the dead.
fn a_newcomer_and_a_stranger(
    register: fn(&Words<'_>, &Witnesses) -> Option<AttachmentId>,
    reap: fn(&Words<'_>, &Witnesses),
) {
    let shared = witnessed_stream();
    let stranger = shared.clone();
    let stranger = thread::spawn(move || reap(&stranger.0.words(), &stranger.1));
    let (words, witnesses) = (shared.0.words(), &shared.1);
    let first = register(&words, witnesses);
    if let Some(id) = first {
        leave(&words, witnesses, id);
    }
    // None if the only free row is just being reaped.
    let again = register(&words, witnesses);
    stranger.join().expect("no panic");
    if let Some(id) = again {
        assert_eq!(words.who(id), Some(NEWCOMER), "a live process lost its row");
        assert!(witnesses.is_held(id.row()));
    } else {
        assert_eq!(words.attached().count(), 2);
    }
}

#[test]
fn strangers_go_by_the_witness() {
    explore("m7b", None, || {
        a_newcomer_and_a_stranger(register_witnessed, reap_by_witness);
    });
}

#[test]
#[should_panic(expected = "a live process lost its row")]
fn newcomers_that_take_the_witness_late() {
    let register = |words: &Words<'_>, witnesses: &Witnesses| {
        let id = words.register(NEWCOMER)?;
        witnesses.share(id.row());
        Some(id)
    };
    explore("m7b, late witness", Some(3), move || {
        a_newcomer_and_a_stranger(register, reap_by_witness);
    });
}

#[test]
#[should_panic(expected = "a live process lost its row")]
fn strangers_that_do_not_hold_the_witness_while_they_reap() {
    let reap = |words: &Words<'_>, witnesses: &Witnesses| {
        for (row, who) in words.attached() {
            if !witnesses.is_held(row) {
                words.reap(row, who, |_| {});
            }
        }
    };
    explore("m7b, witness only looked at", Some(4), move || {
        a_newcomer_and_a_stranger(register_witnessed, reap);
    });
}
