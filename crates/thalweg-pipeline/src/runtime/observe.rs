//! Looking at runs from outside: whoever may read their counters sees what their owners see.

use std::io;
use std::sync::atomic::Ordering;

use thalweg_os::clock::monotonic_ns;
use thalweg_shm::StreamDirectory;
use thalweg_shm::counters::Counters;

use super::message::PlacementReport;
use super::status::{Distributions, NodeFacts, NodeView, PipelineState, Status, Tally};
use super::supervisor::{NodeState, Phase};

/// A run of some process.
#[derive(Debug)]
pub struct ObservedRun {
    counters: Counters,
    /// What every row had counted at the last look.
    before: Option<Vec<Counted>>,
}

#[derive(Debug)]
struct Counted {
    tally: Tally,
    distributions: Distributions,
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

    /// True if `other` looks at the same run.
    pub fn is_same(&self, other: &Self) -> bool {
        self.counters.path() == other.counters.path()
    }

    /// How everything is doing. Rates and distributions are those since the last look; at the first,
    /// since the start. What only the owner knows is
    /// missing: failures, exit codes, the nodes' own measurements, most of the placement.
    pub fn look(&mut self) -> Status {
        let at_ns = monotonic_ns();
        let counters = &self.counters;
        let state = PipelineState::from_number(counters.state().load(Ordering::Relaxed));
        let mut nodes = Vec::new();
        let mut counted = Vec::new();
        for row in 0..counters.node_count() {
            let node = counters.node(row);
            let tally = Tally::of(node, at_ns);
            // A row that has gone to another node begins anew.
            let earlier: Option<&Counted> = self
                .before
                .as_ref()
                .and_then(|rows| rows.get(row))
                .filter(|counted| counted.tally.frames <= tally.frames);
            counted.push(Counted {
                tally,
                distributions: Distributions::of(node),
            });
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
                    placement: PlacementReport {
                        cpus: node
                            .cpu
                            .load(Ordering::Relaxed)
                            .checked_sub(1)
                            .into_iter()
                            .map(|cpu| cpu as usize)
                            .collect(),
                        ..PlacementReport::default()
                    },
                    ..NodeState::default()
                },
                counters: node,
                is_paused: state == PipelineState::Paused,
                before: earlier.map(|counted| counted.tally),
                since: earlier.map(|counted| &counted.distributions),
            };
            nodes.push(view.status());
        }
        self.before = Some(counted);
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
