//! What supervisor and workers tell each other, one JSON object per line.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thalweg_kernels::{Figure, NodeRole, NodeSpec};
use thalweg_shm::WaitPolicy;

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

/// Everything a process of workers needs to know; the first line on its standard input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WorkerOrder {
    /// Version of thalweg that the supervisor is of.
    #[serde(default)]
    pub(crate) version: String,
    /// Pid of the supervisor, whose end is the worker's.
    pub(crate) parent_pid: u32,
    /// File of the run's counters.
    pub(crate) counters: PathBuf,
    /// Folder of the streams.
    pub(crate) directory: PathBuf,
    /// What its nodes do.
    pub(crate) role: Role,
    /// Where and how urgently it runs.
    pub(crate) placement: PlacementOrder,
    /// One node, or the kernels of a group.
    pub(crate) nodes: Vec<NodeOrder>,
}

/// One node of a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NodeOrder {
    /// Row of this node in the counters.
    pub(crate) row: usize,
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
    /// Frames of which triggers belong together; `None` unless their ids have to match.
    pub(crate) matching: Option<Matching>,
    /// How it waits for triggers.
    pub(crate) wait: WaitPolicy,
    /// Latency budget in ns, from the origin of the data.
    pub(crate) deadline_ns: Option<u64>,
    /// Pause of a source that has nothing to produce.
    pub(crate) poll_interval_ns: u64,
    /// What the program needs to know to build a node of a kind of its own.
    #[serde(default)]
    pub(crate) plugin: serde_json::Value,
    /// For such a program: a configuration with all streams and no other node than this one.
    #[serde(default)]
    pub(crate) document: serde_json::Value,
}

/// How triggers whose frame ids have to match are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matching {
    /// Ids that triggers may be apart before everything at hand is given up.
    pub max_skew: u64,
    /// How long frames at hand wait for their partners, in ns; `None` is for ever.
    pub max_wait_ns: Option<u64>,
}

/// Where and how urgently a process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlacementOrder {
    /// CPUs that all of its threads may use; `None` leaves them as they are.
    pub(crate) cpus: Option<Vec<usize>>,
    /// The CPU that the thread of the loop is to stay on, if nobody asked for anything.
    pub(crate) slot: Option<usize>,
    /// Real-time class and priority.
    pub(crate) real_time: Option<(RealTime, u8)>,
    /// Whether its memory is to be locked.
    pub(crate) lock_memory: bool,
    /// Whether what is refused is a failure.
    pub(crate) strict: bool,
}

/// Real-time classes of the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RealTime {
    /// Runs until it waits.
    Fifo,
    /// Takes turns with its like.
    Rr,
}

/// What came of the placement that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementReport {
    /// The CPUs that the loop may use; empty if nobody restricted them.
    pub cpus: Vec<usize>,
    /// Class and priority, where it is a real-time one.
    pub real_time: Option<(RealTime, u8)>,
    /// Whether its memory is locked.
    pub is_memory_locked: bool,
    /// What the system refused.
    pub refused: Vec<String>,
}

/// The second line on a source's standard input: everybody else is ready.
pub(crate) const GO: &str = "go\n";

/// What a worker reports on its standard output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "report")]
pub(crate) enum WorkerReport {
    /// Built, attached, baseline taken: what is published from now on is seen.
    Ready {
        /// Row of the node.
        row: usize,
        /// The node's own measurements.
        figures: Vec<Figure>,
        /// Where its process runs.
        placement: PlacementReport,
    },
    /// What a node of another program measures about itself, for people to look at.
    Metrics {
        /// A JSON object.
        metrics: serde_json::Value,
    },
    /// The source has come to its end.
    Finished,
    /// It cannot go on.
    Failed {
        /// Row of the node; `None` before any was built.
        #[serde(default)]
        row: Option<usize>,
        /// Why.
        error: String,
        /// Where an exception was raised.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        traceback: Option<String>,
    },
}
