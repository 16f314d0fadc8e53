//! Those who use the stream: a folder of its own, and one round of everything a handle can do.

use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use thalweg_os::clock::deadline_after;
use thalweg_shm::{
    ArrayRef, DType, Patience, PublishOptions, Stream, StreamDirectory, StreamOptions, WaitPolicy,
};

/// Words of a frame: enough for copies to take the path of large frames.
pub(crate) const FRAME: usize = 20;
/// Name of the stream.
pub(crate) const NAME: &str = "stream";

/// A folder of its own for one stream.
pub(crate) struct Scratch {
    pub(crate) directory: StreamDirectory,
    folder: tempfile::TempDir,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("thalweg-test-")
            .tempdir_in("/dev/shm")
            .expect("a folder");
        Self {
            directory: StreamDirectory::new(folder.path()),
            folder,
        }
    }

    pub(crate) fn create(&self, slots: usize) -> Stream {
        let options = StreamOptions {
            slots,
            progressive: true,
            ..StreamOptions::new(DType::Uint64, &[FRAME])
        };
        self.directory.create(NAME, &options).expect("created")
    }

    /// The file the stream is.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join(format!("thalweg.{NAME}"))
    }

    /// Whatever the words say, the name is not stuck.
    pub(crate) fn assert_removable(&self) {
        assert!(self.directory.unlink(NAME).expect("removed"));
        let left = std::fs::read_dir(self.folder.path()).expect("readable");
        assert_eq!(left.count(), 0, "left behind");
    }
}

/// Long enough for any machine; that it ends at all is the point.
pub(crate) fn soon() -> Patience<'static> {
    Patience::until(deadline_after(Duration::from_secs(20)))
}

/// Long enough to sleep once or twice.
pub(crate) fn briefly() -> Patience<'static> {
    Patience::until(deadline_after(Duration::from_millis(2)))
}

/// Publishes a frame of so many equal words.
pub(crate) fn write(stream: &Stream, value: u64) {
    let frame = [value; FRAME];
    let frame = ArrayRef::from_slice(&frame, &[FRAME]);
    stream
        .write(frame, PublishOptions::default(), soon())
        .expect("written");
}

/// Everything a handle can do, once. Errors are welcome; hanging and panicking are not.
pub(crate) fn try_everything(scratch: &Scratch, stream: &Stream) {
    let frame = [5u64; FRAME];
    let frame = ArrayRef::from_slice(&frame, &[FRAME]);
    let options = PublishOptions::default();
    stream.newest();
    let count = stream.count();
    stream.is_being_written();
    stream.write_sequence();
    stream.read(briefly().deadline_ns).ok();
    stream.history(usize::MAX, briefly().deadline_ns).ok();
    let live = stream.peek().array().to_vec::<u64>();
    live.expect("memory of the stream");
    let borrowed = stream.borrow();
    if let Ok(frame) = &borrowed {
        frame.array().to_vec::<u64>().expect("memory of the stream");
        frame.publication();
    }
    stream.write(frame, options, briefly()).ok();
    if let Ok(mut loan) = stream.loan(briefly()) {
        loan.copy_last().ok();
        loan.announce_rows(3).ok();
        let mut array = loan.array().expect("mapped");
        array.copy_from(&[6u64; FRAME]).expect("of one layout");
        loan.publish(options).ok();
    }
    if let Ok(loan) = stream.loan(briefly()) {
        loan.abort();
    }
    if let Ok(lock) = stream.lock(briefly()) {
        stream.write(frame, options, briefly()).ok();
        drop(lock);
    }
    for policy in [WaitPolicy::Park, WaitPolicy::Adaptive] {
        stream.wait_after(count, policy, briefly()).ok();
    }
    let mut context = Context::from_waker(Waker::noop());
    let polled = pin!(stream.next_after(count)).poll(&mut context);
    drop((polled, borrowed));
    stream.borrow().ok();
    if let Ok(mut reader) = stream.subscribe(2) {
        for _ in 0..3 {
            stream.write(frame, options, briefly()).ok();
            reader.next(WaitPolicy::Park, briefly()).ok();
        }
        reader.lag();
    }
    if let Ok(progress) = stream.wait_rows(count, 3, WaitPolicy::Park, briefly()) {
        let mut rows = [0; 24];
        stream.read_rows_into(&progress, 0..3, &mut rows).ok();
        stream
            .wait_more_rows(&progress, FRAME, WaitPolicy::Park, briefly())
            .ok();
    }
    stream.nudge();
    scratch.directory.stat(NAME).ok();
    scratch.directory.list().expect("readable");
    // Not the last handle, so registered rows stay; opening makes one pass of reaping.
    scratch.directory.open(NAME).ok();
    stream.read(briefly().deadline_ns).ok();
}
