//! What a running pipeline says about itself, read from counters without disturbing anybody.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use thalweg_kernels::FigureKind;
use thalweg_os::clock::monotonic_ns;
use thalweg_shm::counters::{HistogramSnapshot, NodeCounters};

use super::message::{PlacementReport, Role};
use super::plan::NodePlan;
use super::supervisor::{Failure, NodeState, Phase};

/// The state of a pipeline as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u32)]
pub enum PipelineState {
    /// Nothing was made yet.
    Initialized = 0,
    /// Streams exist, no process does.
    Built = 1,
    /// Processes are at work.
    Running = 2,
    /// Processes wait.
    Paused = 3,
    /// A process has failed.
    Failed = 4,
    /// Everything was taken down.
    Stopped = 5,
}

impl PipelineState {
    /// The state that counters show as `number`; unknown ones are of runs that do not run.
    pub(super) fn from_number(number: u32) -> Self {
        [
            Self::Initialized,
            Self::Built,
            Self::Running,
            Self::Paused,
            Self::Failed,
        ]
        .into_iter()
        .find(|&state| state as u32 == number)
        .unwrap_or(Self::Stopped)
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Initialized => "initialized",
            Self::Built => "built",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// How a node is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// Its process is not ready yet.
    Starting,
    /// It has not seen a frame yet.
    WaitingInput,
    /// It is at work.
    Active,
    /// It was at work and is not any more.
    Idle,
    /// The pipeline pauses.
    Paused,
    /// It could not go on.
    Failed,
    /// Its process has ended, as wanted.
    Stopped,
    /// The source came to its end.
    Finished,
}

impl Health {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::WaitingInput => "waiting-input",
            Self::Active => "active",
            Self::Idle => "idle",
            Self::Paused => "paused",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Finished => "finished",
        }
    }
}

/// A distribution of durations. All in ns; absent without values.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Durations {
    /// Number of values.
    pub count: u64,
    /// Mean.
    pub mean_ns: Option<f64>,
    /// Standard deviation.
    pub deviation_ns: Option<f64>,
    /// Median.
    pub p50_ns: Option<u64>,
    /// 99th percentile.
    pub p99_ns: Option<u64>,
    /// 99.9th percentile.
    pub p99_9_ns: Option<u64>,
    /// Largest.
    pub max_ns: Option<u64>,
    /// How many values there are in every power of two, from the first to the last that has any.
    pub octaves: Vec<Octave>,
}

/// Values from one power of two to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Octave {
    /// The smallest of them, in ns.
    pub from_ns: u64,
    /// How many.
    pub count: u64,
}

impl Durations {
    /// Of what a histogram holds.
    pub fn of(snapshot: &HistogramSnapshot) -> Self {
        Self {
            count: snapshot.count(),
            mean_ns: snapshot.mean_ns(),
            deviation_ns: snapshot.deviation_ns(),
            p50_ns: snapshot.quantile_ns(0.5),
            p99_ns: snapshot.quantile_ns(0.99),
            p99_9_ns: snapshot.quantile_ns(0.999),
            max_ns: snapshot.max_ns(),
            octaves: snapshot
                .octaves()
                .map(|(from_ns, count)| Octave { from_ns, count })
                .collect(),
        }
    }
}

/// One of a node's own measurements.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FigureValue {
    /// Name with its unit as suffix.
    pub name: String,
    /// Whether it adds up.
    pub kind: FigureKind,
    /// The value.
    pub value: f64,
}

/// One node.
#[derive(Clone, Debug, Serialize)]
pub struct NodeStatus {
    /// Name.
    pub name: String,
    /// Role.
    pub role: Role,
    /// Kind.
    pub kind: String,
    /// True if nothing in the pipeline is triggered by what it publishes.
    pub is_terminal: bool,
    /// Pid of its process.
    pub pid: Option<u32>,
    /// Exit status of its process; a signal as a negative number.
    pub exit_code: Option<i32>,
    /// How it is doing.
    pub health: Health,
    /// Frames completed.
    pub frames: u64,
    /// Publications of its triggers it never looked at.
    pub missed: u64,
    /// Frames published later after the origin of their data than its deadline allows.
    pub deadline_missed: u64,
    /// Times that triggers whose frame ids have to match did not.
    pub skew_events: u64,
    /// Frame ids given up because other triggers were ahead of them.
    pub skew_skipped: u64,
    /// Times that everything at hand was given up, being too far apart or for too long.
    pub skew_timeouts: u64,
    /// How often its worker was started again.
    pub restarts: u32,
    /// Why it was last started again.
    pub last_error: Option<String>,
    /// Where its worker runs.
    pub placement: PlacementReport,
    /// Count of the newest publication taken from its first trigger.
    pub input_count: u64,
    /// Count of its newest publication.
    pub output_count: u64,
    /// Frames per second since its first look at work, or since the last status.
    pub rate_hz: f64,
    /// When it was ready, in ns of the monotonic clock; 0 before.
    pub ready_ns: u64,
    /// Seconds since its last frame.
    pub idle_s: Option<f64>,
    /// Time to compute a frame.
    pub execution: Durations,
    /// Time the last frame was computed in, in ns; 0 before the first.
    pub last_execution_ns: u64,
    /// Time waited for a trigger.
    pub wait: Durations,
    /// Time from the origin of the data to its publication here.
    pub latency: Durations,
    /// Its own measurements.
    pub figures: Vec<FigureValue>,
    /// What a node of another program says about itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin_metrics: Option<serde_json::Value>,
}

/// A pipeline.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// As a whole.
    pub state: PipelineState,
    /// Monotonic time of this look in ns.
    pub at_ns: u64,
    /// Seconds since the start.
    pub runtime_s: f64,
    /// Sources, kernels, sinks, each in declared order.
    pub nodes: Vec<NodeStatus>,
    /// What failed.
    pub failures: Vec<Failure>,
}

impl Status {
    /// Frames that came out at the slowest end of the pipeline.
    pub fn completed_frames(&self) -> u64 {
        let ends = self.nodes.iter().filter(|node| node.is_terminal);
        ends.map(|node| node.frames).min().unwrap_or(0)
    }
}

/// What is said about a node in the counters of its run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct NodeFacts {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) kind: String,
    pub(super) is_terminal: bool,
    pub(super) idle_after_ns: u64,
}

impl NodeFacts {
    pub(super) fn of(plan: &NodePlan) -> Self {
        Self {
            name: plan.spec.name.clone(),
            role: plan.role,
            kind: plan.spec.kind.clone(),
            is_terminal: plan.is_terminal,
            idle_after_ns: plan.idle_after_ns,
        }
    }
}

/// Everything one node's status is made from.
pub(super) struct NodeView<'a> {
    pub(super) facts: NodeFacts,
    pub(super) state: &'a NodeState,
    pub(super) counters: &'a NodeCounters,
    pub(super) is_paused: bool,
    /// What it had counted at an earlier look.
    pub(super) before: Option<Tally>,
    /// What its distributions are told of since.
    pub(super) since: Option<&'a Distributions>,
}

/// What a node had counted at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) frames: u64,
    /// When the last of them was completed; 0 before the first.
    pub(super) last_frame_ns: u64,
    pub(super) taken_ns: u64,
}

/// Rates are taken over at least this long,
const SHORTEST_WINDOW_NS: u64 = 200_000_000;
/// over this many frames if they come often enough,
const WINDOW_FRAMES: u64 = 10;
/// and over this long otherwise.
const LONGEST_WINDOW_NS: u64 = 5_000_000_000;

impl Tally {
    pub(super) fn of(counters: &NodeCounters, taken_ns: u64) -> Self {
        Self {
            frames: counters.frames.load(Ordering::Relaxed),
            last_frame_ns: counters.last_frame_ns.load(Ordering::Relaxed),
            taken_ns,
        }
    }

    /// True if `now` is far enough from this one to take the next rate from.
    pub(super) fn is_worth_replacing(&self, now: &Self) -> bool {
        let age_ns = now.taken_ns.saturating_sub(self.taken_ns);
        let frames = now.frames.saturating_sub(self.frames);
        age_ns >= LONGEST_WINDOW_NS
            || age_ns >= SHORTEST_WINDOW_NS && frames >= WINDOW_FRAMES
            || self.frames > now.frames
    }

    /// Frames per second since `before`: from frame to frame, because looks come at any time in
    /// between; but when frames fail to come, it goes down.
    pub(super) fn rate_hz(&self, before: &Self) -> f64 {
        let frames = self.frames.saturating_sub(before.frames) as f64;
        let from_ns = match before.last_frame_ns {
            0 => before.taken_ns,
            last_frame_ns => last_frame_ns,
        };
        if frames == 0.0 || from_ns == 0 {
            return 0.0;
        }
        let seconds = |from_ns: u64, to_ns: u64| to_ns.saturating_sub(from_ns) as f64 * 1e-9;
        let rate_hz = frames / seconds(from_ns, self.last_frame_ns);
        let missing_s = seconds(self.last_frame_ns, self.taken_ns);
        if !rate_hz.is_finite() || missing_s * rate_hz > 2.0 {
            return frames / seconds(from_ns, self.taken_ns).max(1e-9);
        }
        rate_hz
    }
}

/// All distributions of a node, at one time.
#[derive(Clone, Debug)]
pub(super) struct Distributions {
    execution: HistogramSnapshot,
    wait: HistogramSnapshot,
    latency: HistogramSnapshot,
}

impl Distributions {
    pub(super) fn of(counters: &NodeCounters) -> Self {
        Self {
            execution: counters.execution.snapshot(),
            wait: counters.wait.snapshot(),
            latency: counters.latency.snapshot(),
        }
    }

    fn since(&self, earlier: &Self) -> Self {
        Self {
            execution: self.execution.since(&earlier.execution),
            wait: self.wait.since(&earlier.wait),
            latency: self.latency.since(&earlier.latency),
        }
    }
}

impl NodeView<'_> {
    pub(super) fn status(self) -> NodeStatus {
        let counters = self.counters;
        let now_ns = monotonic_ns();
        let frames = counters.frames.load(Ordering::Relaxed);
        let last_frame_ns = counters.last_frame_ns.load(Ordering::Relaxed);
        let ready_ns = counters.ready_ns.load(Ordering::Relaxed);
        let before = self.before.unwrap_or(Tally {
            frames: 0,
            last_frame_ns: 0,
            taken_ns: ready_ns,
        });
        let rate_hz = Tally::of(counters, now_ns).rate_hz(&before);
        let idle_ns = (last_frame_ns != 0).then(|| now_ns.saturating_sub(last_frame_ns));
        let distributions = Distributions::of(counters);
        let distributions = match self.since {
            Some(earlier) => distributions.since(earlier),
            None => distributions,
        };
        let values = counters
            .figures(self.state.figures.len())
            .unwrap_or_default();
        NodeStatus {
            health: self.health(frames, idle_ns),
            name: self.facts.name,
            role: self.facts.role,
            kind: self.facts.kind,
            is_terminal: self.facts.is_terminal,
            pid: self.state.pid,
            exit_code: self.state.exit_code,
            frames,
            missed: counters.missed.load(Ordering::Relaxed),
            deadline_missed: counters.deadline_missed.load(Ordering::Relaxed),
            skew_events: counters.skew_events.load(Ordering::Relaxed),
            skew_skipped: counters.skew_skipped.load(Ordering::Relaxed),
            skew_timeouts: counters.skew_timeouts.load(Ordering::Relaxed),
            restarts: self.state.restarts,
            last_error: self.state.last_error.clone(),
            placement: self.state.placement.clone(),
            input_count: counters.input_count.load(Ordering::Relaxed),
            output_count: counters.output_count.load(Ordering::Relaxed),
            rate_hz,
            ready_ns,
            idle_s: idle_ns.map(|idle_ns| idle_ns as f64 * 1e-9),
            execution: Durations::of(&distributions.execution),
            last_execution_ns: counters.last_execution_ns.load(Ordering::Relaxed),
            wait: Durations::of(&distributions.wait),
            latency: Durations::of(&distributions.latency),
            figures: self
                .state
                .figures
                .iter()
                .zip(values)
                .map(|(figure, value)| FigureValue {
                    name: figure.name.clone(),
                    kind: figure.kind,
                    value,
                })
                .collect(),
            plugin_metrics: self.state.metrics.clone(),
        }
    }

    fn health(&self, frames: u64, idle_ns: Option<u64>) -> Health {
        match self.state.phase {
            Phase::Failed => Health::Failed,
            Phase::Absent | Phase::Stopped => Health::Stopped,
            Phase::Finished => Health::Finished,
            Phase::Starting | Phase::Restarting => Health::Starting,
            Phase::Ready if self.is_paused => Health::Paused,
            Phase::Ready if frames == 0 => Health::WaitingInput,
            Phase::Ready if idle_ns.is_some_and(|idle| idle > self.facts.idle_after_ns) => {
                Health::Idle
            }
            Phase::Ready => Health::Active,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn tally(frames: u64, last_frame_ns: u64, taken_ns: u64) -> Tally {
        Tally {
            frames,
            last_frame_ns,
            taken_ns,
        }
    }

    #[test]
    fn rates_go_from_frame_to_frame() {
        // 9 Hz, looked at 0.25 s apart.
        let before = tally(9, 10 * SECOND_NS, 10 * SECOND_NS + 30_000_000);
        let now = tally(
            11,
            10 * SECOND_NS + 222_222_222,
            10 * SECOND_NS + 280_000_000,
        );
        let rate_hz = now.rate_hz(&before);
        assert!((rate_hz - 9.0).abs() < 1e-6, "{rate_hz}");
    }

    #[test]
    fn rates_go_down_when_nothing_comes() {
        let before = tally(1000, 10 * SECOND_NS, 10 * SECOND_NS);
        let now = tally(2000, 11 * SECOND_NS, 15 * SECOND_NS);
        assert!((now.rate_hz(&before) - 200.0).abs() < 1e-6);
        let later = tally(2000, 11 * SECOND_NS, 20 * SECOND_NS);
        assert_eq!(later.rate_hz(&now), 0.0);
    }

    #[test]
    fn windows_hold_several_frames_if_there_are_any() {
        let before = tally(0, 0, SECOND_NS);
        assert!(!before.is_worth_replacing(&tally(3, 0, 2 * SECOND_NS)));
        assert!(before.is_worth_replacing(&tally(10, 0, 2 * SECOND_NS)));
        assert!(!before.is_worth_replacing(&tally(10_000, 0, SECOND_NS + 1)));
        assert!(before.is_worth_replacing(&tally(0, 0, 6 * SECOND_NS)));
    }
}
