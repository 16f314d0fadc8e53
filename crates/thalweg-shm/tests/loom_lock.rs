//! Models of the writer lock: exclusion, hand-over, and taking over from the dead.
#![cfg(loom)]

#[path = "loom_support/alone.rs"]
mod alone;
#[path = "loom_support/exclusive.rs"]
mod exclusive;
#[path = "loom_support/futex.rs"]
mod futex;
mod loom_support;

use alone::Alone;
use exclusive::Exclusive;
use futex::Futex;
use loom::thread;
use loom_support::{Shared, Stream, explore};
use thalweg_shm::protocol::Words;
use thalweg_shm::protocol::lock::{Acquired, LockEnvironment, POLITENESS_NS};
use thalweg_shm::protocol::publish::Record;
use thalweg_shm::protocol::sync::{AtomicU32, Ordering};
use thalweg_shm::protocol::words::{AttachmentId, LockWord, Sequence, Who};

/// A process that has ended.
const DEAD: Who = Who(0xdead);

/// How far a process got before it was killed with the lock.
#[derive(Clone, Copy, Debug)]
enum Stop {
    /// A slot is marked busy: by this process, or by one that died before and whose lock it took.
    Busy,
    /// Repairing after a dead one: the attempt is counted, the slots are as they were.
    Counted,
    /// Repairing: the slots are empty.
    Emptied,
}

struct Model {
    stream: Stream,
    futex: Futex,
    /// What the lock protects: loom fails on two at once, and on one that does not see the other.
    guarded: Exclusive,
}

impl Model {
    fn new() -> Self {
        Self {
            stream: Stream::new(3),
            futex: Futex::new(),
            guarded: Exclusive::new(),
        }
    }

    fn words(&self) -> Words<'_> {
        self.stream.words()
    }

    fn work(&self) {
        self.guarded.write(self.guarded.read() + 1);
    }

    fn register(&self, who: Who) -> AttachmentId {
        self.words().register(who).expect("a row")
    }

    /// Takes the lock, repairs if there is need, writes a frame, and gives the lock back.
    fn locked(&self, owner: AttachmentId) -> Acquired {
        let words = self.words();
        let acquired = words.acquire(owner, self).expect("nobody gives up");
        self.work();
        if acquired == Acquired::FromDead {
            words.repair(words.head(), false);
        }
        let mut head = words.head();
        let claim = words.begin(head, &Alone).expect("a slot");
        words
            .commit(&mut head, claim, Record::default(), false, || {})
            .expect("nobody else holds the lock");
        words.release(owner, self);
        acquired
    }

    /// What a reaper does with the lock of a dead holder.
    fn take_over(&self, seen: LockWord, own: AttachmentId) {
        let words = self.words();
        let taken = words.control.writer.lock.compare_exchange(
            seen.0,
            LockWord::held(own, true).0,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        if taken.is_ok() {
            self.work();
            words.repair(words.head(), false);
            words.release(own, self);
        }
    }

    /// Leaves what the dead process left.
    fn die_with_the_lock(&self, stop: Stop) {
        let words = self.words();
        let held = LockWord::held(self.register(DEAD), false);
        words.control.writer.lock.store(held.0, Ordering::Relaxed);
        words.begin(words.head(), &Alone).expect("a slot");
        match stop {
            Stop::Busy => {}
            Stop::Counted => words.control.writer.attempts.store(1, Ordering::Relaxed),
            Stop::Emptied => words.repair(words.head(), false),
        }
    }

    fn has_debris(&self) -> bool {
        let words = self.words();
        words.slots.iter().any(|slot| {
            let sequence = Sequence(slot.sequence.load(Ordering::Relaxed));
            sequence.is_busy() || sequence.count() > words.head().count()
        })
    }

    fn lock_word(&self) -> LockWord {
        LockWord(self.words().control.writer.lock.load(Ordering::Relaxed))
    }
}

impl LockEnvironment for Model {
    fn sleep(&self, word: &AtomicU32, expected: u32, slice_ns: u64) {
        if slice_ns == POLITENESS_NS {
            // Ends by itself.
            thread::yield_now();
        } else {
            self.futex
                .sleep_if(|| word.load(Ordering::Relaxed) == expected);
        }
    }

    fn wake_one(&self, _word: &AtomicU32) -> bool {
        self.futex.wake(1)
    }

    fn is_dead(&self, owner: AttachmentId) -> bool {
        self.words().who(owner).is_none_or(|who| who == DEAD)
    }

    fn gives_up(&self) -> bool {
        false
    }
}

#[test]
fn excludes_and_hands_over() {
    explore("m4, two seekers", None, || {
        let model = Shared::new(Model::new());
        let other = model.clone();
        let ids = [1, 2].map(|process| model.register(Who(process)));
        let thread = thread::spawn(move || {
            assert_eq!(other.locked(ids[0]), Acquired::Clean);
        });
        assert_eq!(model.locked(ids[1]), Acquired::Clean);
        thread.join().expect("no panic");
        assert_eq!(model.guarded.read(), 2);
        assert_eq!(model.lock_word(), LockWord::FREE);
    });
}

#[test]
fn hands_over_to_every_sleeper() {
    explore("m4, three seekers", Some(3), || {
        let model = Shared::new(Model::new());
        let seekers = [1, 2].map(|process| {
            let (seeker, id) = (model.clone(), model.register(Who(process)));
            thread::spawn(move || seeker.locked(id))
        });
        model.locked(model.register(Who(3)));
        for seeker in seekers {
            seeker.join().expect("no panic");
        }
        assert_eq!(model.guarded.read(), 3);
        assert!(model.lock_word().is_free());
    });
}

#[test]
fn a_newcomer_is_not_taken_for_dead() {
    explore("m4, a newcomer", None, || {
        let model = Shared::new(Model::new());
        let other = model.clone();
        let id = model.register(Who(1));
        let thread = thread::spawn(move || {
            let id = other.register(Who(2));
            assert_eq!(other.locked(id), Acquired::Clean);
        });
        assert_eq!(model.locked(id), Acquired::Clean);
        thread.join().expect("no panic");
    });
}

#[test]
fn one_of_two_seekers_takes_over_from_the_dead() {
    explore("m4b", None, || {
        let model = Shared::new(Model::new());
        model.die_with_the_lock(Stop::Busy);
        let other = model.clone();
        let ids = [1, 2].map(|process| model.register(Who(process)));
        let thread = thread::spawn(move || other.locked(ids[0]));
        let acquired = [model.locked(ids[1]), thread.join().expect("no panic")];
        let take_overs = acquired
            .iter()
            .filter(|&&acquired| acquired == Acquired::FromDead);
        assert_eq!(take_overs.count(), 1);
        assert_eq!(model.guarded.read(), 2);
        assert!(model.lock_word().is_free());
        assert!(!model.has_debris());
    });
}

/// A process died with the lock, perhaps while it repaired what another left. A process that
/// clears up after it meets one that wants to write.
fn reaper_and_seeker(stop: Stop) {
    let model = Shared::new(Model::new());
    model.die_with_the_lock(stop);
    let (reaper, ids) = (
        model.clone(),
        [1, 2].map(|process| model.register(Who(process))),
    );
    let reaper = thread::spawn(move || {
        let words = reaper.words();
        words.reap(0, DEAD, |seen| reaper.take_over(seen, ids[0]));
    });
    model.locked(ids[1]);
    reaper.join().expect("no panic");
    let words = model.words();
    assert!(model.lock_word().is_free());
    assert!(!model.has_debris());
    assert_eq!(words.head().count(), 1);
    assert_eq!(words.attached().count(), 2);
}

#[test]
fn a_reaper_takes_over_from_a_repairer() {
    for stop in [Stop::Busy, Stop::Counted, Stop::Emptied] {
        explore(&format!("reaper and seeker, {stop:?}"), None, move || {
            reaper_and_seeker(stop);
        });
    }
}
