//! Models of handing the lock on past a process that is killed on the way: whoever else waits gets
//! the lock, and nobody sleeps for ever.
#![cfg(loom)]

#[path = "loom_support/exclusive.rs"]
mod exclusive;
#[path = "loom_support/kernel.rs"]
mod kernel;
mod loom_support;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use exclusive::Exclusive;
use kernel::{Place, Queue};
use loom::sync::atomic::AtomicBool;
use loom::thread;
use loom_support::{Shared, Stream, explore};
use thalweg_shm::protocol::Words;
use thalweg_shm::protocol::lock::{Acquired, LockEnvironment, POLITENESS_NS};
use thalweg_shm::protocol::sync::{AtomicU32, Ordering};
use thalweg_shm::protocol::words::{AttachmentId, LockWord, Who};

thread_local! {
    /// Processes killed in the models of this test.
    static DEATHS: Cell<usize> = const { Cell::new(0) };
}

/// The process that is killed.
const DOOMED: Who = Who(0xdead);

/// Where it is killed, if it comes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// It has announced that it waits, and does not sleep yet.
    Announced,
    /// It sleeps, or has just been woken.
    Asleep,
    /// It was woken, and has not looked yet.
    Woken,
    /// It has the lock.
    Taken,
    /// It has given the lock back, and woken nobody yet.
    Released,
    /// It has woken somebody, or found that nobody sleeps, and has not said so yet.
    HandedOn,
    /// Nowhere.
    Never,
}

impl Stop {
    const ALL: [Self; 7] = [
        Self::Announced,
        Self::Asleep,
        Self::Woken,
        Self::Taken,
        Self::Released,
        Self::HandedOn,
        Self::Never,
    ];
}

/// Who is there beside the holder of the lock and the doomed process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    /// One more that waits.
    Waiter,
    /// The holder, which comes back as soon as it has given the lock away.
    Newcomer,
    /// Both.
    WaiterAndNewcomer,
}

/// What the models have to notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    /// Sleeps have no end.
    EndlessSleep,
    /// A newcomer lets a woken waiter go first, however long that takes.
    EndlessPoliteness,
    /// Who was woken forgets that others may still sleep.
    ForgottenWaiters,
    /// Nobody looks whether the holder lives.
    HolderTakenForAlive,
}

struct Model {
    stream: Stream,
    queue: Queue,
    /// What the lock protects.
    guarded: Exclusive,
    is_dead: AtomicBool,
    flaw: Flaw,
}

impl Model {
    fn words(&self) -> Words<'_> {
        self.stream.words()
    }

    fn acquire(&self, id: AttachmentId, environment: &Process<'_>) {
        let acquired = self.words().acquire(id, environment);
        let acquired = acquired.expect("nobody gives up");
        self.guarded.write(self.guarded.read() + 1);
        if acquired == Acquired::FromDead {
            self.words().repair(self.words().head(), false);
        }
        if self.flaw == Flaw::ForgottenWaiters {
            let lock = &self.words().control.writer.lock;
            let (seen, forgotten) = (LockWord::held(id, true), LockWord::held(id, false));
            lock.compare_exchange(seen.0, forgotten.0, Ordering::Relaxed, Ordering::Relaxed)
                .ok();
        }
    }

    /// Takes the lock and gives it back, as often as the process lives.
    fn locked(&self, id: AttachmentId, stop: Stop) {
        let process = Process { model: self, stop };
        let life = catch_unwind(AssertUnwindSafe(|| {
            self.acquire(id, &process);
            process.dies_at(Stop::Taken);
            self.words().release(id, &process);
        }));
        if let Err(payload) = life {
            if !payload.is::<Killed>() {
                // The model's own: a deadlock.
                resume_unwind(payload);
            }
            DEATHS.set(DEATHS.get() + 1);
            self.is_dead.store(true, Ordering::Release);
            // Slices end only now: they are there for the dead, and must not hide anything else.
            if self.flaw != Flaw::EndlessSleep {
                self.queue.let_time_pass();
            }
        }
    }
}

/// What unwinds the stack of a process that is killed. The protocol has nothing on the stack that
/// would tidy up.
struct Killed;

/// One process: the outside world as it finds it.
struct Process<'a> {
    model: &'a Model,
    stop: Stop,
}

impl Process<'_> {
    fn dies_at(&self, stop: Stop) {
        if self.stop == stop {
            resume_unwind(Box::new(Killed));
        }
    }
}

impl LockEnvironment for Process<'_> {
    fn sleep(&self, word: &AtomicU32, expected: u32, slice_ns: u64) {
        if slice_ns == POLITENESS_NS && self.model.flaw != Flaw::EndlessPoliteness {
            // Ends by itself.
            thread::yield_now();
            return;
        }
        self.dies_at(Stop::Announced);
        let is_unchanged = || word.load(Ordering::Relaxed) == expected;
        if let Some(place) = Place::join([(&self.model.queue, is_unchanged)]) {
            if self.stop == Stop::Asleep {
                place.leave();
                self.dies_at(Stop::Asleep);
            } else {
                place.sleep();
                self.dies_at(Stop::Woken);
            }
        }
    }

    fn wake_one(&self, _word: &AtomicU32) -> bool {
        self.dies_at(Stop::Released);
        let was_there = self.model.queue.wake(1);
        self.dies_at(Stop::HandedOn);
        was_there
    }

    fn is_dead(&self, owner: AttachmentId) -> bool {
        let who = self.model.words().who(owner);
        who.is_none_or(|who| {
            who == DOOMED
                && self.model.is_dead.load(Ordering::Acquire)
                && self.model.flaw != Flaw::HolderTakenForAlive
        })
    }

    fn gives_up(&self) -> bool {
        false
    }
}

/// The lock is given back while the doomed process and the `others` come for it.
fn handed_over(stop: Stop, others: Others, flaw: Flaw) {
    let model = Shared::new(Model {
        stream: Stream::new(2),
        queue: Queue::new(),
        guarded: Exclusive::new(),
        is_dead: AtomicBool::new(false),
        flaw,
    });
    let register = |who| model.words().register(who).expect("a row");
    let [own, doomed_id, waiter_id] = [Who(1), DOOMED, Who(2)].map(register);
    let own_process = Process {
        model: &model,
        stop: Stop::Never,
    };
    model.acquire(own, &own_process);
    let doomed = model.clone();
    let doomed = thread::spawn(move || doomed.locked(doomed_id, stop));
    let waiter = (others != Others::Newcomer).then(|| {
        let waiter = model.clone();
        thread::spawn(move || waiter.locked(waiter_id, Stop::Never))
    });
    model.words().release(own, &own_process);
    if others != Others::Waiter {
        model.locked(own, Stop::Never);
    }
    doomed.join().expect("no panic");
    let live = if let Some(waiter) = waiter {
        waiter.join().expect("no panic");
        if others == Others::Waiter { 2 } else { 3 }
    } else {
        2
    };
    if stop != Stop::Taken || !model.is_dead.load(Ordering::Acquire) {
        let lock = LockWord(model.words().control.writer.lock.load(Ordering::Relaxed));
        assert!(lock.is_free());
    }
    // Everybody had it, but the doomed perhaps not.
    let guarded = model.guarded.read();
    assert!(guarded == live || guarded == live + 1, "{guarded} times");
}

/// The doomed process is killed in some schedules at each of the places.
fn explore_every_stop(others: Others, preemptions: usize) {
    for stop in Stop::ALL {
        let before = DEATHS.get();
        let name = format!("hand-over, {stop:?}, {others:?}");
        explore(&name, Some(preemptions), move || {
            handed_over(stop, others, Flaw::None);
        });
        assert_eq!(DEATHS.get() > before, stop != Stop::Never, "{name}");
    }
}

#[test]
fn the_next_waiter_gets_the_lock() {
    explore_every_stop(Others::Waiter, 3);
}

#[test]
fn a_newcomer_gets_the_lock() {
    explore_every_stop(Others::Newcomer, 3);
}

#[test]
fn a_waiter_and_a_newcomer_get_the_lock() {
    explore_every_stop(Others::WaiterAndNewcomer, 2);
}

#[test]
#[should_panic(expected = "deadlock")]
fn sleeps_have_no_end_though_a_woken_one_was_killed() {
    explore("hand-over mutant, no slices, woken", Some(3), || {
        handed_over(Stop::Woken, Others::Waiter, Flaw::EndlessSleep);
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn sleeps_have_no_end_though_a_holder_was_killed() {
    explore("hand-over mutant, no slices, released", Some(3), || {
        handed_over(Stop::Released, Others::Waiter, Flaw::EndlessSleep);
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn politeness_has_no_end() {
    explore("hand-over mutant, polite", None, || {
        handed_over(Stop::Asleep, Others::Newcomer, Flaw::EndlessPoliteness);
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn who_was_woken_forgets_the_others() {
    explore("hand-over mutant, forgotten", Some(3), || {
        handed_over(Stop::Never, Others::Waiter, Flaw::ForgottenWaiters);
    });
}

#[test]
#[should_panic(expected = "maximum number of branches")]
fn nobody_looks_whether_the_holder_lives() {
    explore("hand-over mutant, taken for alive", Some(2), || {
        handed_over(Stop::Taken, Others::Waiter, Flaw::HolderTakenForAlive);
    });
}
