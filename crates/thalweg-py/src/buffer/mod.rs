//! Memory that Python and Rust both look at, in both directions: the only unsafe code of this crate.
//!
//! [`import`] looks at arrays of others, for the length of one call. [`frame`], [`lent`], [`peek`] and
//! [`array`] are objects whose memory others look at: they export through the buffer protocol, so
//! that every view holds a reference to its object, and each object holds what keeps its memory
//! mapped until it dies itself. Nothing a Python program does to handles, names or views, in any
//! order, unmaps memory that a view can still reach.
#![expect(
    unsafe_code,
    reason = "the buffer protocol hands out and receives raw addresses"
)]

pub(crate) mod array;
mod dlpack;
mod export;
pub(crate) mod frame;
pub(crate) mod import;
pub(crate) mod lent;
pub(crate) mod peek;
pub(crate) mod slots;
pub(crate) mod write_scope;
