//! Writing into a segment behind everybody's back, through its file.

use std::fs::{File, OpenOptions};
use std::mem::offset_of;
use std::os::unix::fs::FileExt;

use thalweg_shm::protocol::control::{
    Control, HeadGroup, NAMESPACES, RequestGroup, Row, SlotHeader, SpaceGroup, WriterGroup,
};
use thalweg_shm::protocol::words::ROWS;
use thalweg_shm::segment::header::HEADER_BYTES;

use super::user::Scratch;

/// A shared word.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Word {
    Head,
    State,
    Parks,
    RowParks,
    Lossless,
    Ticket(usize),
    Lock,
    Attempts,
    Woken,
    LastHolder,
    RowWoken,
    Live,
    SpaceBell,
    Waiting,
    RowBell,
    Namespace(usize),
    Who(usize),
    Generation(usize),
    Subscription(usize),
    Cursor(usize),
    Sequence(usize),
    FrameId(usize),
    WallTime(usize),
    PublishTime(usize),
    OriginTime(usize),
    RowsDone(usize),
}

impl Word {
    /// All words of a stream with so many slots, but few of those that are alike.
    pub(crate) fn all(slots: usize) -> Vec<Self> {
        let mut words = vec![
            Self::Head,
            Self::State,
            Self::Parks,
            Self::RowParks,
            Self::Lossless,
            Self::Lock,
            Self::Attempts,
            Self::Woken,
            Self::LastHolder,
            Self::RowWoken,
            Self::Live,
            Self::SpaceBell,
            Self::Waiting,
            Self::RowBell,
            Self::Namespace(0),
            Self::Namespace(NAMESPACES - 1),
        ];
        for row in [0, 1, ROWS - 1] {
            words.extend([Self::Who(row), Self::Generation(row)]);
            words.extend([Self::Subscription(row), Self::Cursor(row)]);
        }
        words.extend((0..slots.saturating_sub(2)).map(Self::Ticket));
        words.extend((0..slots).map(Self::Sequence));
        words.extend([
            Self::FrameId(1),
            Self::WallTime(1),
            Self::PublishTime(1),
            Self::OriginTime(1),
            Self::RowsDone(0),
            Self::RowsDone(1),
        ]);
        words
    }

    /// Offset in the file, and bytes.
    fn place(self) -> (usize, usize) {
        let head = offset_of!(Control, head);
        let request = offset_of!(Control, request);
        let writer = offset_of!(Control, writer);
        let space = offset_of!(Control, space);
        let row = |row: usize| offset_of!(Control, rows) + row * size_of::<Row>();
        let slot =
            |slot: usize| Control::REGION_BYTES - Control::OFFSET + slot * size_of::<SlotHeader>();
        let (offset, bytes) = match self {
            Self::Head => (head + offset_of!(HeadGroup, head), 8),
            Self::State => (head + offset_of!(HeadGroup, state), 4),
            Self::Parks => (request + offset_of!(RequestGroup, parks), 8),
            Self::RowParks => (request + offset_of!(RequestGroup, row_parks), 8),
            Self::Lossless => (request + offset_of!(RequestGroup, lossless), 8),
            Self::Ticket(at) => (request + offset_of!(RequestGroup, tickets) + at * 8, 8),
            Self::Lock => (writer + offset_of!(WriterGroup, lock), 4),
            Self::Attempts => (writer + offset_of!(WriterGroup, attempts), 4),
            Self::Woken => (writer + offset_of!(WriterGroup, woken), 8),
            Self::LastHolder => (writer + offset_of!(WriterGroup, last_holder), 4),
            Self::RowWoken => (writer + offset_of!(WriterGroup, row_woken), 8),
            Self::Live => (head + offset_of!(HeadGroup, live), 8),
            Self::SpaceBell => (space + offset_of!(SpaceGroup, bell), 4),
            Self::Waiting => (space + offset_of!(SpaceGroup, waiting), 4),
            Self::RowBell => (offset_of!(Control, row_bell), 4),
            Self::Namespace(at) => (offset_of!(Control, namespaces) + at * 8, 8),
            Self::Who(at) => (row(at) + offset_of!(Row, who), 8),
            Self::Generation(at) => (row(at) + offset_of!(Row, generation), 4),
            Self::Subscription(at) => (row(at) + offset_of!(Row, subscription), 8),
            Self::Cursor(at) => (row(at) + offset_of!(Row, cursor), 8),
            Self::RowsDone(at) => (slot(at) + offset_of!(SlotHeader, rows), 8),
            Self::Sequence(at) => (slot(at) + offset_of!(SlotHeader, sequence), 8),
            Self::FrameId(at) => (slot(at) + offset_of!(SlotHeader, frame_id), 8),
            Self::WallTime(at) => (slot(at) + offset_of!(SlotHeader, wall_ns), 8),
            Self::PublishTime(at) => (slot(at) + offset_of!(SlotHeader, publish_ns), 8),
            Self::OriginTime(at) => (slot(at) + offset_of!(SlotHeader, origin_ns), 8),
        };
        (Control::OFFSET + offset, bytes)
    }
}

/// Somebody with the segment's file open for writing.
pub(crate) struct Peer {
    file: File,
    random: u64,
}

impl Peer {
    pub(crate) fn of(scratch: &Scratch) -> Self {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(scratch.file());
        Self {
            file: file.expect("writable"),
            random: 0x9e37_79b9_7f4a_7c15,
        }
    }

    /// Writes the low bytes of `value`, as many as the word has.
    pub(crate) fn put(&self, word: Word, value: u64) {
        let (offset, bytes) = word.place();
        let value = &value.to_le_bytes()[..bytes];
        let written = self.file.write_all_at(value, offset as u64);
        written.expect("a word inside the file");
    }

    pub(crate) fn get(&self, word: Word) -> u64 {
        let (offset, bytes) = word.place();
        let mut value = [0; 8];
        let read = self.file.read_exact_at(&mut value[..bytes], offset as u64);
        read.expect("a word inside the file");
        u64::from_le_bytes(value)
    }

    /// Writes any of `values`, or any value at all, into any of `words`.
    pub(crate) fn scribble(&mut self, words: &[Word], values: &[u64]) {
        let word = words[self.below(words.len())];
        let value = if self.below(4) > 0 {
            values[self.below(values.len())]
        } else {
            self.next()
        };
        self.put(word, value);
    }

    /// xorshift64 (Marsaglia 2003).
    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// Changes bytes of the identity and makes its checksum fit.
    pub(crate) fn forge_identity(&self, at: usize, bytes: &[u8]) {
        let mut identity = [0; HEADER_BYTES];
        self.file.read_exact_at(&mut identity, 0).expect("a header");
        identity[at..at + bytes.len()].copy_from_slice(bytes);
        let end = HEADER_BYTES - 8;
        // FNV-1a, as `docs/segment-format.md` has it.
        let checksum = identity[..end]
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        identity[end..].copy_from_slice(&checksum.to_le_bytes());
        self.file.write_all_at(&identity, 0).expect("a header");
    }
}
