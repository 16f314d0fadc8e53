//! Models of the writer lock: exclusion, hand-over, and taking over from the dead.
#![cfg(loom)]

#[path = "loom_support/exclusive.rs"]
mod exclusive;
#[path = "loom_support/futex.rs"]
mod futex;
mod loom_support;

use exclusive::Exclusive;
use futex::Futex;
use loom::sync::Arc;
use loom::thread;
use loom_support::{Stream, explore};
use thalweg_shm::protocol::Words;
use thalweg_shm::protocol::lock::{Acquired, LockEnvironment, POLITENESS_NS};
use thalweg_shm::protocol::publish::Record;
use thalweg_shm::protocol::sync::{AtomicU32, Ordering};
use thalweg_shm::protocol::words::{AttachmentId, LockWord, Sequence, Who};

/// Processes that have ended.
const DEAD: [Who; 2] = [Who(0xdead), Who(0xdeae)];

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

    fn locked(&self, owner: AttachmentId) -> Acquired {
        let acquired = self.words().acquire(owner, self).expect("nobody gives up");
        self.work();
        self.words().release(owner, self);
        acquired
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
        self.words()
            .who(owner)
            .is_none_or(|who| DEAD.contains(&who))
    }

    fn gives_up(&self) -> bool {
        false
    }
}

#[test]
fn excludes_and_hands_over() {
    explore("lock, two seekers", Some(3), || {
        let model = Arc::new(Model::new());
        let other = model.clone();
        let ids = [1, 2].map(|who| model.words().register(Who(who)).expect("a row"));
        let thread = thread::spawn(move || {
            assert_eq!(other.locked(ids[0]), Acquired::Clean);
        });
        assert_eq!(model.locked(ids[1]), Acquired::Clean);
        thread.join().unwrap();
        assert_eq!(model.guarded.read(), 2);
        assert_eq!(model.lock_word(), LockWord::FREE);
    });
}

#[test]
fn a_newcomer_is_not_taken_for_dead() {
    explore("lock, newcomer", Some(3), || {
        let model = Arc::new(Model::new());
        let other = model.clone();
        let id = model.words().register(Who(1)).expect("a row");
        let thread = thread::spawn(move || {
            let id = other.words().register(Who(2)).expect("a row");
            assert_eq!(other.locked(id), Acquired::Clean);
        });
        assert_eq!(model.locked(id), Acquired::Clean);
        thread.join().unwrap();
    });
}
