//! What those who live find after a process was killed.

use std::mem::offset_of;
use std::time::{Duration, Instant};

use thalweg_os::file;
use thalweg_shm::protocol::control::{Control, RequestGroup, Row, WriterGroup};
use thalweg_shm::protocol::words::{ROWS, Sequence};
use thalweg_shm::stream::error::{BorrowError, WriteError};
use thalweg_shm::{Patience, Stream};

use super::scene::{
    NAME, Scene, assert_no_rows_but_of, assert_whole, read_losslessly, read_whole, soon,
    try_write_next, write_next,
};

/// Whether the killed process owes the stream a mark that its newest frame was abandoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Abandons {
    Never,
    /// Depends on where it was killed.
    Perhaps,
    Always,
}

/// What may be found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Findings {
    /// The two counts the newest frame may have.
    pub(crate) counts: (u64, u64),
    pub(crate) abandons: Abandons,
    /// The name may lead to nothing.
    pub(crate) may_lack_name: bool,
}

impl Findings {
    /// A stream without frames.
    pub(crate) const BLANK: Self = Self {
        counts: (0, 0),
        abandons: Abandons::Never,
        may_lack_name: false,
    };
    /// The newest frame is number three, as before.
    pub(crate) const UNCHANGED: Self = Self::frames(3, 3);

    /// The newest frame is one of these two.
    pub(crate) const fn frames(one: u64, other: u64) -> Self {
        Self {
            counts: (one, other),
            ..Self::BLANK
        }
    }

    pub(crate) const fn abandoned(self, abandons: Abandons) -> Self {
        Self { abandons, ..self }
    }

    pub(crate) const fn perhaps_without_name(self) -> Self {
        Self {
            may_lack_name: true,
            ..self
        }
    }
}

/// Checks everything a survivor relies on; returns how long the lock took to come back.
pub(crate) fn survive(scene: &Scene, findings: Findings) -> Duration {
    if !scene.file().exists() {
        assert!(findings.may_lack_name, "the name is gone");
        // Only private names of unfinished files may be left, and can be told from others.
        file::remove_abandoned(scene.directory.path()).expect("removed");
        assert_eq!(scene.file_names(), [""; 0], "left behind");
        drop(scene.create());
        return survive(scene, Findings::BLANK);
    }
    let stream = scene.open();
    let found = read_whole(&stream);
    if let Some(count) = found {
        let (one, other) = findings.counts;
        assert!([one, other].contains(&count), "found frame {count}");
    }
    let began = Instant::now();
    let lock = stream.lock(soon()).expect("nobody alive holds the lock");
    let waited = began.elapsed();
    let repaired = read_whole(&stream);
    match findings.abandons {
        Abandons::Never => assert_eq!(repaired, found, "repairing changed the newest frame"),
        Abandons::Perhaps => assert!(repaired.is_none() || repaired == found),
        Abandons::Always => assert_eq!(repaired, None, "an abandoned frame was not reported"),
    }
    if scene.is_progressive {
        assert_no_rows_but_of(&stream, stream.count());
    }
    write_next(&stream);
    assert_eq!(read_whole(&stream), Some(stream.count()));
    drop(lock);
    write_next(&stream);
    borrow_all(scene, &stream);
    read_all(scene, &stream);
    let stat = scene.directory.stat(NAME).expect("open");
    assert_eq!(stat.borrowed, 0);
    assert_eq!(stat.lossless, []);
    assert_eq!(stat.lock_holder_pid, None);
    assert_eq!(stat.attached_pids, [std::process::id()]);
    drop(stream);
    assert_nothing_is_held(scene);
    assert!(scene.directory.unlink(NAME).expect("removed"));
    file::remove_abandoned(scene.directory.path()).expect("removed");
    assert_eq!(scene.file_names(), [""; 0], "left behind");
    waited
}

/// Borrows as many frames as the stream has tickets: none may have been lost with the dead.
fn borrow_all(scene: &Scene, stream: &Stream) {
    let tickets = scene.slots - 2;
    let frames: Vec<_> = (0..tickets)
        .map(|_| {
            write_next(stream);
            stream.borrow().expect("a ticket")
        })
        .collect();
    for _ in 0..2 * scene.slots {
        write_next(stream);
    }
    frames.iter().for_each(assert_whole);
    match stream.borrow() {
        Err(BorrowError::Limit { .. }) if tickets > 0 => {}
        Err(BorrowError::TooFewSlots { .. }) if tickets == 0 => {}
        other => panic!("one borrowed frame too many: {other:?}"),
    }
}

/// Reads losslessly with the largest budget there is: the dead demand nothing of the writer, and
/// left all tickets.
fn read_all(scene: &Scene, stream: &Stream) {
    let mut reader = stream.subscribe(scene.slots).expect("all tickets");
    for _ in 0..scene.slots {
        write_next(stream);
    }
    let refused = try_write_next(stream, Patience::until(0));
    assert!(matches!(refused, Err(WriteError::Lagging { .. })));
    for count in reader.position() + 1..=stream.count() {
        assert_eq!(read_losslessly(&mut reader), count);
    }
}

/// Looks at the shared words themselves, now that everybody has left.
fn assert_nothing_is_held(scene: &Scene) {
    let bytes = std::fs::read(scene.file()).expect("readable");
    let word = |offset: usize| {
        let bytes = bytes[offset..offset + 8].try_into().expect("eight bytes");
        u64::from_le_bytes(bytes)
    };
    for row in 0..ROWS {
        let row = Control::OFFSET + offset_of!(Control, rows) + row * size_of::<Row>();
        assert_eq!(word(row + offset_of!(Row, who)), 0, "a row is still taken");
        assert_eq!(
            word(row + offset_of!(Row, subscription)),
            0,
            "the writer still waits for somebody"
        );
    }
    for ticket in 0..scene.slots - 2 {
        let tickets = offset_of!(Control, request) + offset_of!(RequestGroup, tickets);
        let ticket = Control::OFFSET + tickets + ticket * 8;
        assert_eq!(word(ticket), 0, "a ticket is still taken");
    }
    let lock = offset_of!(Control, writer) + offset_of!(WriterGroup, lock);
    let lock = word(Control::OFFSET + lock) as u32;
    assert_eq!(lock >> 1, 0, "the lock is still taken");
    for slot in 0..scene.slots {
        let sequence = Sequence(word(Control::REGION_BYTES + slot * 128));
        assert!(!sequence.is_busy(), "slot {slot} is still being written");
    }
}
