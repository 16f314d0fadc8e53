//! What is on stage when a process is killed: a directory, a stream in it, and self-checking
//! frames.

use std::path::PathBuf;
use std::time::Duration;

use thalweg_os::clock::deadline_after;
use thalweg_shm::stream::error::{ReadError, WriteError};
use thalweg_shm::{
    ArrayRef, DType, Frame, Loan, LosslessReader, Patience, PublishOptions, Stream,
    StreamDirectory, StreamOptions, WaitPolicy,
};

use super::tracee::{Tracee, mark};

/// Words of a frame: 136 bytes, just enough for copies to take the path of large frames.
const WORDS: usize = 17;
/// Name of the stream.
pub(crate) const NAME: &str = "stream";

/// A folder of its own for one stream.
pub(crate) struct Scene {
    folder: tempfile::TempDir,
    pub(crate) directory: StreamDirectory,
    pub(crate) slots: usize,
    pub(crate) is_strict: bool,
    pub(crate) is_progressive: bool,
}

impl Scene {
    pub(crate) fn new(slots: usize, is_strict: bool) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("thalweg-test-")
            .tempdir_in("/dev/shm")
            .expect("a folder");
        Self {
            directory: StreamDirectory::new(folder.path()),
            folder,
            slots,
            is_strict,
            is_progressive: false,
        }
    }

    fn options(&self) -> StreamOptions {
        StreamOptions {
            slots: self.slots,
            strict: self.is_strict,
            progressive: self.is_progressive,
            ..StreamOptions::new(DType::Uint64, &[WORDS])
        }
    }

    pub(crate) fn create(&self) -> Stream {
        let created = self.directory.create(NAME, &self.options());
        created.expect("created")
    }

    pub(crate) fn replace(&self) -> Stream {
        let replaced = self.directory.replace(NAME, &self.options());
        replaced.expect("replaced")
    }

    pub(crate) fn open(&self) -> Stream {
        self.directory.open(NAME).expect("opened")
    }

    /// The file the stream is.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join(format!("thalweg.{NAME}"))
    }

    /// Files in the folder.
    pub(crate) fn file_names(&self) -> Vec<String> {
        std::fs::read_dir(self.folder.path())
            .expect("readable")
            .map(|entry| entry.expect("readable").file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }
}

/// Leaves what a process leaves that is killed in the middle of a frame: the lock, a half-written
/// slot and, where the stream has tickets, a borrowed frame.
pub(crate) fn leave_debris(stream: &Stream, slots: usize) {
    let dies = || {
        let _borrowed = (slots > 2).then(|| stream.borrow().expect("borrowed"));
        let mut loan = stream.loan(soon()).expect("lent");
        fill(&mut loan, GARBAGE);
        mark();
    };
    Tracee::start(dies).expect("a process to kill").kill();
}

/// Leaves what a process leaves that is killed with a lossless reader: a demand on the writer, and
/// the tickets that pay for it.
pub(crate) fn leave_subscriber(stream: &Stream, budget: usize) {
    let dies = || {
        let _reader = stream.subscribe(budget).expect("subscribed");
        mark();
    };
    Tracee::start(dies).expect("a process to kill").kill();
}

/// What frames say that must never be seen.
pub(crate) const GARBAGE: u64 = 1 << 40;

/// Long enough for any machine; that it ends at all is the point.
pub(crate) fn soon() -> Patience<'static> {
    Patience::until(deadline_after(Duration::from_secs(20)))
}

/// The words of frame `count`.
fn words_of(count: u64) -> [u64; WORDS] {
    std::array::from_fn(|index| count * 1_000_003 + index as u64)
}

/// Publishes the frame after the newest by copying it in.
pub(crate) fn write_next(stream: &Stream) {
    try_write_next(stream, soon()).expect("written");
}

/// As [`write_next`], within `patience`.
pub(crate) fn try_write_next(stream: &Stream, patience: Patience<'_>) -> Result<(), WriteError> {
    let count = stream.count() + 1;
    let options = PublishOptions {
        frame_id: Some(count),
        origin_ns: None,
    };
    let words = words_of(count);
    let publication = stream.write(ArrayRef::from_slice(&words, &[WORDS]), options, patience)?;
    assert_eq!(publication.count, count);
    Ok(())
}

/// Fills a loan as frame `count` would be.
pub(crate) fn fill(loan: &mut Loan, count: u64) {
    let words = words_of(count);
    let mut array = loan.array().expect("mapped");
    array.copy_from(&words).expect("of one layout");
}

/// Copies the newest frame, checks it word by word, and returns its count; `None` if the stream
/// says that it is inconsistent.
pub(crate) fn read_whole(stream: &Stream) -> Option<u64> {
    match stream.read(soon().deadline_ns) {
        Ok((bytes, publication)) => {
            let count = publication.count;
            let expected = if count == 0 {
                [0; WORDS]
            } else {
                words_of(count)
            };
            let expected = expected.iter().flat_map(|word| word.to_ne_bytes());
            assert!(bytes.iter().copied().eq(expected), "frame {count} is torn");
            assert_eq!(publication.frame_id, count, "record of another frame");
            Some(count)
        }
        Err(ReadError::Inconsistent { .. }) => None,
        Err(error) => panic!("not readable: {error}"),
    }
}

/// Gives `reader` the next frame, checks it word by word, and returns its count.
pub(crate) fn read_losslessly(reader: &mut LosslessReader) -> u64 {
    let frame = reader.next(WaitPolicy::Park, soon()).expect("a frame");
    let count = frame.publication().count;
    let words = frame.array().to_vec::<u64>().expect("u64");
    assert_eq!(words, words_of(count), "lossless frame {count} is torn");
    count
}

/// Checks that whatever rows can be read belong to the newest frame: nobody writes any more.
pub(crate) fn assert_no_rows_but_of(stream: &Stream, count: u64) {
    let progress = stream
        .wait_rows(0, 1, WaitPolicy::Park, Patience::until(0))
        .expect("a frame");
    assert!(progress.is_complete(), "a dead writer's rows");
    assert_eq!(progress.count(), count);
    let mut rows = [0; WORDS * 8];
    stream
        .read_rows_into(&progress, 0..WORDS, &mut rows)
        .expect("still there");
    let expected = words_of(count).into_iter().flat_map(u64::to_ne_bytes);
    assert!(
        rows.into_iter().eq(expected),
        "rows of frame {count} are torn"
    );
}

/// Checks a borrowed frame word by word.
pub(crate) fn assert_whole(frame: &Frame) {
    let count = frame.publication().count;
    let words = frame.array().to_vec::<u64>().expect("u64");
    assert_eq!(words, words_of(count), "borrowed frame {count} is torn");
}
