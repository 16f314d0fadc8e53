//! What supervisor and workers tell each other, one JSON object per line.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thalweg_kernels::{Figure, NodeRole, NodeSpec};

/// What kind of work a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Arrays in, arrays out.
    Kernel,
    /// Arrays out.
    Source,
    /// Arrays in.
    Sink,
}

impl Role {
    /// The word for it: `kernel`, `source` or `sink`; failures of kernels say `worker`.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Source => "source",
            Self::Sink => "sink",
        }
    }
}

impl From<NodeRole> for Role {
    fn from(role: NodeRole) -> Self {
        match role {
            NodeRole::Kernel => Self::Kernel,
            NodeRole::Source => Self::Source,
            NodeRole::Sink => Self::Sink,
        }
    }
}

impl From<Role> for NodeRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Kernel => Self::Kernel,
            Role::Source => Self::Source,
            Role::Sink => Self::Sink,
        }
    }
}

/// Everything a worker needs to know; the first line on its standard input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WorkerOrder {
    /// Pid of the supervisor, whose end is the worker's.
    pub(crate) parent_pid: u32,
    /// File of the run's counters.
    pub(crate) counters: PathBuf,
    /// Number of this node in the counters.
    pub(crate) node: usize,
    /// Folder of the streams.
    pub(crate) directory: PathBuf,
    /// What it does.
    pub(crate) role: Role,
    /// What to build.
    pub(crate) spec: NodeSpec,
    /// Full names of the trigger streams, in declared order.
    pub(crate) inputs: Vec<String>,
    /// Full names of the auxiliary streams, in declared order.
    pub(crate) auxiliary: Vec<String>,
    /// Full names of the output streams, in declared order.
    pub(crate) outputs: Vec<String>,
    /// Whether one new trigger is enough.
    pub(crate) any_trigger: bool,
    /// Whether outputs carry the trigger's frame id.
    pub(crate) propagate_frame_id: bool,
    /// Pause of a source that has nothing to produce.
    pub(crate) poll_interval_ns: u64,
    /// What the program needs to know to build a node of a kind of its own.
    #[serde(default)]
    pub(crate) plugin: serde_json::Value,
}

/// The second line on a source's standard input: everybody else is ready.
pub(crate) const GO: &str = "go\n";

/// What a worker reports on its standard output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "report")]
pub(crate) enum WorkerReport {
    /// Built, attached, baseline taken: what is published from now on is seen.
    Ready {
        /// The node's own measurements.
        figures: Vec<Figure>,
    },
    /// The source has come to its end.
    Finished,
    /// It cannot go on.
    Failed {
        /// Why.
        error: String,
        /// Where an exception was raised.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        traceback: Option<String>,
    },
}
