//! Named shared-memory streams of arrays: segments, publication, pins, locks.
#![expect(
    unsafe_code,
    reason = "a floor crate: shared mappings are raw memory, wrapped here into checked types"
)]

pub mod array;
mod copy;
pub mod dtype;

pub use array::{ArrayError, ArrayMut, ArrayRef};
pub use dtype::{DType, Element};
