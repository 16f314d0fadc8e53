//! Random kills of any process of running pipelines: whatever dies, nothing hangs and nothing is
//! left behind.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;
mod with_policies;
mod without_policies;
