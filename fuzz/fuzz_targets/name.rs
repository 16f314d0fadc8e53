//! A name from anybody is refused, or has one file name.
#![no_main]

#[path = "../../crates/thalweg-shm/tests/untrusted/name.rs"]
mod name;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| name::check(bytes));
