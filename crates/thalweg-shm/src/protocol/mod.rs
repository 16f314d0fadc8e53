//! The stream protocol: every operation on words that several processes share.
//!
//! No system calls in here: sleeping, waking and asking whether a process lives come in as
//! parameters, so that loom can build these modules with its own atomics and check them.
//! `docs/segment-format.md` says who may touch which word when.

pub mod attach;
pub mod control;
pub mod lock;
pub mod lossless;
pub mod park;
pub mod pin;
pub mod publish;
pub mod room;
pub mod rows;
pub mod snapshot;
pub mod sync;
pub mod words;

use control::{Control, SlotHeader};

/// The words of one stream.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    /// Words every attached process may write.
    pub control: &'a Control,
    /// One header per slot, written by the writer alone.
    pub slots: &'a [SlotHeader],
    /// Whether the writer goes back to the slots it used last instead of going round all of them.
    pub reuses_slots: bool,
}

impl Words<'_> {
    /// Pin tickets of the stream: with them all taken the writer still finds a slot, because one
    /// slot is the last published and one is left to write.
    pub fn ticket_count(&self) -> usize {
        self.slots.len().saturating_sub(2)
    }
}

/// A shared word holds what the protocol never writes: a hostile or broken process was here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the segment is corrupt: {0}")]
pub struct Corrupt(pub &'static str);
