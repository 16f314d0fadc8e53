//! A pipeline from build to shutdown: the state machine over streams and workers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use thalweg_kernels::Registry;
use thalweg_os::clock::monotonic_ns;
use thalweg_os::futex;
use thalweg_shm::counters::{Counters, CountersError, command};
use thalweg_shm::{Stream, StreamDirectory};

use super::endpoint::Endpoint;
use super::message::{Role, WorkerOrder};
use super::plan::Plan;
use super::status::{NodeView, PipelineState, Status};
use super::streams::{RunStreams, StreamsError};
use super::supervisor::{Failure, NodeState, Phase, Supervisor, WorkerProgram};
use crate::config::{Diagnostics, PipelineConfig, validate_hosted};

/// How a pipeline is run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The program workers run.
    pub worker_program: WorkerProgram,
    /// Folder of the streams.
    pub directory: StreamDirectory,
    /// How long workers may take to become ready.
    pub start_timeout: Duration,
    /// Nodes that run elsewhere than in a worker with a built-in kind, by name.
    pub hosts: BTreeMap<String, NodeHost>,
}

/// Who runs a node whose kind is not one of the registry's.
#[derive(Clone, Debug)]
pub enum NodeHost {
    /// A process of another program, which knows the kind.
    Program {
        /// The program.
        program: WorkerProgram,
        /// What it needs to know to build the node; reaches it untouched.
        plugin: serde_json::Value,
    },
    /// The owner of the pipeline, in its own process, through [`Pipeline::endpoint`].
    Caller,
}

impl RunOptions {
    /// Workers run `worker_program`; streams live in the default folder; ten seconds to start.
    pub fn new(worker_program: WorkerProgram) -> Self {
        Self {
            worker_program,
            directory: StreamDirectory::default(),
            start_timeout: Duration::from_secs(10),
            hosts: BTreeMap::new(),
        }
    }
}

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
    /// The supervising thread could not be started.
    #[error("cannot start the supervisor: {0}")]
    Supervisor(std::io::Error),
}

/// A pipeline.
#[derive(Debug)]
pub struct Pipeline {
    config: PipelineConfig,
    plan: Plan,
    options: RunOptions,
    state: PipelineState,
    built: Option<Built>,
    started_ns: u64,
    failures: Vec<Failure>,
    /// Frames of every node, and the time, at the last look at rates.
    rates: Option<(u64, Vec<u64>)>,
}

/// What exists from build to shutdown.
#[derive(Debug)]
struct Built {
    // Dropped in this order: no worker outlives the streams it uses.
    supervisor: Supervisor,
    streams: RunStreams,
    counters: Arc<Counters>,
}

/// A pipeline whose sources have ended and that did nothing for this long is done.
const QUIET_NS: u64 = 1_000_000_000;
/// Rates are taken over at least this long.
const RATE_WINDOW_NS: u64 = 200_000_000;

impl Pipeline {
    /// A pipeline of the checked configuration; nothing is made yet.
    ///
    /// # Errors
    ///
    /// Everything the configuration, or a kind it uses, is wrong about.
    pub fn new(
        config: PipelineConfig,
        registry: &Registry,
        options: RunOptions,
    ) -> Result<Self, PipelineError> {
        let problems = validate_hosted(&config, registry, &|name| options.hosts.contains_key(name));
        if !problems.is_empty() {
            return Err(Diagnostics(problems).into());
        }
        let plan = Plan::new(&config).map_err(Diagnostics)?;
        Ok(Self {
            config,
            plan,
            options,
            state: PipelineState::Initialized,
            built: None,
            started_ns: 0,
            failures: Vec::new(),
            rates: None,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &PipelineConfig {
        &self.config
    }

    /// The state, with failures noticed.
    pub fn state(&mut self) -> PipelineState {
        self.notice_failures();
        self.state
    }

    /// Makes the streams and fills them; removes what a killed run has left of them.
    pub fn build(&mut self) -> Result<(), PipelineError> {
        self.expect(
            "build",
            "initialized or stopped",
            &[PipelineState::Initialized, PipelineState::Stopped],
        )?;
        self.failures.clear();
        let directory = &self.options.directory;
        // Debris of other runs is no reason not to build this one.
        Counters::remove_abandoned(directory.path()).ok();
        let streams = RunStreams::build(&self.plan, directory)?;
        // From here on dropping `owner` removes the streams again.
        let owner = StreamsOwner(Some(streams));
        let counters = Arc::new(Counters::create(directory.path(), self.plan.nodes.len())?);
        let supervisor = Supervisor::new(self.plan.nodes.len()).map_err(|error| {
            counters.remove().ok();
            PipelineError::Supervisor(error)
        })?;
        if let Some(streams) = owner.keep() {
            self.built = Some(Built {
                supervisor,
                streams,
                counters,
            });
        }
        self.state = PipelineState::Built;
        Ok(())
    }

    /// Starts all workers, waits until they are ready, then lets the sources begin. Frames written
    /// from now on are seen by every stage.
    pub fn start(&mut self) -> Result<(), PipelineError> {
        self.expect("start", "BUILT", &[PipelineState::Built])?;
        let Some(built) = &self.built else {
            return Ok(());
        };
        self.failures.clear();
        self.rates = None;
        for (index, node) in self.plan.nodes.iter().enumerate() {
            let counters = built.counters.node(index);
            counters.clear();
            counters.command.store(command::RUN, Ordering::Relaxed);
            let (program, plugin) = match self.options.hosts.get(&node.spec.name) {
                Some(NodeHost::Caller) => continue,
                Some(NodeHost::Program { program, plugin }) => (program.clone(), plugin.clone()),
                None => (self.options.worker_program.clone(), serde_json::Value::Null),
            };
            let order = WorkerOrder {
                parent_pid: std::process::id(),
                counters: built.counters.path().to_owned(),
                node: index,
                directory: self.options.directory.path().to_owned(),
                role: node.role,
                spec: node.spec.clone(),
                inputs: node.inputs.clone(),
                auxiliary: node.auxiliary.clone(),
                outputs: node.outputs.clone(),
                any_trigger: node.any_trigger,
                propagate_frame_id: node.propagate_frame_id,
                poll_interval_ns: node.poll_interval_ns,
                plugin,
            };
            built.supervisor.start(order, program);
        }
        let deadline = Instant::now() + self.options.start_timeout;
        let settled = |nodes: &[NodeState]| {
            nodes.iter().any(|node| node.failure.is_some())
                || nodes.iter().all(|node| node.phase != Phase::Starting)
        };
        let in_time = built.supervisor.wait_until(Some(deadline), settled);
        let nodes = built.supervisor.nodes();
        let failure = nodes.iter().find_map(|node| node.failure.clone());
        if failure.is_some() || !in_time {
            self.end_workers(Duration::from_secs(1));
            return Err(match failure {
                Some(failure) => PipelineError::Worker(Box::new(failure)),
                None => PipelineError::StartTimeout {
                    timeout_s: self.options.start_timeout.as_secs_f64(),
                    nodes: self.names_of(&nodes, Phase::Starting),
                },
            });
        }
        for (index, node) in self.plan.nodes.iter().enumerate() {
            if node.role == Role::Source {
                built.supervisor.go(index);
            }
        }
        self.started_ns = monotonic_ns();
        self.state = PipelineState::Running;
        Ok(())
    }

    /// Has all workers wait after the frame they are at.
    pub fn pause(&mut self) -> Result<(), PipelineError> {
        self.expect("pause", "RUNNING", &[PipelineState::Running])?;
        self.command_all(command::PAUSE);
        self.state = PipelineState::Paused;
        Ok(())
    }

    /// Has all workers go on.
    pub fn resume(&mut self) -> Result<(), PipelineError> {
        self.expect("resume", "PAUSED", &[PipelineState::Paused])?;
        self.command_all(command::RUN);
        self.state = PipelineState::Running;
        Ok(())
    }

    /// Ends all workers: sources first, then the others. What does not end within `timeout` is
    /// killed. The streams stay.
    pub fn stop(&mut self, timeout: Duration) -> Result<(), PipelineError> {
        self.notice_failures();
        if self.state == PipelineState::Built {
            return Ok(());
        }
        self.expect(
            "stop",
            "RUNNING, PAUSED or FAILED",
            &[
                PipelineState::Running,
                PipelineState::Paused,
                PipelineState::Failed,
            ],
        )?;
        self.end_workers(timeout);
        self.state = PipelineState::Built;
        Ok(())
    }

    /// Ends everything and removes the streams this pipeline created; with `unlink_external` those
    /// it attached to as well. Possible at any time, any number of times.
    pub fn shutdown(&mut self, unlink: bool, unlink_external: bool) {
        if self.built.is_some() {
            self.end_workers(Duration::from_secs(5));
        }
        if let Some(mut built) = self.built.take() {
            if unlink {
                built.streams.remove(unlink_external);
            }
            // The next run would remove it as well.
            built.counters.remove().ok();
            drop(built);
            self.options.directory.tidy().ok();
        }
        self.state = PipelineState::Stopped;
    }

    /// The stream `name` of the configuration, while the pipeline is built.
    pub fn stream(&self, name: &str) -> Option<Arc<Stream>> {
        self.built.as_ref()?.streams.get(name).map(Arc::clone)
    }

    /// Where the node `name`, which runs in this process, counts what it does and says how it is;
    /// `None` unless the pipeline is built and the node is [`NodeHost::Caller`]'s.
    pub fn endpoint(&self, name: &str) -> Option<Endpoint> {
        let built = self.built.as_ref()?;
        let index = self
            .plan
            .nodes
            .iter()
            .position(|node| node.spec.name == name)?;
        let is_callers = matches!(self.options.hosts.get(name), Some(NodeHost::Caller));
        is_callers.then(|| {
            let counters = Arc::clone(&built.counters);
            Endpoint::new(
                &self.plan.nodes[index],
                index,
                counters,
                built.supervisor.board(),
            )
        })
    }

    /// What failed since the last start.
    pub fn failures(&mut self) -> &[Failure] {
        self.notice_failures();
        &self.failures
    }

    /// How everything is doing.
    pub fn status(&mut self) -> Status {
        self.notice_failures();
        let at_ns = monotonic_ns();
        let mut nodes = Vec::new();
        if let Some(built) = &self.built {
            let states = built.supervisor.nodes();
            for (index, (plan, state)) in self.plan.nodes.iter().zip(&states).enumerate() {
                let before = self
                    .rates
                    .as_ref()
                    .and_then(|(taken_ns, frames)| Some((*frames.get(index)?, *taken_ns)));
                let view = NodeView {
                    plan,
                    state,
                    counters: built.counters.node(index),
                    is_paused: self.state == PipelineState::Paused,
                    before,
                };
                nodes.push(view.status());
            }
        }
        let is_window_over = self
            .rates
            .as_ref()
            .is_none_or(|(taken_ns, _)| at_ns - taken_ns >= RATE_WINDOW_NS);
        if is_window_over {
            self.rates = Some((at_ns, nodes.iter().map(|node| node.frames).collect()));
        }
        let runtime_ns = at_ns.saturating_sub(self.started_ns);
        Status {
            state: self.state,
            at_ns,
            runtime_s: if self.started_ns == 0 {
                0.0
            } else {
                runtime_ns as f64 * 1e-9
            },
            nodes,
            failures: self.failures.clone(),
        }
    }

    /// True when every source has come to its end and nothing is on its way any more.
    pub fn is_drained(&mut self) -> bool {
        let Some(built) = &self.built else {
            return true;
        };
        let states = built.supervisor.nodes();
        let mut sources = self
            .plan
            .nodes
            .iter()
            .zip(&states)
            .filter(|(node, _)| node.role == Role::Source)
            .peekable();
        let has_sources = sources.peek().is_some();
        let all_finished = sources.all(|(_, state)| state.phase == Phase::Finished);
        has_sources
            && all_finished
            && (self.has_consumed_everything(built) || Self::is_quiet(built))
    }

    fn has_consumed_everything(&self, built: &Built) -> bool {
        self.plan.nodes.iter().enumerate().all(|(index, node)| {
            node.spec.inputs.first().is_none_or(|trigger| {
                let stream = built.streams.get(&trigger.name);
                let published = stream.map_or(0, |stream| stream.count());
                // Pairs with the Release stores at the end of a frame.
                let consumed = built
                    .counters
                    .node(index)
                    .input_count
                    .load(Ordering::Acquire);
                consumed == published
            })
        })
    }

    /// A frame whose partner on another trigger never comes is never consumed: after a while
    /// without any frame at all nothing more is to be expected.
    fn is_quiet(built: &Built) -> bool {
        let newest_ns = (0..built.counters.node_count())
            .map(|index| {
                let counters = built.counters.node(index);
                counters.last_frame_ns.load(Ordering::Relaxed)
            })
            .max()
            .unwrap_or(0);
        newest_ns != 0 && monotonic_ns().saturating_sub(newest_ns) > QUIET_NS
    }

    /// Waits until something happens to a worker, or for `timeout`.
    pub fn wait_for_change(&self, timeout: Duration) {
        if let Some(built) = &self.built {
            let before: Vec<Phase> = built
                .supervisor
                .nodes()
                .iter()
                .map(|node| node.phase)
                .collect();
            let has_changed = |nodes: &[NodeState]| {
                nodes
                    .iter()
                    .zip(&before)
                    .any(|(node, phase)| node.phase != *phase)
            };
            built
                .supervisor
                .wait_until(Some(Instant::now() + timeout), has_changed);
        }
    }

    fn expect(
        &mut self,
        action: &'static str,
        expected: &'static str,
        states: &[PipelineState],
    ) -> Result<(), PipelineError> {
        self.notice_failures();
        if states.contains(&self.state) {
            Ok(())
        } else {
            Err(PipelineError::State {
                action,
                expected,
                found: self.state.name(),
            })
        }
    }

    fn notice_failures(&mut self) {
        let Some(built) = &self.built else {
            return;
        };
        for node in built.supervisor.nodes() {
            if let Some(failure) = node.failure
                && !self.failures.contains(&failure)
            {
                self.failures.push(failure);
            }
        }
        let is_active = matches!(self.state, PipelineState::Running | PipelineState::Paused);
        if is_active && !self.failures.is_empty() {
            self.state = PipelineState::Failed;
        }
    }

    fn command_all(&self, wanted: u32) {
        for (index, _) in self.plan.nodes.iter().enumerate() {
            self.command(index, wanted);
        }
        if let Some(built) = &self.built {
            built.streams.nudge();
        }
    }

    fn command(&self, node: usize, wanted: u32) {
        if let Some(built) = &self.built {
            let word = &built.counters.node(node).command;
            word.store(wanted, Ordering::Relaxed);
            futex::wake(word, u32::MAX);
        }
    }

    /// Sources first, so that what they published still goes through; then everybody else.
    fn end_workers(&self, timeout: Duration) {
        let Some(built) = &self.built else {
            return;
        };
        let deadline = Instant::now() + timeout;
        for only_sources in [true, false] {
            let ending: Vec<usize> = self
                .plan
                .nodes
                .iter()
                .enumerate()
                .filter(|(_, node)| (node.role == Role::Source) == only_sources)
                .map(|(index, _)| index)
                .collect();
            for &node in &ending {
                built.supervisor.expect_end(node);
                self.command(node, command::STOP);
            }
            built.streams.nudge();
            let all_ended = |nodes: &[NodeState]| {
                ending.iter().all(|&node| {
                    nodes
                        .get(node)
                        .is_none_or(|state| !state.phase.is_running())
                })
            };
            if !built.supervisor.wait_until(Some(deadline), all_ended) {
                for &node in &ending {
                    built.supervisor.kill(node);
                }
                // A killed process ends; one that does not is stuck in the kernel.
                let killed = Some(Instant::now() + Duration::from_secs(5));
                built.supervisor.wait_until(killed, all_ended);
            }
        }
    }

    fn names_of(&self, nodes: &[NodeState], phase: Phase) -> Vec<String> {
        self.plan
            .nodes
            .iter()
            .zip(nodes)
            .filter(|(_, state)| state.phase == phase)
            .map(|(plan, _)| plan.spec.name.clone())
            .collect()
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.shutdown(true, false);
    }
}

/// Removes streams again unless kept.
struct StreamsOwner(Option<RunStreams>);

impl StreamsOwner {
    fn keep(mut self) -> Option<RunStreams> {
        self.0.take()
    }
}

impl Drop for StreamsOwner {
    fn drop(&mut self) {
        if let Some(streams) = &mut self.0 {
            streams.remove(false);
        }
    }
}
