//! Futexes as the kernel queues them: each word has a queue, first come first served; a sleeper may
//! be in several; one that is killed leaves them, and one that was woken before takes its wake along.
//!
//! As in `futex.rs`, the look at a word comes after a barrier, and no sleep ends by itself, unless a
//! model says that time passes.

use std::collections::VecDeque;
use std::rc::Rc;

use loom::sync::atomic::{Ordering, fence};
use loom::sync::{Condvar, Mutex, MutexGuard};
use loom::thread;

struct Sleeper {
    is_awake: Mutex<bool>,
    bell: Condvar,
}

/// Those asleep on one word.
pub(crate) struct Queue {
    state: Mutex<State>,
}

struct State {
    sleepers: VecDeque<Rc<Sleeper>>,
    does_time_pass: bool,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                sleepers: VecDeque::new(),
                does_time_pass: false,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    /// Wakes up to `count` sleepers; whether there was one.
    pub(crate) fn wake(&self, count: usize) -> bool {
        let mut state = self.state();
        let woken = count.min(state.sleepers.len());
        for sleeper in state.sleepers.drain(..woken) {
            sleeper.awake();
        }
        woken > 0
    }

    /// From now on every sleep ends by itself.
    #[allow(dead_code, reason = "for some of the models")]
    pub(crate) fn let_time_pass(&self) {
        let mut state = self.state();
        state.does_time_pass = true;
        state.sleepers.drain(..).for_each(|sleeper| sleeper.awake());
    }

    fn remove(&self, sleeper: &Rc<Sleeper>) {
        let is_other = |queued: &Rc<Sleeper>| !Rc::ptr_eq(queued, sleeper);
        self.state().sleepers.retain(is_other);
    }
}

impl Sleeper {
    fn awake(&self) {
        *self.is_awake.lock().expect("no panic") = true;
        self.bell.notify_one();
    }

    fn sleep(&self) {
        let mut is_awake = self.is_awake.lock().expect("no panic");
        while !*is_awake {
            is_awake = self.bell.wait(is_awake).expect("no panic");
        }
    }
}

/// A place in the queue of each of several words.
pub(crate) struct Place<'a> {
    sleeper: Rc<Sleeper>,
    queues: Vec<&'a Queue>,
}

impl<'a> Place<'a> {
    /// Joins the queue of one word after the other, as long as each `is_unchanged`; `None` if one is
    /// not, or time passes.
    pub(crate) fn join<F: Fn() -> bool>(
        words: impl IntoIterator<Item = (&'a Queue, F)>,
    ) -> Option<Self> {
        let mut place = Self {
            sleeper: Rc::new(Sleeper {
                is_awake: Mutex::new(false),
                bell: Condvar::new(),
            }),
            queues: Vec::new(),
        };
        for (queue, is_unchanged) in words {
            let mut state = queue.state();
            fence(Ordering::SeqCst);
            if !is_unchanged() || state.does_time_pass {
                let does_time_pass = state.does_time_pass;
                drop(state);
                place.leave();
                if does_time_pass {
                    thread::yield_now();
                }
                return None;
            }
            state.sleepers.push_back(Rc::clone(&place.sleeper));
            place.queues.push(queue);
        }
        Some(place)
    }

    /// Sleeps until woken through one of the words.
    pub(crate) fn sleep(self) {
        self.sleeper.sleep();
        self.leave();
    }

    /// Leaves without sleeping, or killed.
    pub(crate) fn leave(self) {
        for queue in self.queues {
            queue.remove(&self.sleeper);
        }
    }
}
