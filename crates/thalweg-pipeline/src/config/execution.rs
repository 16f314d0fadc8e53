//! How a node is run: what its stream wiring and its kind leave open.

use thalweg_shm::WaitPolicy;

use super::entry_writer::EntryWriter;
use super::fields::{Fields, Problems};
use super::grammar::Choice;
use super::{Placement, Restart, Seconds};

impl Choice for WaitPolicy {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("park", Self::Park),
        ("spin", Self::Spin),
        ("adaptive", Self::Adaptive),
    ];
}

/// The name of `policy` in configurations.
pub fn wait_policy_name(policy: WaitPolicy) -> &'static str {
    match policy {
        WaitPolicy::Park => "park",
        WaitPolicy::Spin => "spin",
        WaitPolicy::Adaptive => "adaptive",
    }
}

/// Where a source or a sink runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointProcess {
    /// On a thread of the program that manages the pipeline.
    Manager,
    /// In a process of its own.
    Own,
}

impl Choice for EndpointProcess {
    const NAMES: &'static [(&'static str, Self)] =
        &[("manager", Self::Manager), ("own", Self::Own)];
}

impl EndpointProcess {
    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Manager => "manager",
            Self::Own => "own",
        }
    }
}

impl Fields<'_> {
    /// `process`.
    pub(super) fn process(&self, problems: &mut Problems) -> Option<Option<EndpointProcess>> {
        match self.get("process") {
            Some(process) => process.choice(problems).map(Some),
            None => Some(None),
        }
    }

    /// `placement`.
    pub(super) fn placement(&self, problems: &mut Problems) -> Option<Placement> {
        match self.get("placement") {
            Some(placement) => Placement::read(placement, problems),
            None => Some(Placement::default()),
        }
    }

    /// `restart`.
    pub(super) fn restart(&self, problems: &mut Problems) -> Option<Restart> {
        match self.get("restart") {
            Some(restart) => Restart::read(restart, problems),
            None => Some(Restart::default()),
        }
    }
}

impl EntryWriter {
    pub(super) fn put_wait_policy(&mut self, policy: WaitPolicy) {
        let is_default = policy == WaitPolicy::default();
        self.put_unless(is_default, "wait", wait_policy_name(policy));
    }

    pub(super) fn put_deadline(&mut self, deadline: Option<Seconds>) {
        self.put_option("deadline", deadline.map(Seconds::get));
    }

    pub(super) fn put_process(&mut self, process: Option<EndpointProcess>) {
        self.put_option("process", process.map(EndpointProcess::name));
    }

    pub(super) fn put_placement(&mut self, placement: &Placement) {
        let is_default = *placement == Placement::default();
        let json = placement.to_json(self.extent());
        self.put_unless(is_default, "placement", json);
    }

    pub(super) fn put_restart(&mut self, restart: Restart) {
        let is_default = restart == Restart::default();
        let json = restart.to_json(self.extent());
        self.put_unless(is_default, "restart", json);
    }
}
