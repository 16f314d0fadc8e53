//! Pipelines of real processes: the workers are the `thalweg` binary.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod changes;
mod commands;
mod endings;
mod given_up;
mod groups;
mod hosts;
mod life;
mod matching;
mod placement;
mod recordings;
mod restarts;
mod support;
