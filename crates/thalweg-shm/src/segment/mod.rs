//! Segments: one file per stream on the shared-memory file system.
//!
//! [`name`] turns user names into file names, [`geometry`] says what lies where, [`header`] writes
//! and checks the identity a segment begins with.

pub mod geometry;
pub mod header;
pub mod name;
