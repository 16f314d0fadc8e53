//! Operations on shared words end, whatever the words say.
#![no_main]

#[path = "../../crates/thalweg-shm/tests/untrusted/words.rs"]
mod words;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| words::check(bytes));
