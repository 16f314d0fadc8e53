//! Looking at runs from outside: whoever may read their counters sees what their owners see.

use std::io;
use std::sync::atomic::Ordering;

use thalweg_os::clock::monotonic_ns;
use thalweg_shm::StreamDirectory;
use thalweg_shm::counters::Counters;

use super::status::{NodeFacts, NodeView, PipelineState, Status};
use super::supervisor::{NodeState, Phase};

/// A run of some process.
#[derive(Debug)]
pub struct ObservedRun {
    counters: Counters,
    /// Frames of every row, and the time, at the last look.
    before: Option<(u64, Vec<u64>)>,
}

impl ObservedRun {
    /// All runs whose streams live in `directory`, by the pids of their owners.
    ///
    /// # Errors
    ///
    /// The folder cannot be read.
    pub fn all(directory: &StreamDirectory) -> io::Result<Vec<Self>> {
        let running = Counters::running(directory.path())?.into_iter();
        let runs = running.map(|counters| Self {
            counters,
            before: None,
        });
        Ok(runs.collect())
    }

    /// Pid of its owner.
    pub fn pid(&self) -> u32 {
        self.counters.creator_pid()
    }

    /// What it is a run of: mostly the path of a configuration.
    pub fn label(&self) -> String {
        self.counters.label().get().unwrap_or_default()
    }

    /// How everything is doing. Rates are those since the last look. What only the owner knows is
    /// missing: failures, exit codes, the nodes' own measurements, refused placements.
    pub fn status(&mut self) -> Status {
        let at_ns = monotonic_ns();
        let counters = &self.counters;
        let state = PipelineState::from_number(counters.state().load(Ordering::Relaxed));
        let mut nodes = Vec::new();
        let mut frames = Vec::new();
        for row in 0..counters.node_count() {
            let node = counters.node(row);
            frames.push(node.frames.load(Ordering::Relaxed));
            let described = node.description.get().unwrap_or_default();
            // Rows that nobody uses have no description.
            let Ok(facts) = serde_json::from_str::<NodeFacts>(&described) else {
                continue;
            };
            let pid = node.pid.load(Ordering::Relaxed);
            let view = NodeView {
                facts,
                state: &NodeState {
                    phase: Phase::from_number(node.phase.load(Ordering::Relaxed)),
                    pid: (pid != 0).then_some(pid),
                    restarts: node.restarts.load(Ordering::Relaxed),
                    ..NodeState::default()
                },
                counters: node,
                is_paused: state == PipelineState::Paused,
                before: self
                    .before
                    .as_ref()
                    .and_then(|(taken_ns, frames)| Some((*frames.get(row)?, *taken_ns))),
            };
            nodes.push(view.status());
        }
        self.before = Some((at_ns, frames));
        let started_ns = counters.started_ns().load(Ordering::Relaxed);
        let runtime_ns = if started_ns == 0 {
            0
        } else {
            at_ns.saturating_sub(started_ns)
        };
        Status {
            state,
            at_ns,
            runtime_s: runtime_ns as f64 * 1e-9,
            nodes,
            failures: Vec::new(),
        }
    }
}
