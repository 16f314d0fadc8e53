//! Processes killed at every single instruction of the operations on shared words.
//!
//! A forked child is stepped to an instruction and killed there; then survivors check that the
//! newest frame is whole, that the lock comes back, that writing and borrowing work, that no ticket
//! and no row stays taken, and that removing the stream leaves nothing. Random kills hit a window of
//! a few instructions once in ten thousand; this hits each. `--nocapture` shows how many;
//! `THALWEG_STEP_KILL=every` spares no instruction of the long operations either, for minutes.
//!
//! Only on x86-64: elsewhere atomic operations are retry loops that stepping keeps from ever
//! succeeding.
#![cfg(all(target_os = "linux", target_arch = "x86_64", not(loom)))]
#![expect(
    unsafe_code,
    reason = "forking, tracing and killing are calls into the C library"
)]

mod scene;
mod survivor;
mod sweep;
mod tracee;

use scene::{
    GARBAGE, Scene, fill, leave_debris, leave_subscriber, read_losslessly, soon, try_write_next,
    write_next,
};
use survivor::{Abandons, Findings};
use sweep::{Operation, Stops, sweep};
use thalweg_shm::segment::header::flags;
use thalweg_shm::{Patience, PublishOptions, Stream, WaitPolicy};
use tracee::mark;

/// The stream, opened by a process that has done all that is done only once: mapped it for writing,
/// taken a row. That adds a fourth frame.
fn opened(scene: &Scene) -> Stream {
    let stream = scene.open();
    write_next(&stream);
    stream
}

/// Three frames by others and the one of `opened`.
const FOUR: Findings = Findings::frames(4, 4);
/// One frame more, or not yet.
const FOUR_OR_FIVE: Findings = Findings::frames(4, 5);

#[test]
fn create() {
    sweep(
        "create",
        &Operation {
            frames: None,
            act: |scene| {
                mark();
                let _stream = scene.create();
                mark();
            },
            findings: Findings::BLANK.perhaps_without_name(),
            stops: Stops::EveryChange,
            ..Operation::USUAL
        },
    );
}

#[test]
fn open_after_a_death() {
    sweep(
        "open after a writer's death",
        &Operation {
            stage: |scene| leave_debris(&scene.open(), scene.slots),
            act: |scene| {
                mark();
                let _stream = scene.open();
                mark();
            },
            stops: Stops::EveryChange,
            ..Operation::USUAL
        },
    );
}

#[test]
fn first_write() {
    sweep(
        "first write of a process",
        &Operation {
            act: |scene| {
                let stream = scene.open();
                mark();
                write_next(&stream);
                mark();
            },
            findings: Findings::frames(3, 4),
            stops: Stops::EveryChange,
            ..Operation::USUAL
        },
    );
}

#[test]
fn first_frame_of_a_stream() {
    sweep(
        "first frame of a stream",
        &Operation {
            frames: Some(0),
            act: |scene| {
                let stream = scene.open();
                drop(stream.lock(soon()).expect("free"));
                mark();
                write_next(&stream);
                mark();
            },
            findings: Findings::frames(0, 1).abandoned(Abandons::Perhaps),
            stops: Stops::EveryChange,
            ..Operation::USUAL
        },
    );
}

#[test]
fn write() {
    for (slots, is_strict) in [(4, false), (3, true), (2, false)] {
        let abandons = if is_strict {
            Abandons::Perhaps
        } else {
            Abandons::Never
        };
        sweep(
            &format!("write, {slots} slots, strict {is_strict}"),
            &Operation {
                slots,
                is_strict,
                act: |scene| {
                    let stream = opened(scene);
                    mark();
                    write_next(&stream);
                    mark();
                },
                findings: FOUR_OR_FIVE.abandoned(abandons),
                ..Operation::USUAL
            },
        );
    }
}

#[test]
fn write_and_wake() {
    sweep(
        "write with a sleeper announced",
        &Operation {
            act: |scene| {
                let stream = opened(scene);
                let at_once = Patience::until(0);
                let timed_out = stream.wait_after(4, WaitPolicy::Park, at_once);
                timed_out.expect_err("nobody publishes");
                mark();
                write_next(&stream);
                mark();
            },
            findings: FOUR_OR_FIVE,
            ..Operation::USUAL
        },
    );
}

#[test]
fn write_past_a_pinned_slot() {
    sweep(
        "write past a pinned slot",
        &Operation {
            slots: 3,
            act: |scene| {
                let stream = opened(scene);
                let _borrowed = stream.borrow().expect("borrowed");
                write_next(&stream);
                write_next(&stream);
                mark();
                write_next(&stream);
                mark();
            },
            findings: Findings::frames(6, 7),
            ..Operation::USUAL
        },
    );
}

#[test]
fn loan_and_publish() {
    sweep(
        "loan and publish",
        &Operation {
            act: |scene| {
                let stream = opened(scene);
                let options = PublishOptions {
                    frame_id: Some(5),
                    origin_ns: None,
                };
                mark();
                let mut loan = stream.loan(soon()).expect("lent");
                fill(&mut loan, 5);
                loan.publish(options).expect("published");
                mark();
            },
            findings: FOUR_OR_FIVE,
            ..Operation::USUAL
        },
    );
}

#[test]
fn abort() {
    for is_strict in [false, true] {
        let abandons = if is_strict {
            Abandons::Always
        } else {
            Abandons::Never
        };
        sweep(
            &format!("abort, strict {is_strict}"),
            &Operation {
                is_strict,
                act: |scene| {
                    let stream = opened(scene);
                    let mut loan = stream.loan(soon()).expect("lent");
                    fill(&mut loan, GARBAGE);
                    mark();
                    drop(loan);
                    mark();
                },
                findings: FOUR.abandoned(abandons),
                ..Operation::USUAL
            },
        );
    }
}

#[test]
fn abort_of_the_first_frame() {
    sweep(
        "abort of the first frame",
        &Operation {
            frames: Some(0),
            act: |scene| {
                let stream = scene.open();
                let mut loan = stream.loan(soon()).expect("lent");
                fill(&mut loan, GARBAGE);
                mark();
                drop(loan);
                mark();
            },
            findings: Findings::BLANK.abandoned(Abandons::Always),
            ..Operation::USUAL
        },
    );
}

#[test]
fn borrow() {
    sweep(
        "borrow",
        &Operation {
            act: |scene| {
                let stream = opened(scene);
                mark();
                let _borrowed = stream.borrow().expect("borrowed");
                mark();
            },
            findings: FOUR,
            ..Operation::USUAL
        },
    );
}

#[test]
fn give_back() {
    sweep(
        "give a borrowed frame back",
        &Operation {
            act: |scene| {
                let stream = opened(scene);
                let borrowed = stream.borrow().expect("borrowed");
                mark();
                drop(borrowed);
                mark();
            },
            findings: FOUR,
            ..Operation::USUAL
        },
    );
}

#[test]
fn borrow_from_the_dead() {
    for is_strict in [false, true] {
        let abandons = if is_strict {
            Abandons::Always
        } else {
            Abandons::Never
        };
        sweep(
            &format!("borrow what a dead writer holds, strict {is_strict}"),
            &Operation {
                slots: 3,
                is_strict,
                act: |scene| {
                    let stream = opened(scene);
                    leave_debris(&stream, scene.slots);
                    mark();
                    // The only ticket is a dead one's. Where a lost frame is an error, this is one.
                    let borrowed = stream.borrow();
                    mark();
                    assert_eq!(borrowed.is_err(), stream.header().has(flags::STRICT));
                },
                findings: FOUR.abandoned(abandons),
                stops: Stops::EveryChange,
                ..Operation::USUAL
            },
        );
    }
}

#[test]
fn subscribe() {
    for (slots, budget) in [(2, 2), (4, 4)] {
        sweep(
            &format!("subscribe, {slots} slots"),
            &Operation {
                slots,
                act: if budget == 2 {
                    |scene| subscribe_and_hold(scene, 2)
                } else {
                    |scene| subscribe_and_hold(scene, 4)
                },
                findings: FOUR,
                ..Operation::USUAL
            },
        );
    }
}

fn subscribe_and_hold(scene: &Scene, budget: usize) {
    let stream = opened(scene);
    mark();
    let _reader = stream.subscribe(budget).expect("subscribed");
    mark();
}

#[test]
fn subscribe_beside_another() {
    sweep(
        "subscribe beside another reader of the process",
        &Operation {
            act: |scene| {
                let stream = opened(scene);
                let _other = stream.subscribe(3).expect("subscribed");
                mark();
                let _reader = stream.subscribe(1).expect("subscribed");
                mark();
            },
            findings: FOUR,
            ..Operation::USUAL
        },
    );
}

#[test]
fn read_losslessly_in_place() {
    sweep(
        "next frame of a lossless reader",
        &Operation {
            act: |scene| {
                let stream = opened(scene);
                let mut reader = stream.subscribe(2).expect("subscribed");
                write_next(&stream);
                write_next(&stream);
                assert_eq!(read_losslessly(&mut reader), 5);
                mark();
                // Gives one frame back and takes the next.
                let frame = reader.next(WaitPolicy::Park, soon()).expect("there");
                assert_eq!(frame.publication().count, 6);
                mark();
            },
            findings: Findings::frames(6, 6),
            ..Operation::USUAL
        },
    );
}

#[test]
fn unsubscribe() {
    sweep(
        "end of a lossless reader",
        &Operation {
            act: |scene| {
                let stream = opened(scene);
                let reader = stream.subscribe(4).expect("subscribed");
                mark();
                drop(reader);
                mark();
            },
            findings: FOUR,
            ..Operation::USUAL
        },
    );
}

#[test]
fn write_with_a_lossless_reader() {
    sweep(
        "write with room for a lossless reader",
        &Operation {
            act: |scene| {
                let stream = opened(scene);
                let _reader = stream.subscribe(3).expect("subscribed");
                write_next(&stream);
                write_next(&stream);
                mark();
                write_next(&stream);
                mark();
            },
            findings: Findings::frames(6, 7),
            ..Operation::USUAL
        },
    );
}

#[test]
fn write_without_room() {
    sweep(
        "write without room for a lossless reader",
        &Operation {
            act: |scene| {
                let stream = opened(scene);
                let _reader = stream.subscribe(1).expect("subscribed");
                write_next(&stream);
                mark();
                let refused = try_write_next(&stream, Patience::until(0));
                mark();
                refused.expect_err("the reader has not read frame 5");
            },
            findings: Findings::frames(5, 5),
            stops: Stops::EveryChange,
            ..Operation::USUAL
        },
    );
}

#[test]
fn write_after_a_readers_death() {
    sweep(
        "write what a dead lossless reader has no room for",
        &Operation {
            slots: 3,
            act: |scene| {
                let stream = opened(scene);
                leave_subscriber(&stream, 3);
                (5..=7).for_each(|_| write_next(&stream));
                mark();
                write_next(&stream);
                mark();
            },
            findings: Findings::frames(7, 8),
            stops: Stops::EveryChange,
            ..Operation::USUAL
        },
    );
}

#[test]
fn write_after_a_reader_left() {
    sweep(
        "write with the bit of a reader that left",
        &Operation {
            act: |scene| {
                let stream = opened(scene);
                drop(stream.subscribe(2).expect("subscribed"));
                mark();
                write_next(&stream);
                mark();
            },
            findings: FOUR_OR_FIVE,
            ..Operation::USUAL
        },
    );
}

#[test]
fn begin_and_announce_rows() {
    for wakes in [false, true] {
        sweep(
            &format!("begin a progressive frame and announce rows, wakes {wakes}"),
            &Operation {
                is_progressive: true,
                act: if wakes {
                    |scene| write_by_rows(scene, true)
                } else {
                    |scene| write_by_rows(scene, false)
                },
                findings: FOUR_OR_FIVE,
                stops: if wakes {
                    Stops::EveryChange
                } else {
                    Stops::EveryInstruction
                },
                ..Operation::USUAL
            },
        );
    }
}

fn write_by_rows(scene: &Scene, wakes: bool) {
    let stream = opened(scene);
    if wakes {
        let timed_out = stream.wait_rows(4, 1, WaitPolicy::Park, Patience::until(0));
        timed_out.expect_err("nobody writes");
    }
    let options = PublishOptions {
        frame_id: Some(5),
        origin_ns: None,
    };
    mark();
    let mut loan = stream.loan(soon()).expect("lent");
    fill(&mut loan, 5);
    loan.announce_rows(3).expect("of 17");
    loan.announce_rows(17).expect("of 17");
    loan.publish(options).expect("published");
    mark();
}

#[test]
fn abort_a_progressive_frame() {
    sweep(
        "abort a frame whose rows are announced",
        &Operation {
            is_progressive: true,
            act: |scene| {
                let stream = opened(scene);
                let mut loan = stream.loan(soon()).expect("lent");
                fill(&mut loan, GARBAGE);
                loan.announce_rows(3).expect("of 17");
                mark();
                drop(loan);
                mark();
            },
            findings: FOUR,
            ..Operation::USUAL
        },
    );
}

#[test]
fn wait_for_rows() {
    sweep(
        "wait for rows",
        &Operation {
            is_progressive: true,
            act: |scene| {
                let stream = opened(scene);
                mark();
                let timed_out = stream.wait_rows(4, 1, WaitPolicy::Park, Patience::until(0));
                timed_out.expect_err("nobody writes");
                mark();
            },
            findings: FOUR,
            stops: Stops::EveryChange,
            ..Operation::USUAL
        },
    );
}

#[test]
fn lock() {
    sweep(
        "lock",
        &Operation {
            act: |scene| {
                let stream = opened(scene);
                mark();
                let _lock = stream.lock(soon()).expect("free");
                mark();
            },
            findings: FOUR,
            ..Operation::USUAL
        },
    );
}

#[test]
fn lock_after_a_death() {
    for is_strict in [false, true] {
        let abandons = if is_strict {
            Abandons::Always
        } else {
            Abandons::Never
        };
        sweep(
            &format!("lock after a writer's death, strict {is_strict}"),
            &Operation {
                is_strict,
                act: |scene| {
                    let stream = opened(scene);
                    leave_debris(&stream, scene.slots);
                    mark();
                    let _lock = stream.lock(soon()).expect("its holder is dead");
                    mark();
                },
                findings: FOUR.abandoned(abandons),
                ..Operation::USUAL
            },
        );
    }
}

#[test]
fn unlock() {
    sweep(
        "unlock",
        &Operation {
            act: |scene| {
                let stream = opened(scene);
                let lock = stream.lock(soon()).expect("free");
                mark();
                drop(lock);
                mark();
            },
            findings: FOUR,
            ..Operation::USUAL
        },
    );
}

#[test]
fn unlock_and_wake() {
    sweep(
        "unlock with waiters announced",
        &Operation {
            act: |scene| {
                let stream = opened(scene);
                leave_debris(&stream, scene.slots);
                // Whoever takes over from the dead assumes that others wait.
                let lock = stream.lock(soon()).expect("its holder is dead");
                mark();
                drop(lock);
                mark();
            },
            findings: FOUR,
            ..Operation::USUAL
        },
    );
}

#[test]
fn leave() {
    sweep(
        "close the last handle",
        &Operation {
            act: |scene| {
                let stream = opened(scene);
                mark();
                drop(stream);
                mark();
            },
            findings: FOUR,
            ..Operation::USUAL
        },
    );
}

#[test]
fn unlink() {
    sweep(
        "unlink",
        &Operation {
            act: |scene| {
                let stream = opened(scene);
                mark();
                stream.unlink().expect("removed");
                mark();
            },
            findings: FOUR.perhaps_without_name(),
            ..Operation::USUAL
        },
    );
}

#[test]
fn replace() {
    sweep(
        "replace",
        &Operation {
            act: |scene| {
                let _stream = opened(scene);
                mark();
                let _new = scene.replace();
                mark();
            },
            // The old stream with its frames or the new one without; the name is never gone.
            findings: Findings::frames(4, 0),
            stops: Stops::EveryChange,
            ..Operation::USUAL
        },
    );
}
