//! Loops over raw array memory, compiled once per instruction set and chosen at run time.
//!
//! Arrays may lie in memory another process can write, so there are no slices here: loops read
//! and write through checked runs of raw memory ([`run`]). The loops themselves are plain; the
//! compiler vectorises them ([`isa`]). That needs one rule, measured: **a loop's output never
//! overlaps its inputs**. In place, the compiler's own overlap check sends the loop down its
//! scalar path, 3.5 to 13 times slower. With disjoint memory a plain `a + b` over 1024 floats in
//! the first-level cache takes 55 ns, as much as hand-written loads and stores.
#![expect(
    unsafe_code,
    reason = "SIMD floor: raw loads and stores on shared arrays, and functions per instruction set"
)]

pub(crate) mod aligned;
pub(crate) mod complex;
pub(crate) mod expand;
pub(crate) mod half_float;
pub(crate) mod isa;
pub(crate) mod map;
pub(crate) mod matmul;
pub(crate) mod number;
pub(crate) mod reduce;
pub(crate) mod run;
