//! Models of sleeping on the head word: no change is ever slept through.
#![cfg(loom)]

#[path = "loom_support/alone.rs"]
mod alone;
#[path = "loom_support/futex.rs"]
mod futex;
mod loom_support;

use alone::Alone;
use futex::Futex;
use loom::sync::atomic::fence;
use loom::thread;
use loom_support::{Shared, Stream, explore};
use thalweg_shm::protocol::Words;
use thalweg_shm::protocol::publish::{Claim, Record};
use thalweg_shm::protocol::sync::{Ordering, remove_full_fences};
use thalweg_shm::protocol::words::{Head, Sequence};

struct Model {
    stream: Stream,
    futex: Futex,
}

impl Model {
    fn new() -> Shared<Self> {
        Shared::new(Self {
            stream: Stream::new(2),
            futex: Futex::new(),
        })
    }

    fn words(&self) -> Words<'_> {
        self.stream.words()
    }

    fn wake_all(&self) {
        self.futex.wake(usize::MAX);
    }

    /// Sleeps until the stream is past frame `count`, as `Stream::wait` does.
    fn wait_past(&self, count: u64) {
        loop {
            let head = self.words().head();
            if head.count() > count {
                return;
            }
            self.words().announce_park();
            let word = &self.words().control.head.head;
            self.futex
                .sleep_if(|| Head(word.load(Ordering::Relaxed)).futex() == head.futex());
        }
    }

    fn publish(&self, head: &mut Head) {
        let claim = self.words().begin(*head, &Alone).expect("a slot");
        self.words()
            .commit(head, claim, Record::default(), false, || self.wake_all())
            .expect("nobody else writes");
    }

    /// `publish` with the one difference that a wake answers the sleepers counted after the change.
    fn publish_and_answer_late(&self, head: &mut Head) {
        let words = self.words();
        let Claim { slot, count, .. } = words.begin(*head, &Alone).expect("a slot");
        let complete = Sequence::complete(count, 0);
        words.slots[slot]
            .sequence
            .store(complete.0, Ordering::Release);
        let next = head.published(slot, count);
        words
            .control
            .head
            .head
            .compare_exchange(head.0, next.0, Ordering::AcqRel, Ordering::Acquire)
            .expect("nobody else writes");
        *head = next;
        fence(Ordering::SeqCst);
        let parked = words.control.request.parks.load(Ordering::Relaxed);
        if parked != words.control.writer.woken.load(Ordering::Relaxed) {
            self.wake_all();
            words.control.writer.woken.store(parked, Ordering::Relaxed);
        }
    }
}

fn one_sleeper() {
    let model = Model::new();
    let sleeper = model.clone();
    let sleeper = thread::spawn(move || sleeper.wait_past(0));
    model.publish(&mut Head(0));
    sleeper.join().expect("no panic");
}

fn two_sleepers(publish: impl Fn(&Model, &mut Head)) {
    let model = Model::new();
    let sleepers = [0, 1].map(|count| {
        let sleeper = model.clone();
        thread::spawn(move || sleeper.wait_past(count))
    });
    let mut head = Head(0);
    publish(&model, &mut head);
    publish(&model, &mut head);
    for sleeper in sleepers {
        sleeper.join().expect("no panic");
    }
}

#[test]
fn a_sleeper_sees_the_frame() {
    explore("m3", None, one_sleeper);
}

#[test]
fn two_sleepers_with_different_targets() {
    explore("m3b", Some(3), || two_sleepers(Model::publish));
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_sleeper_without_barriers() {
    remove_full_fences();
    explore("m3b mutant", Some(3), || two_sleepers(Model::publish));
}

#[test]
#[should_panic(expected = "deadlock")]
fn sleepers_answered_by_a_late_count() {
    explore("m3b, late count", Some(3), || {
        two_sleepers(Model::publish_and_answer_late);
    });
}
