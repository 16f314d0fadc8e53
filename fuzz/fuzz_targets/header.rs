//! An identity from anybody is refused, or lies inside its file.
#![no_main]

#[path = "../../crates/thalweg-shm/tests/untrusted/header.rs"]
mod header;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| header::check(bytes));
