//! Model of an event by a third party against a publication and a sleeper.
#![cfg(loom)]

#[path = "loom_support/alone.rs"]
mod alone;
#[path = "loom_support/futex.rs"]
mod futex;
mod loom_support;

use alone::Alone;
use futex::Futex;
use loom::thread;
use loom_support::{Shared, Stream, explore};
use thalweg_shm::protocol::publish::{Record, state};
use thalweg_shm::protocol::sync::Ordering;
use thalweg_shm::protocol::words::Head;

struct Model {
    stream: Stream,
    futex: Futex,
}

impl Model {
    fn wake_all(&self) {
        self.futex.wake(usize::MAX);
    }

    /// Sleeps until the stream has ended, through any number of frames.
    fn wait_for_the_end(&self) {
        let words = self.stream.words();
        loop {
            let head = words.head();
            if words.state() == state::ENDED {
                return;
            }
            words.announce_park();
            let word = &words.control.head.head;
            self.futex
                .sleep_if(|| Head(word.load(Ordering::Relaxed)).futex() == head.futex());
        }
    }
}

#[test]
fn an_event_and_a_publication_both_arrive() {
    explore("m10", Some(3), || {
        let model = Shared::new(Model {
            stream: Stream::new(2),
            futex: Futex::new(),
        });
        let (sleeper, third_party) = (model.clone(), model.clone());
        let sleeper = thread::spawn(move || sleeper.wait_for_the_end());
        let third_party = thread::spawn(move || {
            let words = third_party.stream.words();
            words.event(state::ENDED, false, || third_party.wake_all());
        });
        let words = model.stream.words();
        let mut head = Head(0);
        let claim = words.begin(head, &Alone).expect("a slot");
        words
            .commit(&mut head, claim, Record::default(), false, || {
                model.wake_all();
            })
            .expect("an event is no foreign publication");
        third_party.join().expect("no panic");
        sleeper.join().expect("no panic");
        let head = words.head();
        assert_eq!((head.count(), head.slot()), (1, claim.slot));
        assert_eq!(head.0 & 0xf, 1, "the event was lost");
        assert_eq!(words.state(), state::ENDED);
    });
}
