//! Tidiness as tests: what keeps the house in order and no compiler checks.
//!
//! Every check collects all its findings before it fails, each as `path:line: what, how to mend`.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "in a test a panic is the verdict")]

mod documents;
mod layers;
mod repository;
mod sources;
mod unsafe_code;
