//! Named shared-memory streams of arrays: segments, publication, pins, locks.
//!
//! Three floors of their own: [`protocol`] holds every operation on shared words and makes no
//! system call; [`segment`] says what lies where in a file and checks it; [`stream`] puts both
//! together with the operating system into handles people use.
#![expect(
    unsafe_code,
    reason = "a floor crate: shared mappings are raw memory, wrapped here into checked types"
)]

pub mod array;
pub mod copy;
#[cfg(not(loom))]
pub mod counters;
pub mod dtype;
pub mod protocol;
#[cfg(not(loom))]
pub mod segment;
#[cfg(not(loom))]
pub mod stream;

pub use array::{ArrayError, ArrayMut, ArrayRef};
pub use dtype::{DType, Element};
#[cfg(not(loom))]
pub use stream::{
    AnyAfter, Frame, HistoryFrame, Interrupt, LentMemory, Loan, LosslessFrame, LosslessReader,
    LosslessStat, NextAfter, NextRows, Opening, Patience, Peek, Publication, PublishOptions,
    Purged, RowProgress, StaleReason, Stream, StreamDirectory, StreamOptions, StreamStat,
    WaitPolicy, WriteLock,
};
pub use thalweg_os::account::{GroupError, group_id};
