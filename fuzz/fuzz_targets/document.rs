//! A document from anybody is refused, or means the same after every way there and back.
#![no_main]

#[path = "../../crates/thalweg-pipeline/tests/untrusted/document.rs"]
mod document;

libfuzzer_sys::fuzz_target!(|text: &str| document::check(text));
