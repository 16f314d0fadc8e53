//! Model of the attachment table: reapers of one dead process against a newcomer in its row.
#![cfg(loom)]

mod loom_support;

use loom::sync::Arc;
use loom::thread;
use loom_support::{Stream, explore};
use thalweg_shm::protocol::publish::Record;
use thalweg_shm::protocol::words::{Ticket, Who};

const DEAD: Who = Who(0xdead);
const NEWCOMER: Who = Who(0x0e3);

fn stream() -> Arc<Stream> {
    let stream = Stream::new(3);
    let words = stream.words();
    let dead = words.register(DEAD).expect("the first row");
    words.register(Who(1)).expect("the second row");
    words.register(Who(2)).expect("the third row");
    let mut head = words.head();
    let claim = words.begin(head).expect("a slot");
    words
        .commit(&mut head, claim, Record::default(), false, || {})
        .expect("published");
    words.pin(dead).expect("a pin");
    Arc::new(stream)
}

#[test]
fn two_reapers_leave_a_newcomer_alone() {
    explore("m7", Some(3), || {
        let stream = stream();
        let reaper =
            |stream: Arc<Stream>| thread::spawn(move || stream.words().reap(0, DEAD, |_| {}));
        let reapers = [reaper(stream.clone()), reaper(stream.clone())];
        let words = stream.words();
        let pinned = words
            .register(NEWCOMER)
            .map(|id| (id, words.pin(id).expect("the dead one's ticket is free")));
        for reaper in reapers {
            reaper.join().unwrap();
        }
        if let Some((id, pin)) = pinned {
            assert_eq!(words.who(id), Some(NEWCOMER), "the newcomer lost its row");
            let ticket = words
                .control
                .ticket(pin.ticket)
                .load(std::sync::atomic::Ordering::Relaxed);
            assert_eq!(
                Ticket(ticket),
                Ticket::new(id, pin.slot),
                "a live pin was reaped"
            );
        }
    });
}
