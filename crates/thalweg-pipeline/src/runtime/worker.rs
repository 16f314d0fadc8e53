//! The process of one node: reads its order, builds the node, attaches, and runs the loop of its
//! role until told to stop.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use thalweg_kernels::{
    Figure, Kernel, NodeBuilder, NodeError, NodeSpec, Registry, Sink, Source, SpecProblem,
};
use thalweg_os::{clock, futex, process, signal};
use thalweg_shm::counters::{Counters, MAX_FIGURES, NodeCounters, command};
use thalweg_shm::stream::error::WaitError;
use thalweg_shm::{Stream, StreamDirectory};

use super::endpoint::Commands;
use super::input::{Input, InputError};
use super::message::{NodeOrder, PlacementReport, Role, WorkerReport};
use super::pipes::{report, take_order};
use super::placement::{settle_loop, settle_process};
use super::sink_loop::run_sink;
use super::source_loop::run_source;
use super::stage::{Stage, run_stages};

/// Why a worker cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub(super) struct WorkerFailure {
    /// Row of the node it is about, where one is.
    pub(super) row: Option<usize>,
    pub(super) error: String,
    pub(super) traceback: Option<String>,
}

impl WorkerFailure {
    pub(super) fn of(error: impl std::fmt::Display) -> Self {
        Self {
            row: None,
            error: error.to_string(),
            traceback: None,
        }
    }

    /// The same, about the node in `row`.
    pub(super) fn about(self, row: usize) -> Self {
        Self {
            row: Some(row),
            ..self
        }
    }
}

impl From<NodeError> for WorkerFailure {
    fn from(error: NodeError) -> Self {
        let text = error.to_string();
        Self {
            row: None,
            error: text,
            traceback: match error {
                NodeError::Raised { traceback, .. } => Some(traceback),
                NodeError::Failed(_) | NodeError::Array(_) => None,
            },
        }
    }
}

impl From<InputError> for WorkerFailure {
    fn from(error: InputError) -> Self {
        Self::of(error)
    }
}

/// How often a paused worker looks whether it still is.
const PAUSE_SLICE_NS: u64 = 100_000_000;

/// What the loop of a node works with.
pub(super) struct Worker {
    pub(super) order: NodeOrder,
    counters: Arc<Counters>,
    directory: StreamDirectory,
    placement: PlacementReport,
    figure_values: Vec<f64>,
    /// True once the supervisor has let it run.
    has_run: bool,
}

impl Worker {
    /// A worker without a supervisor, told to run, with counters and streams in `folder`.
    #[cfg(test)]
    pub(super) fn in_test(folder: &std::path::Path) -> Self {
        let order = serde_json::json!({
            "row": 0,
            "spec": {
                "name": "node", "kind": "test.node", "inputs": [], "auxiliary": [], "outputs": [],
                "operation": null, "parameters": {}, "base_dir": "",
            },
            "inputs": [], "auxiliary": [], "outputs": [],
            "any_trigger": false, "propagate_frame_id": false, "matching": null,
            "wait": "park", "deadline_ns": null, "poll_interval_ns": 1_000_000,
        });
        let worker = Self {
            order: serde_json::from_value(order).unwrap(),
            counters: Arc::new(Counters::create(folder, 1).unwrap()),
            directory: StreamDirectory::new(folder),
            placement: PlacementReport::default(),
            figure_values: Vec::new(),
            has_run: false,
        };
        let command = &worker.counters().command;
        command.store(command::RUN, Ordering::Relaxed);
        worker
    }

    /// This node's counters.
    pub(super) fn counters(&self) -> &NodeCounters {
        self.counters.node(self.order.row)
    }

    /// The publication up to which another worker of this node has seen its first trigger; told
    /// once, when this one is let run.
    pub(super) fn take_over(&mut self) -> Option<u64> {
        if std::mem::replace(&mut self.has_run, true) {
            return None;
        }
        // Pairs with the Release store of the command that let it run.
        std::sync::atomic::fence(Ordering::Acquire);
        self.counters()
            .resume_after
            .load(Ordering::Relaxed)
            .checked_sub(1)
    }

    /// What the supervisor wants; see [`command`].
    pub(super) fn command(&self) -> u32 {
        self.counters().command.load(Ordering::Relaxed)
    }

    /// True unless the supervisor wants frames: ends waits early.
    pub(super) fn is_interrupted(&self) -> bool {
        self.command() != command::RUN
    }

    /// Sleeps while the supervisor wants a pause.
    pub(super) fn sleep_paused(&self) {
        let end_ns = clock::monotonic_ns() + PAUSE_SLICE_NS;
        futex::wait(&self.counters().command, command::PAUSE, Some(end_ns));
    }

    /// Sleeps until `deadline_ns` (monotonic) or until the supervisor wants something; true in the
    /// latter case.
    pub(super) fn sleep_until(&self, deadline_ns: u64) -> bool {
        while !self.is_interrupted() && clock::monotonic_ns() < deadline_ns {
            let word = &self.counters().command;
            futex::wait(word, command::RUN, Some(deadline_ns));
        }
        self.is_interrupted()
    }

    pub(super) fn open(&self, names: &[String]) -> Result<Vec<Stream>, WorkerFailure> {
        names
            .iter()
            .map(|name| self.directory.open(name).map_err(WorkerFailure::of))
            .collect()
    }

    pub(super) fn open_inputs(&self, names: &[String]) -> Result<Vec<Input>, WorkerFailure> {
        self.open(names)?
            .into_iter()
            .map(|stream| Ok(Input::new(stream)?))
            .collect()
    }

    /// Tells the supervisor that nothing published from now on will be overlooked.
    pub(super) fn report_ready(&mut self, figures: Vec<Figure>) -> Result<(), WorkerFailure> {
        let counters = self.counters();
        counters.pid.store(std::process::id(), Ordering::Relaxed);
        let cpu = match self.placement.cpus.as_slice() {
            [cpu] => u32::try_from(*cpu + 1).unwrap_or(0),
            _ => 0,
        };
        counters.cpu.store(cpu, Ordering::Relaxed);
        // What a predecessor was at work on when it was killed.
        counters.busy_since_ns.store(0, Ordering::Relaxed);
        counters
            .ready_ns
            .store(clock::monotonic_ns(), Ordering::Relaxed);
        self.figure_values = vec![0.0; figures.len().min(MAX_FIGURES)];
        let ready = WorkerReport::Ready {
            row: self.order.row,
            figures,
            placement: self.placement.clone(),
        };
        report(&ready).map_err(WorkerFailure::of)
    }

    /// Counts a frame that took longer from its origin than its deadline allows.
    pub(super) fn check_deadline(&self, latency_ns: u64) {
        let budget_ns = self.order.deadline_ns;
        if budget_ns.is_some_and(|budget_ns| latency_ns > budget_ns) {
            add(&self.counters().deadline_missed, 1);
        }
    }

    /// Publishes the node's own measurements.
    pub(super) fn publish_figures(&mut self, read: impl FnOnce(&mut [f64])) {
        if !self.figure_values.is_empty() {
            let mut values = std::mem::take(&mut self.figure_values);
            read(&mut values);
            self.counters().set_figures(&values);
            self.figure_values = values;
        }
    }
}

/// One more: plain, because every counter has one writer.
pub(super) fn add(counter: &std::sync::atomic::AtomicU64, amount: u64) {
    counter.store(counter.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
}

/// What a wait for a trigger came to.
pub(super) enum Trigger {
    /// Something new is there.
    New,
    /// The supervisor wants something.
    Interrupted,
}

/// Sorts the outcome of a wait that has no deadline.
pub(super) fn trigger<T>(outcome: Result<T, WaitError>) -> Result<Trigger, WorkerFailure> {
    match outcome {
        Ok(_) => Ok(Trigger::New),
        Err(WaitError::Interrupted { .. } | WaitError::TimedOut { .. }) => Ok(Trigger::Interrupted),
        Err(error) => Err(WorkerFailure::of(error)),
    }
}

/// A node, ready for its loop.
pub enum BuiltNode {
    /// Arrays in, arrays out.
    Kernel(Box<dyn Kernel>),
    /// Arrays out.
    Source(Box<dyn Source>),
    /// Arrays in.
    Sink(Box<dyn Sink>),
}

impl std::fmt::Debug for BuiltNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kernel(_) => "Kernel",
            Self::Source(_) => "Source",
            Self::Sink(_) => "Sink",
        })
    }
}

/// Runs the worker whose order is on standard input, with the kinds of `registry`; the whole life
/// of a worker process. Returns its exit status: 0 when told to stop or come to its end, 1 after a
/// failure, which was reported.
pub fn worker_main(registry: &Registry) -> u8 {
    worker_main_with(|assignment| build_from(registry, assignment.role, assignment.spec))
}

/// What a worker was told about one of its nodes.
#[derive(Debug)]
pub struct Assignment<'a> {
    /// Its role.
    pub role: Role,
    /// What it is built from.
    pub spec: &'a NodeSpec,
    /// What the host of the node said about it; null for built-in kinds.
    pub plugin: &'a serde_json::Value,
    /// A configuration with all streams, without their contents, and no other node than this one;
    /// null for built-in kinds.
    pub document: &'a serde_json::Value,
    /// Folder of the streams.
    pub directory: &'a StreamDirectory,
    /// Full names of the trigger streams, in declared order.
    pub inputs: &'a [String],
    /// Full names of the auxiliary streams, in declared order.
    pub auxiliary: &'a [String],
    /// Full names of the output streams, in declared order.
    pub outputs: &'a [String],
    /// What the supervisor wants of the node, from now on.
    pub commands: Commands,
}

/// As [`worker_main`], with nodes that `build` makes of what the worker was told about each.
pub fn worker_main_with(build: impl FnMut(&Assignment<'_>) -> Result<BuiltNode, NodeError>) -> u8 {
    match work(build) {
        Ok(()) => 0,
        Err(WorkerFailure {
            row,
            error,
            traceback,
        }) => {
            let failed = WorkerReport::Failed {
                row,
                error,
                traceback,
            };
            // If nobody listens any more, there is nobody to tell.
            report(&failed).ok();
            1
        }
    }
}

fn build_from(registry: &Registry, role: Role, spec: &NodeSpec) -> Result<BuiltNode, NodeError> {
    let definition = registry.get(role.into(), &spec.kind).ok_or_else(|| {
        NodeError::Failed(format!("unknown {} kind {:?}", role.noun(), spec.kind))
    })?;
    Ok(match definition.builder {
        NodeBuilder::Kernel(build) => BuiltNode::Kernel(build(spec).map_err(problems)?),
        NodeBuilder::Source(build) => BuiltNode::Source(build(spec).map_err(problems)?),
        NodeBuilder::Sink(build) => BuiltNode::Sink(build(spec).map_err(problems)?),
    })
}

fn work(
    mut build: impl FnMut(&Assignment<'_>) -> Result<BuiltNode, NodeError>,
) -> Result<(), WorkerFailure> {
    let order = take_order()?;
    process::die_with_parent(order.parent_pid).map_err(WorkerFailure::of)?;
    signal::ignore_stop_signals().map_err(WorkerFailure::of)?;
    let mut placement = settle_process(&order.placement)?;
    let counters = Arc::new(Counters::open(&order.counters).map_err(WorkerFailure::of)?);
    let mut stages = Vec::new();
    for node in order.nodes {
        let row = node.row;
        let mut worker = Worker {
            counters: Arc::clone(&counters),
            directory: StreamDirectory::new(&order.directory),
            placement: PlacementReport::default(),
            figure_values: Vec::new(),
            has_run: false,
            order: node,
        };
        let node = &worker.order;
        let built = build(&Assignment {
            role: order.role,
            spec: &node.spec,
            plugin: &node.plugin,
            document: &node.document,
            directory: &worker.directory,
            inputs: &node.inputs,
            auxiliary: &node.auxiliary,
            outputs: &node.outputs,
            commands: Commands::new(Arc::clone(&counters), row),
        });
        match built.map_err(|error| WorkerFailure::from(error).about(row))? {
            BuiltNode::Kernel(kernel) => {
                let stage = Stage::new(worker, kernel).map_err(|failure| failure.about(row))?;
                stages.push(stage);
            }
            BuiltNode::Source(source) => {
                settle_loop(&order.placement, &mut placement)?;
                worker.placement = placement;
                return run_source(&mut worker, source);
            }
            BuiltNode::Sink(sink) => {
                settle_loop(&order.placement, &mut placement)?;
                worker.placement = placement;
                return run_sink(&mut worker, sink);
            }
        }
    }
    // Last: threads that kernels have started keep the CPUs they had.
    settle_loop(&order.placement, &mut placement)?;
    for stage in &mut stages {
        stage.worker.placement = placement.clone();
    }
    run_stages(stages)
}

fn problems(problems: Vec<SpecProblem>) -> NodeError {
    let texts: Vec<String> = problems
        .iter()
        .map(|problem| format!("{}: {}", problem.path, problem.message))
        .collect();
    NodeError::Failed(texts.join("; "))
}
