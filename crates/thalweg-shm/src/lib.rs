//! Named shared-memory streams of arrays: segments, publication, pins, locks.
#![expect(
    unsafe_code,
    reason = "a floor crate: shared mappings are raw memory, wrapped here into checked types"
)]

pub mod array;
pub mod copy;
pub mod dtype;
pub mod protocol;

pub use array::{ArrayError, ArrayMut, ArrayRef};
pub use dtype::{DType, Element};
