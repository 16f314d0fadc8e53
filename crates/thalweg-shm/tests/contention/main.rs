//! Processes that want the same stream at the same time: nobody starves, nothing is lost.
//!
//! The shares demanded here are far below what a quiet machine gives and far above what starving
//! leaves; on a busy one a process may miss its turn now and then.
#![cfg(all(target_os = "linux", not(loom)))]

#[path = "../support/child.rs"]
#[expect(dead_code, reason = "for other tests")]
mod child;

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use child::{Child, End};
use thalweg_os::clock::deadline_after;
use thalweg_shm::stream::error::ReadError;
use thalweg_shm::{
    ArrayRef, DType, Patience, PublishOptions, Stream, StreamDirectory, StreamOptions, WaitPolicy,
};

/// Name of the stream.
const NAME: &str = "stream";

/// A folder of its own for one stream.
struct Scratch {
    directory: StreamDirectory,
    folder: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// Forking copies locks as they are: no other test of this process may be inside one.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

impl Scratch {
    /// With a stream that no process of ours has open, so that children do not share it.
    fn new(words: usize, slots: usize) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::Builder::new()
            .prefix("thalweg-test-")
            .tempdir_in("/dev/shm")
            .expect("a folder");
        let directory = StreamDirectory::new(folder.path());
        let options = StreamOptions {
            slots,
            ..StreamOptions::new(DType::Uint64, &[words])
        };
        drop(directory.create(NAME, &options).expect("created"));
        Self {
            directory,
            folder,
            _turn: turn,
        }
    }

    fn open(&self) -> Stream {
        self.directory.open(NAME).expect("opened")
    }

    fn lock_holder(&self) -> Option<u32> {
        self.directory.stat(NAME).expect("open").lock_holder_pid
    }

    /// Where a child leaves the figure it was asked for.
    fn figure(&self, child: usize) -> PathBuf {
        self.folder.path().join(format!("figure.{child}"))
    }

    fn leave(&self, child: usize, figure: u64) {
        std::fs::write(self.figure(child), figure.to_string()).expect("written");
    }

    fn left(&self, child: usize) -> u64 {
        let text = std::fs::read_to_string(self.figure(child)).expect("readable");
        text.parse().expect("a number")
    }
}

fn soon() -> Patience<'static> {
    Patience::until(deadline_after(Duration::from_secs(20)))
}

fn within(milliseconds: u64) -> Patience<'static> {
    Patience::until(deadline_after(Duration::from_millis(milliseconds)))
}

fn write(stream: &Stream, words: &[u64]) {
    let frame = ArrayRef::from_slice(words, stream.shape());
    stream
        .write(frame, PublishOptions::default(), soon())
        .expect("written");
}

fn finish_all(children: Vec<Child>) {
    for child in children {
        assert_eq!(child.finish(), End::Exited(0));
    }
}

/// Passes time that a computation would take.
fn compute(milliseconds: u64) {
    let ends = Instant::now() + Duration::from_millis(milliseconds);
    while let Some(left) = ends.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

#[test]
fn three_writers_and_two_readers_lose_and_tear_nothing() {
    const WORDS: usize = 512;
    const LASTS: Duration = Duration::from_secs(2);
    /// What everybody gets done, be it after more than two seconds.
    const SHARE: u64 = 50;
    const WATCHDOG: Duration = Duration::from_secs(60);
    let scratch = Scratch::new(WORDS, 4);
    let writers = 0..3;
    let readers = 3..5;
    let write_for_a_while = |own: usize| {
        let (stream, began) = (scratch.open(), Instant::now());
        let mut written = 0;
        let readers_go_on = || {
            !readers
                .clone()
                .all(|reader| scratch.figure(reader).exists())
        };
        while began.elapsed() < LASTS || written < SHARE || readers_go_on() {
            assert!(began.elapsed() < WATCHDOG, "{written} frames written");
            write(&stream, &[(own as u64) << 32 | written; WORDS]);
            written += 1;
        }
        scratch.leave(own, written);
    };
    let read_for_a_while = |own: usize| {
        let (stream, began) = (scratch.open(), Instant::now());
        let (mut seen, mut different) = (0, 0);
        while began.elapsed() < LASTS || different < SHARE {
            assert!(began.elapsed() < WATCHDOG, "{different} frames read");
            let (bytes, publication) = stream.read(soon().deadline_ns).expect("readable");
            assert!(bytes.chunks_exact(8).all(|w| w == &bytes[..8]), "torn");
            assert!(publication.count >= seen, "count went back");
            different += u64::from(publication.count > seen);
            seen = publication.count;
        }
        scratch.leave(own, different);
    };
    let mut children = Vec::new();
    for own in writers.clone() {
        children.push(Child::start(|| write_for_a_while(own)));
    }
    for own in readers.clone() {
        children.push(Child::start(|| read_for_a_while(own)));
    }
    finish_all(children);
    let written: Vec<u64> = writers.map(|own| scratch.left(own)).collect();
    assert_eq!(scratch.open().count(), written.iter().sum::<u64>());
}

#[test]
fn a_lock_released_and_taken_again_at_once_is_had_by_others() {
    const TRIES: u64 = 40;
    let scratch = Scratch::new(1, 4);
    let peer = Child::start(|| {
        let stream = scratch.open();
        loop {
            let lock = stream.lock(soon()).expect("had");
            compute(2);
            drop(lock);
        }
    });
    let seeker = Child::start(|| {
        let stream = scratch.open();
        let began = Instant::now();
        while scratch.lock_holder().is_none() {
            assert!(began.elapsed() < Duration::from_secs(20), "no peer");
            std::thread::yield_now();
        }
        let had = (0..TRIES).filter(|_| {
            let is_had = stream.lock(within(50)).is_ok();
            // The peer has it again by then.
            compute(3);
            is_had
        });
        scratch.leave(0, had.count() as u64);
    });
    assert_eq!(seeker.finish(), End::Exited(0));
    assert_eq!(peer.kill(), End::Killed);
    let had = scratch.left(0);
    assert!(had * 4 >= TRIES * 3, "{had} of {TRIES}");
}

#[test]
fn a_producer_that_computes_in_place_loses_no_frame_on_a_waiting_reader() {
    const FRAMES: u64 = 60;
    let scratch = Scratch::new(64, 4);
    let reader = Child::start(|| {
        let stream = scratch.open();
        let (mut seen, mut different) = (0, 0);
        while seen < FRAMES {
            seen = stream
                .wait_after(seen, WaitPolicy::Park, soon())
                .expect("a frame");
            let (_, publication) = stream.read(soon().deadline_ns).expect("readable");
            assert!(publication.count >= seen);
            different += 1;
        }
        scratch.leave(0, different);
    });
    let producer = Child::start(|| {
        let stream = scratch.open();
        for _ in 0..FRAMES {
            let mut loan = stream.loan(soon()).expect("lent");
            loan.copy_last().expect("mapped");
            compute(10);
            loan.publish(PublishOptions::default()).expect("published");
        }
    });
    finish_all(vec![reader, producer]);
    let different = scratch.left(0);
    assert!(different * 4 >= FRAMES * 3, "{different} of {FRAMES}");
}

/// 8 MiB: copying one takes a thousand times as long as changing two words of it.
const LARGE: usize = 1 << 20;

/// Publishes frames back to back whose first and last words are their count.
fn update_for_ever(scratch: &Scratch) {
    let stream = scratch.open();
    loop {
        let lock = stream.lock(soon()).expect("free");
        let count = stream.count() + 1;
        let mut loan = stream.loan(soon()).expect("lent");
        let mut array = loan.array().expect("mapped");
        array.copy_range_from(0, &[count]).expect("inside");
        array.copy_range_from(LARGE - 1, &[count]).expect("inside");
        loan.publish(PublishOptions::default()).expect("published");
        drop(lock);
    }
}

#[test]
fn frames_replaced_faster_than_they_are_copied_can_be_read() {
    let scratch = Scratch::new(LARGE, 4);
    let writer = Child::start(|| update_for_ever(&scratch));
    let stream = scratch.open();
    let first = stream.wait_after(0, WaitPolicy::Park, soon());
    let mut seen = first.expect("a frame");
    let mut bytes = vec![0; stream.payload_bytes()];
    for _ in 0..20 {
        let read = stream.read_into(&mut bytes, soon().deadline_ns);
        let publication = read.expect("copied under a ticket");
        let ends = [&bytes[..8], &bytes[bytes.len() - 8..]];
        assert_eq!(ends, [&publication.count.to_le_bytes()[..]; 2], "torn");
        assert!(publication.count >= seen, "count went back");
        seen = publication.count;
    }
    assert_eq!(writer.kill(), End::Killed);
}

#[test]
fn frames_replaced_too_fast_without_a_free_ticket_are_an_error_in_time() {
    let scratch = Scratch::new(LARGE, 3);
    let writer = Child::start(|| update_for_ever(&scratch));
    let stream = scratch.open();
    let first = stream.wait_after(0, WaitPolicy::Park, soon());
    first.expect("a frame");
    // The only ticket is another process's, which lives.
    let borrower = Child::start(|| {
        let stream = scratch.open();
        let _borrowed = stream.borrow().expect("borrowed");
        scratch.leave(0, 1);
        loop {
            std::thread::park_timeout(Duration::from_secs(1));
        }
    });
    let began = Instant::now();
    while !scratch.figure(0).exists() {
        assert!(began.elapsed() < Duration::from_secs(20), "no ticket");
        std::thread::yield_now();
    }
    let began = Instant::now();
    match stream.read(within(100).deadline_ns) {
        // Lucky: the writer had to pause.
        Ok(_) => {}
        Err(ReadError::Overtaken { attempts, .. }) => assert!(attempts >= 3),
        Err(error) => panic!("{error}"),
    }
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(writer.kill(), End::Killed);
    assert_eq!(borrower.kill(), End::Killed);
}
