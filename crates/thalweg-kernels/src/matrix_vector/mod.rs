//! Matrix-vector products: `cpu.affine_transform`, and the product itself for benchmarks.
//!
//! `product` is the arithmetic, written over the registers of `lanes` for each
//! [`SimdLevel`]; `half_matrix` keeps a matrix in half precision; `workers` shares the rows
//! between threads; `read_streams` measures the limit of it all, reading memory.

mod affine_transform;
mod exact;
mod frame_memory;
mod half_matrix;
pub(crate) mod half_storage;
pub(crate) mod lanes;
pub(crate) mod level;
pub(crate) mod operands;
mod product;
mod read_streams;
mod shards;
pub(crate) mod shared_product;
#[cfg(test)]
mod tests;
mod walk;
mod workers;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use half_matrix::{HalfFormat, HalfMatrix};
pub use level::SimdLevel;
pub use product::{multiply_f32, multiply_f64};
pub use read_streams::{ReadLimit, STREAM_COUNTS, read_limit, sum_rows};

use crate::registry::Definition;

/// The kinds of this module.
pub(crate) const DEFINITIONS: &[Definition] = &[affine_transform::AFFINE_TRANSFORM];
