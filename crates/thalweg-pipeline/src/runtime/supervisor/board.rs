//! What is known about every node, and what has happened to them: written by the supervising
//! thread and by nodes in the caller's process, read by whoever asks.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;
use thalweg_kernels::Figure;
use thalweg_os::clock::monotonic_ns;
use thalweg_shm::counters::Counters;

use super::super::message::{PlacementReport, Role};
use super::Failure;

/// Where a node is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub(in super::super) enum Phase {
    /// Never started, or forgotten.
    #[default]
    Absent = 0,
    /// Started, not ready yet.
    Starting = 1,
    /// At work.
    Ready = 2,
    /// A source that came to its end.
    Finished = 3,
    /// Ended, as it was told to.
    Stopped = 4,
    /// Ended otherwise.
    Failed = 5,
    /// Ended otherwise, and about to be started again.
    Restarting = 6,
}

impl Phase {
    /// The phase that counters show as `number`.
    pub(in super::super) fn from_number(number: u32) -> Self {
        [
            Self::Starting,
            Self::Ready,
            Self::Finished,
            Self::Stopped,
            Self::Failed,
            Self::Restarting,
        ]
        .into_iter()
        .find(|&phase| phase as u32 == number)
        .unwrap_or_default()
    }

    /// True while there is a process, or will be without anybody's doing.
    pub(in super::super) fn is_running(self) -> bool {
        matches!(self, Self::Starting | Self::Ready | Self::Restarting)
    }
}

/// What is known about one node.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct NodeState {
    pub(in super::super) phase: Phase,
    pub(in super::super) pid: Option<u32>,
    pub(in super::super) exit_code: Option<i32>,
    pub(in super::super) figures: Vec<Figure>,
    pub(in super::super) placement: PlacementReport,
    /// Why it ended for good.
    pub(in super::super) failure: Option<Failure>,
    /// Why it was last started again.
    pub(in super::super) last_error: Option<String>,
    pub(in super::super) restarts: u32,
    /// What a node of another program last said about itself.
    pub(in super::super) metrics: Option<serde_json::Value>,
    /// True once the node was told to end: then its end is no failure.
    pub(in super::super) is_stopping: bool,
}

/// Something that happened to a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// Number of the event in this run, from 1.
    pub sequence: u64,
    /// Monotonic time in ns.
    pub at_ns: u64,
    /// Name of the node.
    pub node: String,
    /// Its role.
    pub role: Role,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened to a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum EventKind {
    /// It is ready: what is published from now on is seen.
    Started {
        /// Its process.
        pid: Option<u32>,
    },
    /// It ended otherwise than it was told to, and will be started again.
    Restarting {
        /// Why it ended.
        error: String,
        /// Seconds until then.
        delay_s: f64,
    },
    /// It ended as it was told to.
    Stopped,
    /// The source came to its end.
    Finished,
    /// It ended otherwise, for good.
    Failed {
        /// Why.
        failure: Failure,
    },
}

/// Events kept for those who ask late.
const KEPT_EVENTS: usize = 1024;

#[derive(Debug)]
struct Contents {
    nodes: Vec<NodeState>,
    events: VecDeque<Event>,
    next_sequence: u64,
}

/// Shared by everybody who knows or wants to know.
#[derive(Clone, Debug)]
pub(in super::super) struct Board(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    contents: Mutex<Contents>,
    changed: Condvar,
    counters: Arc<Counters>,
}

impl Board {
    /// With a place for every row of `counters`, where phases and restarts are shown as well.
    pub(in super::super) fn new(counters: Arc<Counters>) -> Self {
        Self(Arc::new(Shared {
            contents: Mutex::new(Contents {
                nodes: vec![NodeState::default(); counters.node_count()],
                events: VecDeque::new(),
                next_sequence: 1,
            }),
            changed: Condvar::new(),
            counters,
        }))
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        let contents = &self.0.contents;
        contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known about the node in `row`.
    pub(in super::super) fn update(&self, row: usize, change: impl FnOnce(&mut NodeState)) {
        if let Some(state) = self.contents().nodes.get_mut(row) {
            change(state);
            let counters = self.0.counters.node(row);
            counters.phase.store(state.phase as u32, Ordering::Relaxed);
            counters.restarts.store(state.restarts, Ordering::Relaxed);
        }
        self.0.changed.notify_all();
    }

    /// Takes note of something that happened.
    pub(in super::super) fn note(&self, node: &str, role: Role, kind: EventKind) {
        let mut contents = self.contents();
        let event = Event {
            sequence: contents.next_sequence,
            at_ns: monotonic_ns(),
            node: node.to_owned(),
            role,
            kind,
        };
        contents.next_sequence += 1;
        if contents.events.len() == KEPT_EVENTS {
            contents.events.pop_front();
        }
        contents.events.push_back(event);
    }

    /// What happened after event `sequence`, as far as it is still kept.
    pub(in super::super) fn events_after(&self, sequence: u64) -> Vec<Event> {
        let contents = self.contents();
        let events = contents.events.iter();
        events
            .filter(|event| event.sequence > sequence)
            .cloned()
            .collect()
    }

    /// What is known about the node in `row`.
    pub(in super::super) fn node(&self, row: usize) -> NodeState {
        self.contents().nodes.get(row).cloned().unwrap_or_default()
    }

    /// What is known about all of them, by row.
    pub(in super::super) fn nodes(&self) -> Vec<NodeState> {
        self.contents().nodes.clone()
    }

    /// Waits until `is_done` says so about the nodes, or until `deadline`; whether it did.
    pub(in super::super) fn wait_until(
        &self,
        deadline: Instant,
        mut is_done: impl FnMut(&[NodeState]) -> bool,
    ) -> bool {
        let mut contents = self.contents();
        loop {
            if is_done(&contents.nodes) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            contents = self
                .0
                .changed
                .wait_timeout(contents, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}
