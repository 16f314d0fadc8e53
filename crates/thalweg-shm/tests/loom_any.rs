//! Models of waiting for any of two streams with one sleep: no publication on either is slept
//! through.
#![cfg(loom)]

#[path = "loom_support/alone.rs"]
mod alone;
#[path = "loom_support/kernel.rs"]
mod kernel;
mod loom_support;

use alone::Alone;
use kernel::{Place, Queue};
use loom::thread;
use loom_support::{Shared, Stream, explore};
use thalweg_shm::protocol::publish::Record;
use thalweg_shm::protocol::sync::{Ordering, remove_full_fences};
use thalweg_shm::protocol::words::Head;

/// What the models have to notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    /// Only the first stream is told that somebody is about to sleep.
    OneAnnouncement,
    /// Only the first stream is slept on.
    OneQueue,
    /// The heads to sleep on are read after those that were looked at.
    LateHeads,
}

struct Model {
    streams: [Stream; 2],
    queues: [Queue; 2],
    flaw: Flaw,
}

impl Model {
    fn new(flaw: Flaw) -> Shared<Self> {
        Shared::new(Self {
            streams: [Stream::new(2), Stream::new(2)],
            queues: [Queue::new(), Queue::new()],
            flaw,
        })
    }

    fn heads(&self) -> [Head; 2] {
        [0, 1].map(|stream| self.streams[stream].words().head())
    }

    fn announce(&self) {
        for (index, stream) in self.streams.iter().enumerate() {
            if index == 0 || self.flaw != Flaw::OneAnnouncement {
                stream.words().announce_park();
            }
        }
    }

    /// Sleeps until a stream has more frames than the count beside it, as `Stream::wait_any` does;
    /// says which.
    fn wait_any(&self, after: [u64; 2]) -> usize {
        loop {
            let mut heads = self.heads();
            let is_ready = |&stream: &usize| heads[stream].count() > after[stream];
            if let Some(ready) = (0..2).find(is_ready) {
                return ready;
            }
            self.announce();
            if self.flaw == Flaw::LateHeads {
                heads = self.heads();
            }
            let watched = if self.flaw == Flaw::OneQueue { 1 } else { 2 };
            let words = (0..watched).map(|stream| {
                let word = &self.streams[stream].words().control.head.head;
                let expected = heads[stream].futex();
                let is_unchanged = move || Head(word.load(Ordering::Relaxed)).futex() == expected;
                (&self.queues[stream], is_unchanged)
            });
            if let Some(place) = Place::join(words) {
                place.sleep();
            }
        }
    }

    /// Waits until both streams have one frame.
    fn wait_for_both(&self) {
        let mut seen = [0, 0];
        while seen != [1, 1] {
            seen[self.wait_any(seen)] += 1;
        }
    }

    fn publish(&self, stream: usize) {
        let words = self.streams[stream].words();
        let mut head = words.head();
        let claim = words.begin(head, &Alone).expect("a slot");
        words
            .commit(&mut head, claim, Record::default(), false, || {
                self.queues[stream].wake(usize::MAX);
            })
            .expect("nobody else writes");
    }
}

/// One waits for both streams, each written by a process of its own.
fn two_writers(flaw: Flaw) {
    let model = Model::new(flaw);
    let waiter = model.clone();
    let waiter = thread::spawn(move || waiter.wait_for_both());
    let writer = model.clone();
    let writer = thread::spawn(move || writer.publish(0));
    model.publish(1);
    writer.join().expect("no panic");
    waiter.join().expect("no panic");
}

/// Two wait, each for both streams, and one of these comes.
fn two_waiters(written: usize, flaw: Flaw) {
    let model = Model::new(flaw);
    let waiters = [0, 1].map(|_| {
        let waiter = model.clone();
        thread::spawn(move || assert_eq!(waiter.wait_any([0, 0]), written))
    });
    model.publish(written);
    for waiter in waiters {
        waiter.join().expect("no panic");
    }
}

#[test]
fn a_publication_on_either_stream_is_seen() {
    for written in [0, 1] {
        explore(&format!("any of two, stream {written}"), None, move || {
            let model = Model::new(Flaw::None);
            let waiter = model.clone();
            let waiter = thread::spawn(move || assert_eq!(waiter.wait_any([0, 0]), written));
            model.publish(written);
            waiter.join().expect("no panic");
        });
    }
}

#[test]
fn publications_on_both_streams_are_seen() {
    explore("any of two, two writers", Some(3), || {
        two_writers(Flaw::None)
    });
}

#[test]
fn two_waiters_are_woken_by_either_stream() {
    for written in [0, 1] {
        explore(
            &format!("any of two, two waiters, {written}"),
            Some(3),
            move || {
                two_waiters(written, Flaw::None);
            },
        );
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn only_one_stream_is_told() {
    explore("any of two, one announcement", Some(2), || {
        two_waiters(1, Flaw::OneAnnouncement);
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn only_one_stream_is_slept_on() {
    explore("any of two, one queue", Some(2), || {
        two_waiters(1, Flaw::OneQueue);
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn heads_are_read_too_late() {
    explore("any of two, late heads", Some(2), || {
        two_waiters(1, Flaw::LateHeads);
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn heads_are_changed_without_barriers() {
    remove_full_fences();
    explore("any of two, no barriers", Some(3), || {
        two_writers(Flaw::None);
    });
}
