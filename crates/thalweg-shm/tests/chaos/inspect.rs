//! What a fresh process finds after everybody was killed.

use std::mem::offset_of;
use std::path::Path;

use thalweg_os::clock::monotonic_ns;
use thalweg_os::file;
use thalweg_shm::protocol::control::{Control, RequestGroup, Row, WriterGroup};
use thalweg_shm::protocol::words::{ROWS, Sequence};
use thalweg_shm::stream::error::BorrowError;
use thalweg_shm::{ArrayRef, PublishOptions, Stream, StreamDirectory};

use super::act::{NAME, soon};
use super::board::{Board, Tally};
use super::frame::{fill, tag_of};
use super::plan::Setting;
use super::side;

/// Uses the stream once more, removes everything, and reports what is left.
///
/// `may_be_uncounted` is how many publishing processes were killed: each may have published one
/// frame more than it counted.
pub(crate) fn inspect(
    board: &Board,
    setting: Setting,
    directory: &StreamDirectory,
    may_be_uncounted: u64,
) {
    let stream = directory.open(NAME).expect("nobody unlinks it");
    let began_ns = monotonic_ns();
    drop(stream.lock(soon()).expect("everybody else is dead"));
    board.worst_lock_ns.fetch_max(
        monotonic_ns() - began_ns,
        std::sync::atomic::Ordering::Relaxed,
    );
    check_count(board, stream.count(), may_be_uncounted);
    write(&stream, setting);
    let (bytes, _) = stream.read(None).expect("just written");
    let first = u64::from_ne_bytes(bytes[..8].try_into().expect("eight bytes"));
    assert_eq!(first, stream.count());
    borrow_all(board, &stream, setting);
    let path = directory.path().join(format!("thalweg.{NAME}"));
    drop(stream);
    check_words(board, &path, setting);
    assert!(directory.unlink(NAME).expect("removable"));
    // Side streams whose creators were killed live on: that is what streams do.
    let purged = directory.purge(side::PREFIX, false);
    purged.expect("readable");
    file::remove_abandoned(directory.path()).expect("readable");
    for entry in std::fs::read_dir(directory.path()).expect("readable") {
        let name = entry.expect("readable").file_name();
        board.report(Tally::LeftBehind, &format!("the file {name:?}"));
    }
}

fn check_count(board: &Board, count: u64, may_be_uncounted: u64) {
    let counted = board.tally(Tally::Frames);
    if !(counted..=counted + may_be_uncounted).contains(&count) {
        let what = format!(
            "{counted} frames were published and up to {may_be_uncounted} more, but the count is {count}"
        );
        board.report(Tally::CountsLost, &what);
    }
    if count < board.floor() {
        let what = format!("{} was seen, {count} is left", board.floor());
        board.report(Tally::CountsBackwards, &what);
    }
}

/// Publishes the frame after the newest.
fn write(stream: &Stream, setting: Setting) {
    let mut words = vec![0; setting.words];
    fill(&mut words, stream.count() + 1);
    let frame = ArrayRef::from_slice(&words, stream.shape());
    let published = stream.write(frame, PublishOptions::default(), soon());
    published.expect("nobody else is there");
}

/// Borrows as many frames as the stream has tickets: none may have been lost with the dead.
fn borrow_all(board: &Board, stream: &Stream, setting: Setting) {
    let mut frames = Vec::new();
    for _ in 0..setting.slots - 2 {
        write(stream, setting);
        match stream.borrow() {
            Ok(frame) => frames.push(frame),
            Err(error @ BorrowError::Limit { .. }) => {
                board.report(Tally::LeftBehind, &format!("a ticket: {error}"));
            }
            Err(error) => board.report(Tally::Unexpected, &error.to_string()),
        }
    }
    for _ in 0..2 * setting.slots {
        write(stream, setting);
    }
    for frame in &frames {
        let words = frame.array().to_vec::<u64>().expect("u64");
        if tag_of(&words) != Some(frame.publication().count) {
            board.report(Tally::ChangedUnderPin, "a frame borrowed at the end");
        }
    }
}

/// Looks at the shared words themselves, now that everybody has left.
fn check_words(board: &Board, path: &Path, setting: Setting) {
    let bytes = std::fs::read(path).expect("readable");
    let word = |offset: usize| {
        let bytes = bytes[offset..offset + 8].try_into().expect("eight bytes");
        u64::from_le_bytes(bytes)
    };
    for row in 0..ROWS {
        let at = offset_of!(Control, rows) + row * size_of::<Row>() + offset_of!(Row, who);
        if word(Control::OFFSET + at) != 0 {
            board.report(Tally::LeftBehind, &format!("row {row}"));
        }
        let at = offset_of!(Control, rows) + row * size_of::<Row>();
        if word(Control::OFFSET + at + offset_of!(Row, subscription)) != 0 {
            board.report(Tally::LeftBehind, &format!("a subscription in row {row}"));
        }
    }
    let request = offset_of!(Control, request);
    for ticket in 0..setting.slots - 2 {
        let at = request + offset_of!(RequestGroup, tickets) + ticket * 8;
        if word(Control::OFFSET + at) != 0 {
            board.report(Tally::LeftBehind, &format!("ticket {ticket}"));
        }
    }
    let lock = offset_of!(Control, writer) + offset_of!(WriterGroup, lock);
    if word(Control::OFFSET + lock) as u32 >> 1 != 0 {
        board.report(Tally::LeftBehind, "the lock");
    }
    for slot in 0..setting.slots {
        if Sequence(word(Control::REGION_BYTES + slot * 128)).is_busy() {
            board.report(Tally::LeftBehind, &format!("slot {slot}, being written"));
        }
    }
}
