//! A new stream in the place of another of the same name.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use thalweg_os::clock::deadline_after;
use thalweg_os::locked_file::LockedFile;
use thalweg_shm::stream::error::{CreateError, ReplaceError, UnlinkError, WaitError};
use thalweg_shm::{
    ArrayRef, DType, Patience, PublishOptions, StaleReason, Stream, StreamDirectory, StreamOptions,
    WaitPolicy,
};

struct Scratch {
    directory: StreamDirectory,
    folder: tempfile::TempDir,
}

fn scratch() -> Scratch {
    let folder = tempfile::Builder::new()
        .prefix("thalweg-test-")
        .tempdir_in("/dev/shm")
        .unwrap();
    Scratch {
        directory: StreamDirectory::new(folder.path()),
        folder,
    }
}

impl Scratch {
    fn files(&self) -> usize {
        std::fs::read_dir(self.folder.path()).unwrap().count()
    }
}

fn options(elements: usize) -> StreamOptions {
    StreamOptions::new(DType::Uint64, &[elements])
}

fn soon() -> Patience<'static> {
    Patience::until(deadline_after(Duration::from_secs(20)))
}

fn write(stream: &Stream, value: u64) {
    let payload = vec![value; stream.shape()[0]];
    let frame = ArrayRef::from_slice(&payload, stream.shape());
    stream
        .write(frame, PublishOptions::default(), soon())
        .unwrap();
}

#[test]
fn the_name_leads_to_the_new_stream_and_old_handles_stay_usable() {
    let scratch = scratch();
    let old = scratch.directory.create("s", &options(4)).unwrap();
    write(&old, 1);
    let frame = old.borrow().unwrap();
    let new = scratch.directory.replace("s", &options(9)).unwrap();
    write(&new, 2);
    assert_eq!(scratch.directory.open("s").unwrap().shape(), [9]);
    assert_eq!(scratch.files(), 1);
    assert_eq!(old.stale_reason(), Some(StaleReason::Replaced));
    assert_eq!(new.stale_reason(), None);
    assert_eq!(frame.array().to_vec::<u64>().unwrap(), [1; 4]);
    write(&old, 3);
    assert_eq!((old.count(), new.count()), (2, 1));
    assert!(matches!(old.unlink(), Err(UnlinkError::Stale { .. })));
    new.unlink().unwrap();
    assert_eq!(scratch.files(), 0);
}

#[test]
fn a_file_that_is_kept_locked_is_neither_removed_nor_replaced() {
    let scratch = scratch();
    let stream = scratch.directory.create("s", &options(4)).unwrap();
    let path = scratch.folder.path().join("thalweg.s");
    let held = LockedFile::open(&path).unwrap();
    let errors = std::thread::scope(|scope| {
        let removing = scope.spawn(|| stream.unlink().unwrap_err().to_string());
        let by_name = scope.spawn(|| scratch.directory.unlink("s").unwrap_err().to_string());
        let replacing = scope.spawn(|| {
            let refused = scratch.directory.replace("s", &options(9));
            refused.map(drop).unwrap_err().to_string()
        });
        [removing, by_name, replacing].map(|thread| thread.join().unwrap())
    });
    let holder = format!("process {} has kept the file locked", std::process::id());
    for error in errors {
        assert!(
            error.contains(&holder) && error.contains("thalweg.s"),
            "{error}"
        );
    }
    assert_eq!((stream.stale_reason(), scratch.files()), (None, 1));
    drop(held);
    stream.unlink().unwrap();
    assert_eq!(scratch.files(), 0);
}

#[test]
fn what_is_not_there_is_created() {
    let scratch = scratch();
    let stream = scratch.directory.replace("s", &options(4)).unwrap();
    write(&stream, 1);
    assert_eq!(scratch.directory.open("s").unwrap().count(), 1);
    assert_eq!(scratch.files(), 1);
}

#[test]
fn waiters_on_the_old_stream_learn_of_it() {
    let scratch = scratch();
    let old = scratch.directory.create("s", &options(4)).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| old.wait_after(0, WaitPolicy::Park, soon()));
        scratch.directory.replace("s", &options(4)).unwrap();
        let Err(WaitError::Stale { reason, .. }) = waiter.join().unwrap() else {
            panic!("the wait went on");
        };
        assert_eq!(reason, StaleReason::Replaced);
    });
}

#[test]
fn nobody_ever_finds_nothing() {
    const ROUNDS: usize = 300;
    let scratch = scratch();
    drop(scratch.directory.create("s", &options(1)).unwrap());
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let openers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut last = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        let stream = scratch.directory.open("s").unwrap();
                        let elements = stream.shape()[0];
                        assert!(elements >= last, "an older stream came back");
                        last = elements;
                    }
                })
            })
            .collect();
        for elements in 2..ROUNDS {
            scratch.directory.replace("s", &options(elements)).unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        for opener in openers {
            opener.join().unwrap();
        }
    });
    assert_eq!(scratch.files(), 1);
}

#[test]
fn of_two_who_replace_at_once_each_replaces_what_it_looked_at() {
    const ROUNDS: usize = 100;
    let scratch = scratch();
    let first = scratch.directory.create("s", &options(1)).unwrap();
    let mut streams: Vec<Stream> = std::thread::scope(|scope| {
        let replacers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| -> Vec<Stream> {
                    (0..ROUNDS)
                        .map(|_| scratch.directory.replace("s", &options(2)).unwrap())
                        .collect()
                })
            })
            .collect();
        replacers
            .into_iter()
            .flat_map(|replacer| replacer.join().unwrap())
            .collect()
    });
    streams.push(first);
    assert_eq!(scratch.files(), 1);
    // Told by its words, without a look at the file system: each but one was replaced by somebody
    // who knew it.
    let is_told = |stream: &&Stream| {
        let at_once = stream.wait_after(0, WaitPolicy::Park, Patience::until(0));
        matches!(
            at_once,
            Err(WaitError::Stale {
                reason: StaleReason::Replaced,
                ..
            })
        )
    };
    assert_eq!(streams.iter().filter(is_told).count(), 2 * ROUNDS);
    let current = scratch.directory.open("s").unwrap();
    let instance = |stream: &Stream| stream.header().instance;
    let survivor = streams.iter().find(|stream| !is_told(stream)).unwrap();
    assert_eq!(instance(&current), instance(survivor));
}

#[test]
fn replacing_and_unlinking_at_once_leaves_one_or_none() {
    let scratch = scratch();
    for _ in 0..200 {
        let old = scratch.directory.create("s", &options(1)).unwrap();
        let (replaced, unlinked) = std::thread::scope(|scope| {
            let replacing = scope.spawn(|| scratch.directory.replace("s", &options(2)).unwrap());
            let unlinking = scope.spawn(|| old.unlink());
            (replacing.join().unwrap(), unlinking.join().unwrap())
        });
        // Whoever came first, the old handle has not removed the new stream.
        match unlinked {
            Ok(()) | Err(UnlinkError::Stale { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        assert_eq!(replaced.stale_reason(), None);
        assert_eq!(scratch.directory.open("s").unwrap().shape(), [2]);
        replaced.unlink().unwrap();
        assert_eq!(scratch.files(), 0);
    }
}

#[test]
fn creating_and_replacing_at_once_fail_only_by_a_name_that_is_taken() {
    let scratch = scratch();
    for _ in 0..200 {
        let (created, replaced) = std::thread::scope(|scope| {
            let creating = scope.spawn(|| scratch.directory.create("s", &options(1)));
            let replacing = scope.spawn(|| scratch.directory.replace("s", &options(2)).unwrap());
            (creating.join().unwrap(), replacing.join().unwrap())
        });
        match created {
            Ok(created) => assert_eq!(created.stale_reason(), Some(StaleReason::Replaced)),
            Err(CreateError::Exists { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        replaced.unlink().unwrap();
        assert_eq!(scratch.files(), 0);
    }
}

#[test]
fn a_file_that_is_no_stream_is_replaced_too() {
    let scratch = scratch();
    std::fs::write(scratch.folder.path().join("thalweg.s"), b"no stream").unwrap();
    scratch.directory.replace("s", &options(3)).unwrap();
    assert_eq!(scratch.directory.open("s").unwrap().shape(), [3]);
    assert_eq!(scratch.files(), 1);
}

#[test]
fn a_stream_that_cannot_be_made_replaces_nothing() {
    let scratch = scratch();
    let old = scratch.directory.create("s", &options(4)).unwrap();
    let refused = scratch.directory.replace("s", &options(usize::MAX));
    assert!(matches!(refused, Err(ReplaceError::Create(_))));
    assert_eq!(old.stale_reason(), None);
    assert_eq!(scratch.files(), 1);
}
