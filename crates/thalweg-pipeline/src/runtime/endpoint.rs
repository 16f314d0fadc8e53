//! A node that the owner of the pipeline runs in its own process: what it counts and says goes where
//! a worker's does, so that whoever looks sees no difference.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use thalweg_kernels::Figure;
use thalweg_os::clock::monotonic_ns;
use thalweg_os::futex;
use thalweg_shm::counters::{Counters, MAX_FIGURES, NodeCounters, command};

use super::message::Role;
use super::plan::NodePlan;
use super::supervisor::{Board, EventKind, Failure, Phase};
use super::worker::add;

/// What the supervisor wants of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Frames.
    Run,
    /// Stay, but process nothing.
    Pause,
    /// End.
    Stop,
}

/// The supervisor's wishes for one node, for whoever works for that node.
#[derive(Clone, Debug)]
pub struct Commands {
    counters: Arc<Counters>,
    node: usize,
}

impl Commands {
    pub(super) fn new(counters: Arc<Counters>, node: usize) -> Self {
        Self { counters, node }
    }

    fn counters(&self) -> &NodeCounters {
        self.counters.node(self.node)
    }

    /// What is wanted now.
    pub fn wanted(&self) -> Wanted {
        match self.counters().command.load(Ordering::Relaxed) {
            command::PAUSE => Wanted::Pause,
            command::STOP => Wanted::Stop,
            _ => Wanted::Run,
        }
    }

    /// Sleeps while `current` is wanted, at most until `deadline_ns` (monotonic); what is wanted then.
    pub fn wait_while(&self, current: Wanted, deadline_ns: u64) -> Wanted {
        let word = match current {
            Wanted::Run => command::RUN,
            Wanted::Pause => command::PAUSE,
            Wanted::Stop => command::STOP,
        };
        while self.wanted() == current && monotonic_ns() < deadline_ns {
            futex::wait(&self.counters().command, word, Some(deadline_ns));
        }
        self.wanted()
    }
}

/// One frame, as an endpoint counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointFrame {
    /// Time it took, in ns.
    pub execution_ns: u64,
    /// Time waited for it, in ns; for sources `None`.
    pub wait_ns: Option<u64>,
    /// Time from the origin of the data to the end of the work, in ns; for sources `None`.
    pub latency_ns: Option<u64>,
    /// Publications never looked at since the frame before.
    pub missed: u64,
    /// Count of the publication consumed, of a sink.
    pub input_count: Option<u64>,
    /// Count of the publication made on the first output, where there is one.
    pub output_count: Option<u64>,
}

/// A node in the process of the pipeline's owner. One thread at a time counts frames.
#[derive(Clone, Debug)]
pub struct Endpoint {
    commands: Commands,
    node: usize,
    board: Board,
    name: String,
    kind: String,
    role: Role,
}

impl Endpoint {
    pub(super) fn new(plan: &NodePlan, node: usize, counters: Arc<Counters>, board: Board) -> Self {
        Self {
            commands: Commands::new(counters, node),
            node,
            board,
            name: plan.spec.name.clone(),
            kind: plan.spec.kind.clone(),
            role: plan.role,
        }
    }

    fn counters(&self) -> &NodeCounters {
        self.commands.counters()
    }

    /// What is wanted now.
    pub fn wanted(&self) -> Wanted {
        self.commands.wanted()
    }

    /// Sleeps while `current` is wanted, at most until `deadline_ns` (monotonic); what is wanted then.
    pub fn wait_while(&self, current: Wanted, deadline_ns: u64) -> Wanted {
        self.commands.wait_while(current, deadline_ns)
    }

    /// It is at work from now on; what is published from now on is seen. `figures` are its own
    /// measurements, at most [`MAX_FIGURES`].
    pub fn ready(&self, mut figures: Vec<Figure>) {
        figures.truncate(MAX_FIGURES);
        let counters = self.counters();
        counters.pid.store(std::process::id(), Ordering::Relaxed);
        counters.ready_ns.store(monotonic_ns(), Ordering::Relaxed);
        let started = EventKind::Started {
            pid: Some(std::process::id()),
        };
        self.board.note(&self.name, self.role, started);
        self.board.update(self.node, |state| {
            state.phase = Phase::Ready;
            state.pid = Some(std::process::id());
            state.exit_code = None;
            state.failure = None;
            state.is_stopping = false;
            state.figures = figures;
        });
    }

    /// Counts a frame.
    pub fn count(&self, frame: EndpointFrame) {
        let counters = self.counters();
        counters.record_execution(frame.execution_ns);
        if let Some(wait_ns) = frame.wait_ns {
            counters.wait.record(wait_ns);
        }
        if let Some(latency_ns) = frame.latency_ns {
            counters.latency.record(latency_ns);
        }
        add(&counters.missed, frame.missed);
        if let Some(count) = frame.output_count {
            counters.output_count.store(count, Ordering::Relaxed);
        }
        counters
            .last_frame_ns
            .store(monotonic_ns(), Ordering::Relaxed);
        add(&counters.frames, 1);
        if let Some(count) = frame.input_count {
            // Last, as in the loop of a sink: whoever sees it knows that the frame was consumed.
            counters.input_count.store(count, Ordering::Release);
        }
    }

    /// Publishes its own measurements, in the order of [`Self::ready`].
    pub fn set_figures(&self, values: &[f64]) {
        self.counters().set_figures(values);
    }

    /// It has come to its end: a source without further frames.
    pub fn finished(&self) {
        self.end(Phase::Finished, None);
    }

    /// It has ended as it was told to.
    pub fn stopped(&self) {
        self.end(Phase::Stopped, None);
    }

    /// It could not go on.
    pub fn failed(&self, error: impl Into<String>, traceback: Option<String>) {
        let failure = Failure {
            node: self.name.clone(),
            role: self.role,
            kind: self.kind.clone(),
            pid: Some(std::process::id()),
            error: error.into(),
            traceback,
            stderr: Vec::new(),
        };
        self.end(Phase::Failed, Some(failure));
    }

    fn end(&self, phase: Phase, failure: Option<Failure>) {
        let event = match (phase, &failure) {
            (Phase::Finished, _) => EventKind::Finished,
            (_, Some(failure)) => EventKind::Failed {
                failure: failure.clone(),
            },
            _ => EventKind::Stopped,
        };
        self.board.note(&self.name, self.role, event);
        self.board.update(self.node, |state| {
            state.phase = phase;
            state.failure = failure;
        });
    }
}
