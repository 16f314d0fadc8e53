//! The shared words themselves, grouped by who writes them.
//!
//! Groups are 128 bytes apart, because adjacent-line prefetchers pull lines in pairs. The offsets
//! are part of the segment format and asserted below.

use super::sync::{AtomicU32, AtomicU64};
use super::words::{MAX_SLOTS, ROWS};

/// Tickets that share the request group: with up to seven slots everything a publication has to
/// look at is one cache line.
pub const INLINE_TICKETS: usize = if cfg!(loom) { 2 } else { 13 };
const MORE_TICKETS: usize = if cfg!(loom) {
    0
} else {
    MAX_SLOTS - 2 - INLINE_TICKETS
};
/// Pid namespaces a segment can tell apart.
pub const NAMESPACES: usize = if cfg!(loom) { 1 } else { 8 };

/// Written by the writer at every publication, and by anybody through an event.
#[derive(Debug)]
#[cfg_attr(not(loom), repr(C, align(128)))]
pub struct HeadGroup {
    /// [`Head`](super::words::Head).
    pub head: AtomicU64,
    /// Bits of [`super::publish::state`]; bits are only ever set.
    pub state: AtomicU32,
    /// [`Live`](super::words::Live): the frame being written, in a progressive stream.
    pub live: AtomicU64,
}

/// Written by readers, looked at by the writer at every publication.
#[derive(Debug)]
#[cfg_attr(not(loom), repr(C, align(128)))]
pub struct RequestGroup {
    /// How many times anybody went to sleep on `head`; only grows.
    pub parks: AtomicU64,
    /// How many times anybody went to sleep on the row bell; only grows.
    pub row_parks: AtomicU64,
    /// One bit for each row of the attachment table that may belong to a lossless reader.
    pub lossless: AtomicU64,
    /// The first tickets; [`Control::ticket`] finds them all.
    pub tickets: [AtomicU64; INLINE_TICKETS],
}

/// Written by whoever holds or seeks the writer lock.
#[derive(Debug)]
#[cfg_attr(not(loom), repr(C, align(128)))]
pub struct WriterGroup {
    /// [`LockWord`](super::words::LockWord); a futex word.
    pub lock: AtomicU32,
    /// Aborted and abandoned writings since creation; written under the lock.
    pub attempts: AtomicU32,
    /// `parks` as answered by the last wake; written under the lock.
    pub woken: AtomicU64,
    /// [`AttachmentId`](super::words::AttachmentId) bits of the last holder: a process that finds
    /// its own id knows that its private copy of `head` is current. Written under the lock.
    pub last_holder: AtomicU32,
    /// `row_parks` as answered by the last wake; written under the lock.
    pub row_woken: AtomicU64,
}

/// Where a writer waits for lossless readers.
#[derive(Debug)]
#[cfg_attr(not(loom), repr(C, align(128)))]
pub struct SpaceGroup {
    /// Changes when a reader made room while a writer waited for it; a futex word.
    pub bell: AtomicU32,
    /// 1 while the holder of the writer lock waits, and after it died waiting.
    pub waiting: AtomicU32,
}

/// Where readers of frames being written sleep. A word of its own, so that sleepers on whole frames
/// sleep on.
#[derive(Debug)]
#[cfg_attr(not(loom), repr(C, align(128)))]
pub struct RowBellGroup {
    /// Changes with every announcement of rows; a futex word.
    pub bell: AtomicU32,
}

/// Pid namespaces of attached processes; an entry goes from 0 to an inode number, once.
#[derive(Debug)]
#[cfg_attr(not(loom), repr(C, align(128)))]
pub struct NamespaceGroup {
    /// Inode numbers.
    pub inodes: [AtomicU64; NAMESPACES],
}

/// One process's row in the attachment table.
#[derive(Debug)]
#[cfg_attr(not(loom), repr(C, align(64)))]
pub struct Row {
    /// [`Who`](super::words::Who); claimed and cleared by one compare-exchange.
    pub who: AtomicU64,
    /// Generation of the row's present or last owner, who writes it after claiming the row.
    pub generation: AtomicU32,
    /// [`Subscription`](super::words::Subscription): what its lossless readers demand.
    pub subscription: AtomicU64,
    /// Count of the newest frame all its lossless readers are done with. Written by the owner of
    /// the row alone, and means something only beside a subscription.
    pub cursor: AtomicU64,
}

/// All words every attached process may write.
#[derive(Debug)]
#[cfg_attr(not(loom), repr(C))]
pub struct Control {
    /// See [`HeadGroup`].
    pub head: HeadGroup,
    /// See [`RequestGroup`].
    pub request: RequestGroup,
    /// See [`WriterGroup`].
    pub writer: WriterGroup,
    /// See [`NamespaceGroup`].
    pub namespaces: NamespaceGroup,
    /// See [`SpaceGroup`].
    pub space: SpaceGroup,
    /// See [`RowBellGroup`].
    pub row_bell: RowBellGroup,
    #[cfg(not(loom))]
    reserved: [u64; (0xc00 - 6 * 128) / 8],
    /// The attachment table.
    pub rows: [Row; ROWS],
    /// Tickets beyond [`INLINE_TICKETS`].
    pub more_tickets: [AtomicU64; MORE_TICKETS],
}

impl Control {
    /// Offset in the segment: the words follow the identity.
    pub const OFFSET: usize = 0x400;
    /// Bytes of identity and control together, whole pages.
    pub const REGION_BYTES: usize = 0x3000;

    /// The word of ticket `index`, which is below the number of slots less two.
    pub fn ticket(&self, index: usize) -> &AtomicU64 {
        match index.checked_sub(INLINE_TICKETS) {
            None => &self.request.tickets[index],
            Some(more) => &self.more_tickets[more],
        }
    }

    /// Fresh words outside any segment, for models and tests. In a new segment all of them are
    /// zero bytes, too.
    pub fn new() -> Self {
        let zeros = |_| AtomicU64::new(0);
        Self {
            head: HeadGroup {
                head: AtomicU64::new(0),
                state: AtomicU32::new(0),
                live: AtomicU64::new(0),
            },
            request: RequestGroup {
                parks: AtomicU64::new(0),
                row_parks: AtomicU64::new(0),
                lossless: AtomicU64::new(0),
                tickets: std::array::from_fn(zeros),
            },
            writer: WriterGroup {
                lock: AtomicU32::new(0),
                attempts: AtomicU32::new(0),
                woken: AtomicU64::new(0),
                last_holder: AtomicU32::new(0),
                row_woken: AtomicU64::new(0),
            },
            namespaces: NamespaceGroup {
                inodes: std::array::from_fn(zeros),
            },
            space: SpaceGroup {
                bell: AtomicU32::new(0),
                waiting: AtomicU32::new(0),
            },
            row_bell: RowBellGroup {
                bell: AtomicU32::new(0),
            },
            #[cfg(not(loom))]
            reserved: [0; (0xc00 - 6 * 128) / 8],
            rows: std::array::from_fn(|_| Row {
                who: AtomicU64::new(0),
                generation: AtomicU32::new(0),
                subscription: AtomicU64::new(0),
                cursor: AtomicU64::new(0),
            }),
            more_tickets: std::array::from_fn(zeros),
        }
    }
}

impl Default for Control {
    fn default() -> Self {
        Self::new()
    }
}

/// What a slot says about its payload. Lies in the data region, which readers map read-only.
#[derive(Debug)]
#[cfg_attr(not(loom), repr(C, align(128)))]
pub struct SlotHeader {
    /// [`Sequence`](super::words::Sequence).
    pub sequence: AtomicU64,
    /// Id stamped by the writer; 0 when nobody did.
    pub frame_id: AtomicU64,
    /// Wall time of publication in ns since 1970.
    pub wall_ns: AtomicU64,
    /// Monotonic time of publication in ns.
    pub publish_ns: AtomicU64,
    /// Monotonic time in ns at which the data entered the system.
    pub origin_ns: AtomicU64,
    /// [`RowsDone`](super::words::RowsDone), in a progressive stream.
    pub rows: AtomicU64,
}

impl SlotHeader {
    /// An empty slot outside any segment, for models and tests.
    pub fn new() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            frame_id: AtomicU64::new(0),
            wall_ns: AtomicU64::new(0),
            publish_ns: AtomicU64::new(0),
            origin_ns: AtomicU64::new(0),
            rows: AtomicU64::new(0),
        }
    }
}

impl Default for SlotHeader {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(not(loom))]
const _: () = {
    use std::mem::offset_of;
    assert!(offset_of!(Control, head) == 0);
    assert!(offset_of!(Control, request) == 0x80);
    assert!(offset_of!(Control, writer) == 0x100);
    assert!(offset_of!(Control, namespaces) == 0x180);
    assert!(offset_of!(Control, space) == 0x200);
    assert!(offset_of!(Control, row_bell) == 0x280);
    assert!(offset_of!(Control, rows) == 0x1000 - Control::OFFSET);
    assert!(offset_of!(Control, more_tickets) == 0x2000 - Control::OFFSET);
    assert!(Control::OFFSET + size_of::<Control>() <= Control::REGION_BYTES);
    assert!(size_of::<SlotHeader>() == 128);
};
