//! What a forked child may and may not do with the handles it inherited.
#![cfg(not(loom))]

#[path = "support/forking.rs"]
#[expect(dead_code, reason = "for other tests")]
mod forking;

use std::io::{Read, Write};

use forking::{Scratch, finish, in_a_fork, scratch, soon, start, write};
use thalweg_shm::stream::error::WriteError;
use thalweg_shm::{DType, Patience, PublishOptions, Stream, StreamOptions};

fn create(scratch: &Scratch) -> Stream {
    let options = StreamOptions::new(DType::Uint64, &[4]);
    scratch.directory.create("s", &options).expect("created")
}

fn lock_holder(scratch: &Scratch) -> Option<u32> {
    scratch.directory.stat("s").expect("open").lock_holder_pid
}

fn newest(stream: &Stream) -> (u64, u64) {
    let (bytes, publication) = stream.read(soon().deadline_ns).expect("readable");
    let word = bytes[..8].try_into().expect("eight bytes");
    (publication.count, u64::from_ne_bytes(word))
}

#[test]
fn a_child_cannot_give_its_parents_lock_back() {
    let scratch = scratch();
    let stream = create(&scratch);
    let lock = stream.lock(soon()).expect("free");
    let mut inherited = Some(lock);
    in_a_fork(|| {
        drop(inherited.take());
        assert_eq!(stream.lock_depth(), 0);
        let refused = stream.lock(Patience::until(0));
        refused.expect_err("the parent holds it");
    });
    assert_eq!(lock_holder(&scratch), Some(std::process::id()));
    assert_eq!(stream.lock_depth(), 1);
    drop(inherited);
    assert_eq!(lock_holder(&scratch), None);
    in_a_fork(|| write(&stream, 7));
    assert_eq!(newest(&stream), (1, 7));
}

#[test]
fn a_child_cannot_abort_its_parents_frame() {
    let scratch = scratch();
    let stream = create(&scratch);
    write(&stream, 1);
    let mut loan = Some(stream.loan(soon()).expect("lent"));
    in_a_fork(|| drop(loan.take()));
    assert_eq!(lock_holder(&scratch), Some(std::process::id()));
    let mut loan = loan.take().expect("still the parent's");
    let mut array = loan.array().expect("mapped");
    array.copy_from(&[2u64; 4]).expect("of one layout");
    loan.publish(PublishOptions::default()).expect("published");
    assert_eq!(newest(&stream), (2, 2));
}

#[test]
fn a_child_has_no_frame_open_because_its_parent_had() {
    let scratch = scratch();
    let stream = create(&scratch);
    let mut loan = Some(stream.loan(soon()).expect("lent"));
    let (mut told, mut tell) = std::io::pipe().expect("a pipe");
    let child = start(|| {
        let mut inherited = loan.take().expect("inherited");
        let refused = inherited.array().map(drop);
        assert!(matches!(refused, Err(WriteError::Inherited { .. })));
        told.read_exact(&mut [0]).expect("told");
        write(&stream, 3);
        drop(inherited);
    });
    drop(loan);
    tell.write_all(&[1]).expect("told");
    finish(child);
    assert_eq!(newest(&stream), (1, 3));
}

#[test]
fn a_child_borrows_with_a_ticket_of_its_own() {
    let scratch = scratch();
    let stream = create(&scratch);
    write(&stream, 1);
    let frame = stream.borrow().expect("borrowed");
    let (mut inherited, mut kept) = (Some(frame), None);
    in_a_fork(|| {
        let own = stream.borrow().expect("a second ticket");
        drop(inherited.take());
        assert_eq!(own.array().to_vec::<u64>().expect("u64"), [1; 4]);
        // The process ends without giving it back.
        kept = Some(own);
    });
    assert!(kept.is_none(), "only the child's");
    let frame = inherited.expect("still the parent's");
    for value in 2..20 {
        write(&stream, value);
    }
    assert_eq!(frame.array().to_vec::<u64>().expect("u64"), [1; 4]);
    let again = stream.borrow().expect("the child's ticket is free again");
    assert_eq!(again.publication().count, 19);
}
