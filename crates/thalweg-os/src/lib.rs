//! The operating system as thalweg needs it: shared-memory files, mappings, futexes, process
//! identity, clocks.
//!
//! One folder per operating system, all with the same names; porting thalweg means writing another
//! folder. Nothing in here knows what a stream is.
#![expect(
    unsafe_code,
    reason = "a floor crate: mappings and a few system calls have no safe wrapper"
)]

#[cfg(not(target_os = "linux"))]
compile_error!("thalweg runs on Linux (x86-64 and aarch64); this target has no thalweg-os folder");

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
pub use linux::{
    account, affinity, arrivals, clock, descriptor, file, filesystem, fork, futex, limits, load,
    locked_file, mapping, per_process, process, random, scheduling, set_once, signal, terminal,
};
