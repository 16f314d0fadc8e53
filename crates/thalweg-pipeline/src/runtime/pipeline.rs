//! A pipeline from build to shutdown: the state machine over streams and workers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use thalweg_kernels::Registry;
use thalweg_os::clock::monotonic_ns;
use thalweg_os::futex;
use thalweg_shm::Stream;
use thalweg_shm::counters::{Counters, MAX_NODES, command};

use super::endpoint::Endpoint;
use super::error::PipelineError;
use super::message::Role;
use super::options::{NodeHost, RunOptions};
use super::plan::{Plan, mixed_groups};
use super::status::{NodeFacts, NodeView, PipelineState, Status, Tally};
use super::streams::RunStreams;
use super::supervisor::{Board, Event, Failure, NodeState, Phase, Supervisor, after};
use crate::config::{Diagnostics, PipelineConfig, validate_hosted};

/// A pipeline.
#[derive(Debug)]
pub struct Pipeline {
    pub(super) config: PipelineConfig,
    pub(super) registry: Registry,
    pub(super) plan: Plan,
    /// Row of every node of the plan in the counters.
    pub(super) rows: Vec<usize>,
    pub(super) options: RunOptions,
    /// How long the call under way waits for workers; `None` is as long as the options say.
    call_timeout: Option<Duration>,
    state: PipelineState,
    /// Whether the workers were told to pause, whatever has failed since.
    pub(super) is_paused: bool,
    pub(super) built: Option<Built>,
    failures: Vec<Failure>,
    /// What every row had counted when its rate was last taken anew.
    rates: BTreeMap<usize, Tally>,
}

/// What exists from build to shutdown.
#[derive(Debug)]
pub(super) struct Built {
    // Dropped in this order: no worker outlives the streams it uses.
    pub(super) supervisor: Supervisor,
    pub(super) streams: RunStreams,
    pub(super) counters: Arc<Counters>,
}

impl Built {
    pub(super) fn board(&self) -> &Board {
        self.supervisor.board()
    }

    /// What the supervisor wants of the node in `row` from now on.
    pub(super) fn command(&self, row: usize, wanted: u32) {
        let word = &self.counters.node(row).command;
        // Pairs with the Acquire fence of a worker that takes over.
        word.store(wanted, Ordering::Release);
        futex::wake(word, u32::MAX);
    }

    /// Ends the nodes in `rows`; those that take longer than until `deadline` are killed. Returns
    /// those that have not even ended then: stuck in the kernel, or in the caller's own process.
    pub(super) fn end(&self, rows: &[usize], deadline: Instant) -> Vec<usize> {
        for &row in rows {
            self.supervisor.expect_end(row);
            self.command(row, command::STOP);
        }
        self.streams.nudge();
        let all_ended = |nodes: &[NodeState]| {
            rows.iter()
                .filter_map(|&row| nodes.get(row))
                .all(|state| !state.phase.is_running())
        };
        if !self.board().wait_until(deadline, all_ended) {
            for &row in rows {
                self.supervisor.kill(row);
            }
            self.board().wait_until(Instant::now() + KILLED, all_ended);
        }
        let nodes = self.board().nodes();
        let is_left = |row: &usize| nodes.get(*row).is_some_and(|node| node.phase.is_running());
        rows.iter().copied().filter(is_left).collect()
    }

    /// Waits until all nodes in `rows` are ready or one of them has failed.
    pub(super) fn wait_until_ready(
        &self,
        rows: &[usize],
        timeout: Duration,
    ) -> Result<(), NotReady> {
        let deadline = after(Instant::now(), timeout);
        let is_settled = |nodes: &[NodeState]| {
            let mut states = rows.iter().filter_map(|&row| nodes.get(row));
            states.clone().any(|state| state.failure.is_some())
                || states.all(|state| state.phase != Phase::Starting)
        };
        let in_time = self.board().wait_until(deadline, is_settled);
        let nodes = self.board().nodes();
        let states = || rows.iter().filter_map(|&row| Some((row, nodes.get(row)?)));
        // A member of a group that only ended with another one is not the reason.
        let mut failures: Vec<&Failure> = states()
            .filter_map(|(_, state)| state.failure.as_ref())
            .collect();
        failures.sort_by_key(|failure| failure.traceback.is_none() && failure.stderr.is_empty());
        if let Some(failure) = failures.first() {
            return Err(NotReady::Failed(Box::new((*failure).clone())));
        }
        if in_time {
            return Ok(());
        }
        let late = states().filter(|(_, state)| state.phase == Phase::Starting);
        Err(NotReady::Late(late.map(|(row, _)| row).collect()))
    }
}

/// Why workers are not ready.
pub(super) enum NotReady {
    Failed(Box<Failure>),
    /// The rows of those that are not.
    Late(Vec<usize>),
}

/// Of the time to stop, what is kept for those who come after the sources.
const END_SHARE: Duration = Duration::from_secs(1);
/// How long a killed process may take to end.
const KILLED: Duration = Duration::from_secs(5);
/// Nodes that can be added to a running pipeline at once.
const SPARE_ROWS: usize = 32;
/// A pipeline whose sources have ended and that did nothing for this long is done.
const QUIET_NS: u64 = 1_000_000_000;

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
        let is_hosted = |name: &str| options.hosts.contains_key(name);
        let problems = validate_hosted(&config, registry, &is_hosted);
        if !problems.is_empty() {
            return Err(Diagnostics(problems).into());
        }
        let plan = Plan::new(&config).map_err(Diagnostics)?;
        let problems = mixed_groups(&plan, &options.hosts);
        if !problems.is_empty() {
            return Err(Diagnostics(problems).into());
        }
        Ok(Self {
            config,
            registry: registry.clone(),
            rows: (0..plan.nodes.len()).collect(),
            plan,
            options,
            call_timeout: None,
            state: PipelineState::Initialized,
            is_paused: false,
            built: None,
            failures: Vec::new(),
            rates: BTreeMap::new(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &PipelineConfig {
        &self.config
    }

    /// Has what is called in `act` wait for workers to become ready for `timeout`; `None` is as long
    /// as the options say.
    pub fn with_start_timeout<T>(
        &mut self,
        timeout: Option<Duration>,
        act: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let before = std::mem::replace(&mut self.call_timeout, timeout);
        let outcome = act(self);
        self.call_timeout = before;
        outcome
    }

    pub(super) fn start_timeout(&self) -> Duration {
        self.call_timeout.unwrap_or(self.options.start_timeout)
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
        let rows = (self.plan.nodes.len() + SPARE_ROWS).min(MAX_NODES);
        let counters = Arc::new(Counters::create(directory.path(), rows)?);
        let board = Board::new(Arc::clone(&counters));
        let supervisor =
            Supervisor::new(board, self.options.plugin_output.clone()).map_err(|error| {
                counters.remove().ok();
                PipelineError::Supervisor(error)
            })?;
        counters.label().set(&self.label());
        if let Some(streams) = owner.keep() {
            self.built = Some(Built {
                supervisor,
                streams,
                counters,
            });
        }
        self.rows = (0..self.plan.nodes.len()).collect();
        self.describe_rows();
        self.set_state(PipelineState::Built);
        Ok(())
    }

    /// What this is a run of, for those who look at it from outside.
    fn label(&self) -> String {
        match (&self.config.source_path, &self.config.namespace) {
            (Some(path), _) => path.display().to_string(),
            (None, Some(namespace)) => namespace.clone(),
            (None, None) => String::new(),
        }
    }

    /// Says in the counters what every row is.
    pub(super) fn describe_rows(&self) {
        let Some(built) = &self.built else {
            return;
        };
        for row in 0..built.counters.node_count() {
            let mut nodes = self.plan.nodes.iter().zip(&self.rows);
            let node = nodes.find(|(_, own)| **own == row);
            // Plain strings and numbers always have a JSON form.
            let description =
                node.and_then(|(node, _)| serde_json::to_string(&NodeFacts::of(node)).ok());
            let text = &built.counters.node(row).description;
            text.set(description.as_deref().unwrap_or_default());
        }
    }

    fn set_state(&mut self, state: PipelineState) {
        self.state = state;
        if let Some(built) = &self.built {
            let word = built.counters.state();
            word.store(state as u32, Ordering::Relaxed);
        }
    }

    /// Starts all workers, waits until they are ready, then lets the sources begin. Frames written
    /// from now on are seen by every stage.
    pub fn start(&mut self) -> Result<(), PipelineError> {
        self.expect("start", "BUILT", &[PipelineState::Built])?;
        let launches = self.launches(&self.config, &self.plan, &self.rows, |_| true);
        let Some(built) = &self.built else {
            return Ok(());
        };
        self.failures.clear();
        self.rates.clear();
        self.is_paused = false;
        for &row in &self.rows {
            let counters = built.counters.node(row);
            let is_ready = built.board().node(row).phase == Phase::Ready;
            counters.clear();
            if is_ready {
                // A node of the caller's, which has begun already.
                counters.ready_ns.store(monotonic_ns(), Ordering::Relaxed);
            }
            counters.command.store(command::RUN, Ordering::Release);
        }
        for launch in launches {
            built.supervisor.start(launch);
        }
        if let Err(reason) = built.wait_until_ready(&self.rows, self.start_timeout()) {
            let error = self.not_ready(reason, |row| self.name_of(row));
            self.end_workers(Duration::from_secs(1));
            return Err(error);
        }
        self.let_sources_go(&self.rows);
        let started_ns = built.counters.started_ns();
        started_ns.store(monotonic_ns(), Ordering::Relaxed);
        self.set_state(PipelineState::Running);
        Ok(())
    }

    /// The sources among the nodes in `rows` may begin.
    pub(super) fn let_sources_go(&self, rows: &[usize]) {
        let Some(built) = &self.built else {
            return;
        };
        for (node, row) in self.plan.nodes.iter().zip(&self.rows) {
            if node.role == Role::Source && rows.contains(row) {
                built.supervisor.go(*row);
            }
        }
    }

    pub(super) fn not_ready(
        &self,
        reason: NotReady,
        name_of: impl Fn(usize) -> Option<String>,
    ) -> PipelineError {
        match reason {
            NotReady::Failed(failure) => PipelineError::Worker(failure),
            NotReady::Late(rows) => PipelineError::StartTimeout {
                timeout_s: self.start_timeout().as_secs_f64(),
                nodes: rows.into_iter().filter_map(name_of).collect(),
            },
        }
    }

    fn name_of(&self, row: usize) -> Option<String> {
        let mut nodes = self.plan.nodes.iter().zip(&self.rows);
        let (node, _) = nodes.find(|(_, own)| **own == row)?;
        Some(node.spec.name.clone())
    }

    /// Starts the workers again that have failed or ended; with the same streams, and from their
    /// initial state. The others are not disturbed.
    pub fn restart(&mut self) -> Result<(), PipelineError> {
        self.expect(
            "restart",
            "RUNNING, PAUSED or FAILED",
            &[
                PipelineState::Running,
                PipelineState::Paused,
                PipelineState::Failed,
            ],
        )?;
        let Some(built) = &self.built else {
            return Ok(());
        };
        let has_ended = |row: usize| {
            let phase = built.board().node(row).phase;
            matches!(phase, Phase::Failed | Phase::Stopped)
        };
        let ended: Vec<usize> = self
            .rows
            .iter()
            .copied()
            .filter(|&row| has_ended(row))
            .collect();
        let launches = self.launches(&self.config, &self.plan, &self.rows, has_ended);
        let started: Vec<usize> = launches
            .iter()
            .flat_map(|launch| launch.order.nodes.iter().map(|node| node.row))
            .collect();
        let wanted = if self.is_paused {
            command::PAUSE
        } else {
            command::RUN
        };
        for &row in &started {
            built.command(row, wanted);
        }
        for launch in launches {
            built.supervisor.start(launch);
        }
        if let Err(reason) = built.wait_until_ready(&started, self.start_timeout()) {
            let error = self.not_ready(reason, |row| self.name_of(row));
            built.end(&started, Instant::now() + Duration::from_secs(1));
            return Err(error);
        }
        self.let_sources_go(&started);
        let names: Vec<String> = ended.iter().filter_map(|&row| self.name_of(row)).collect();
        self.failures
            .retain(|failure| !names.contains(&failure.node));
        if self.failures.is_empty() {
            let state = if self.is_paused {
                PipelineState::Paused
            } else {
                PipelineState::Running
            };
            self.set_state(state);
        }
        Ok(())
    }

    /// Has all workers wait after the frame they are at.
    pub fn pause(&mut self) -> Result<(), PipelineError> {
        self.expect("pause", "RUNNING", &[PipelineState::Running])?;
        self.command_all(command::PAUSE);
        self.is_paused = true;
        self.set_state(PipelineState::Paused);
        Ok(())
    }

    /// Has all workers go on.
    pub fn resume(&mut self) -> Result<(), PipelineError> {
        self.expect("resume", "PAUSED", &[PipelineState::Paused])?;
        self.command_all(command::RUN);
        self.is_paused = false;
        self.set_state(PipelineState::Running);
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
        let left = self.end_workers(timeout);
        self.is_paused = false;
        if left.is_empty() {
            self.set_state(PipelineState::Built);
            return Ok(());
        }
        self.set_state(PipelineState::Failed);
        Err(PipelineError::StillRunning {
            nodes: left
                .into_iter()
                .filter_map(|row| self.name_of(row))
                .collect(),
        })
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
        self.is_paused = false;
        self.set_state(PipelineState::Stopped);
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
                self.rows[index],
                counters,
                built.board().clone(),
            )
        })
    }

    /// What happened to the nodes after event `sequence` of this run, as far as it is still kept.
    pub fn events_after(&self, sequence: u64) -> Vec<Event> {
        let built = self.built.as_ref();
        built.map_or_else(Vec::new, |built| built.board().events_after(sequence))
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
            let states = built.board().nodes();
            for (plan, &row) in self.plan.nodes.iter().zip(&self.rows) {
                let counters = built.counters.node(row);
                let now = Tally::of(counters, at_ns);
                let before = self.rates.get(&row).copied();
                if before.is_none_or(|before| before.is_worth_replacing(&now)) {
                    self.rates.insert(row, now);
                }
                let view = NodeView {
                    facts: NodeFacts::of(plan),
                    state: &states[row],
                    counters,
                    is_paused: self.is_paused,
                    before,
                    since: None,
                };
                nodes.push(view.status());
            }
        }
        let started_ns = self.built.as_ref().map_or(0, |built| {
            built.counters.started_ns().load(Ordering::Relaxed)
        });
        let runtime_ns = at_ns.saturating_sub(started_ns);
        Status {
            state: self.state,
            at_ns,
            runtime_s: if started_ns == 0 {
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
        let mut sources = self
            .plan
            .nodes
            .iter()
            .zip(&self.rows)
            .filter(|(node, _)| node.role == Role::Source)
            .peekable();
        let has_sources = sources.peek().is_some();
        let all_finished =
            sources.all(|(_, &row)| built.board().node(row).phase == Phase::Finished);
        has_sources
            && all_finished
            && (self.has_consumed_everything(built) || Self::is_quiet(built))
    }

    fn has_consumed_everything(&self, built: &Built) -> bool {
        self.plan.nodes.iter().zip(&self.rows).all(|(node, &row)| {
            node.spec.inputs.first().is_none_or(|trigger| {
                let stream = built.streams.get(&trigger.name);
                let published = stream.map_or(0, |stream| stream.count());
                // Pairs with the Release stores at the end of a frame.
                let consumed = built.counters.node(row).input_count.load(Ordering::Acquire);
                consumed == published
            })
        })
    }

    /// A frame whose partner on another trigger never comes is never consumed: after a while
    /// without any frame at all, and with nobody at work on one, nothing more is to be expected.
    fn is_quiet(built: &Built) -> bool {
        let rows = || (0..built.counters.node_count()).map(|row| built.counters.node(row));
        let is_busy = rows().any(|node| node.busy_since_ns.load(Ordering::Relaxed) != 0);
        let started_ns = built.counters.started_ns().load(Ordering::Relaxed);
        let newest_ns = rows()
            .map(|node| node.last_frame_ns.load(Ordering::Relaxed))
            .fold(started_ns, u64::max);
        !is_busy && monotonic_ns().saturating_sub(newest_ns) > QUIET_NS
    }

    /// Waits until something happens to a worker, or for `timeout`.
    pub fn wait_for_change(&self, timeout: Duration) {
        if let Some(built) = &self.built {
            let phases = |nodes: &[NodeState]| -> Vec<Phase> {
                nodes.iter().map(|node| node.phase).collect()
            };
            let before = phases(&built.board().nodes());
            let has_changed = |nodes: &[NodeState]| phases(nodes) != before;
            built
                .board()
                .wait_until(after(Instant::now(), timeout), has_changed);
        }
    }

    pub(super) fn expect(
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

    pub(super) fn notice_failures(&mut self) {
        let Some(built) = &self.built else {
            return;
        };
        for &row in &self.rows {
            if let Some(failure) = built.board().node(row).failure
                && !self.failures.contains(&failure)
            {
                self.failures.push(failure);
            }
        }
        let is_active = matches!(self.state, PipelineState::Running | PipelineState::Paused);
        if is_active && !self.failures.is_empty() {
            self.set_state(PipelineState::Failed);
        }
    }

    fn command_all(&self, wanted: u32) {
        if let Some(built) = &self.built {
            for &row in &self.rows {
                built.command(row, wanted);
            }
            built.streams.nudge();
        }
    }

    /// Sources first, so that what they published still goes through; then everybody else.
    fn end_workers(&self, timeout: Duration) -> Vec<usize> {
        let Some(built) = &self.built else {
            return Vec::new();
        };
        let now = Instant::now();
        // A source that takes all the time there is must not take it from those that could end.
        let share = timeout.saturating_sub(END_SHARE).max(timeout / 2);
        let mut left = Vec::new();
        for (only_sources, deadline) in [(true, after(now, share)), (false, after(now, timeout))] {
            let ending: Vec<usize> = self
                .plan
                .nodes
                .iter()
                .zip(&self.rows)
                .filter(|(node, _)| (node.role == Role::Source) == only_sources)
                .map(|(_, &row)| row)
                .collect();
            left.extend(built.end(&ending, deadline));
        }
        left
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
