//! What can go wrong with a pipeline as a whole.

use thalweg_shm::counters::CountersError;

use super::streams::StreamsError;
use super::supervisor::Failure;
use crate::config::Diagnostics;

/// A pipeline could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// The configuration has problems.
    #[error(transparent)]
    Config(#[from] Diagnostics),
    /// The streams could not be made.
    #[error(transparent)]
    Streams(#[from] StreamsError),
    /// The counters could not be made.
    #[error(transparent)]
    Counters(#[from] CountersError),
    /// Not in this state.
    #[error("cannot {action} a pipeline that is {found}; it has to be {expected}")]
    State {
        /// What was asked.
        action: &'static str,
        /// The states it is possible in.
        expected: &'static str,
        /// The state it is in.
        found: &'static str,
    },
    /// A worker failed.
    #[error("{0}")]
    Worker(Box<Failure>),
    /// Workers did not become ready in time.
    #[error("not ready after {timeout_s} s: {}", nodes.join(", "))]
    StartTimeout {
        /// Seconds allowed.
        timeout_s: f64,
        /// Names of the workers.
        nodes: Vec<String>,
    },
    /// Workers did not end, though they were killed.
    #[error("did not end, though killed: {}; they are stuck in the kernel, or in this process", nodes.join(", "))]
    StillRunning {
        /// Names of the workers.
        nodes: Vec<String>,
    },
    /// A running pipeline cannot be changed in this way.
    #[error("cannot change the running pipeline: {reason}")]
    Change {
        /// Why not, and what to do instead.
        reason: String,
    },
    /// The supervising thread could not be started.
    #[error("cannot start the supervisor: {0}")]
    Supervisor(std::io::Error),
}
