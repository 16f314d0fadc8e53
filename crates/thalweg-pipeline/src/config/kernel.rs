//! `kernels[]`: the stages of a pipeline.

use serde_json::Value as Json;
use thalweg_kernels::Parameters;
use thalweg_shm::WaitPolicy;

use super::entry_writer::{EntryWriter, Extent};
use super::fields::{Fields, Item, Problems};
use super::grammar::{Choice, KERNEL, SYNCHRONIZATION};
use super::wiring::{
    AuxiliaryBinding, Context, Reference, bindings_of, streams_of, write_auxiliary,
    write_one_or_many, write_parameters,
};
use super::{Placement, Restart, Seconds};

/// When a kernel with several trigger streams computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriggerPolicy {
    /// As soon as one of them has something new.
    AnyNew,
    /// As soon as each of them has something new.
    AllNew,
}

impl Choice for TriggerPolicy {
    const NAMES: &'static [(&'static str, Self)] =
        &[("any_new", Self::AnyNew), ("all_new", Self::AllNew)];
}

impl TriggerPolicy {
    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::AnyNew => "any_new",
            Self::AllNew => "all_new",
        }
    }

    /// The policy of a kernel that does not say.
    pub fn default_for(trigger_count: usize) -> Self {
        if trigger_count > 1 {
            Self::AllNew
        } else {
            Self::AnyNew
        }
    }
}

/// What makes frames of several trigger streams belong together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SynchronizationMode {
    /// Every stream has published since the last time.
    #[default]
    Count,
    /// All frames carry the same frame id.
    MatchingFrameId,
}

impl Choice for SynchronizationMode {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("count", Self::Count),
        ("matching_frame_id", Self::MatchingFrameId),
    ];
}

impl SynchronizationMode {
    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::MatchingFrameId => "matching_frame_id",
        }
    }
}

/// What happens to frames that do not fit together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SkewPolicy {
    /// The older ones are dropped.
    #[default]
    DropOlder,
}

impl Choice for SkewPolicy {
    const NAMES: &'static [(&'static str, Self)] = &[("drop_older", Self::DropOlder)];
}

impl SkewPolicy {
    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::DropOlder => "drop_older",
        }
    }
}

/// `synchronization` of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Synchronization {
    /// What makes frames belong together.
    pub mode: SynchronizationMode,
    /// What happens to frames that do not.
    pub on_skew: SkewPolicy,
    /// Frames the newest stream may be ahead before all of them are dropped.
    pub max_skew_generations: u64,
    /// How long a stream that lags is waited for; `None` is for ever.
    pub max_wait: Option<Seconds>,
}

impl Default for Synchronization {
    fn default() -> Self {
        Self {
            mode: SynchronizationMode::default(),
            on_skew: SkewPolicy::default(),
            max_skew_generations: 16,
            max_wait: None,
        }
    }
}

/// One entry of `kernels`.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelConfig {
    /// Name, unique among kernels, sources and sinks.
    pub name: String,
    /// Kind, such as `cpu.scale`.
    pub kind: String,
    /// Trigger streams in declared order, at least one.
    pub inputs: Vec<String>,
    /// Output streams in declared order, at least one.
    pub outputs: Vec<String>,
    /// Auxiliary streams in declared order.
    pub auxiliary: Vec<AuxiliaryBinding>,
    /// The expression of a `custom_operation`.
    pub operation: Option<String>,
    /// Parameters of the kind.
    pub parameters: Parameters,
    /// Longest single wait for a trigger; 1 s unless given.
    pub read_timeout: Seconds,
    /// Interval of looking whether a pause has ended; 10 ms unless given.
    pub pause_sleep: Seconds,
    /// Interval of looking at streams that do not notify; 10 us unless given.
    pub poll_interval: Seconds,
    /// When to compute.
    pub trigger_policy: TriggerPolicy,
    /// Whether outputs carry the frame id of the newest trigger; not unless given.
    pub propagate_frame_id: bool,
    /// Which frames of several triggers belong together; `None` unless given.
    pub synchronization: Option<Synchronization>,
    /// How it passes the time until a trigger comes; adaptive unless given.
    pub wait: WaitPolicy,
    /// Latency budget from the origin of the trigger's data to the publication of the outputs.
    /// Frames that exceed it are counted, nothing else happens to them; `None` unless given.
    pub deadline: Option<Seconds>,
    /// Kernels of the same group run in one process and hand over without a wake-up; `None`: in a
    /// process of its own.
    pub group: Option<String>,
    /// On which CPUs and with which urgency it runs.
    pub placement: Placement,
    /// What happens when it has ended; nothing unless given.
    pub restart: Restart,
}

pub(super) const READ_TIMEOUT: Seconds = Seconds::constant(1.0);
pub(super) const PAUSE_SLEEP: Seconds = Seconds::constant(0.01);
pub(super) const POLL_INTERVAL: Seconds = Seconds::constant(1e-5);

impl KernelConfig {
    /// A kernel with every other field at its default.
    pub fn new(
        name: impl Into<String>,
        kind: impl Into<String>,
        inputs: impl IntoIterator<Item: Into<String>>,
        outputs: impl IntoIterator<Item: Into<String>>,
    ) -> Self {
        let inputs: Vec<String> = inputs.into_iter().map(Into::into).collect();
        Self {
            name: name.into(),
            kind: kind.into(),
            trigger_policy: TriggerPolicy::default_for(inputs.len()),
            inputs,
            outputs: outputs.into_iter().map(Into::into).collect(),
            auxiliary: Vec::new(),
            operation: None,
            parameters: Parameters::new(),
            read_timeout: READ_TIMEOUT,
            pause_sleep: PAUSE_SLEEP,
            poll_interval: POLL_INTERVAL,
            propagate_frame_id: false,
            synchronization: None,
            wait: WaitPolicy::default(),
            deadline: None,
            group: None,
            placement: Placement::default(),
            restart: Restart::default(),
        }
    }

    pub(super) fn read(item: Item<'_>, context: &mut Context<'_>) -> Option<Self> {
        let problems = &mut context.problems;
        let (fields, name) = Fields::open_named("kernel", item, &KERNEL, problems)?;
        let kind = fields
            .required("kind", problems)
            .and_then(|kind| kind.text(problems));
        let inputs = context.one_or_many(&fields, "input", "inputs");
        let outputs = context.one_or_many(&fields, "output", "outputs");
        let auxiliary = context.auxiliary(&fields);
        check_wiring(
            context,
            inputs.as_deref().unwrap_or_default(),
            outputs.as_deref().unwrap_or_default(),
            auxiliary.as_deref().unwrap_or_default(),
        );
        let parameters = context.parameters(&fields);
        let problems = &mut context.problems;
        let operation = fields
            .get("operation")
            .and_then(|operation| operation.text(problems))
            .map(str::to_owned);
        let read_timeout = fields.seconds_or("read_timeout", READ_TIMEOUT, problems);
        let pause_sleep = fields.seconds_or("pause_sleep", PAUSE_SLEEP, problems);
        let poll_interval = fields.seconds_or("poll_interval", POLL_INTERVAL, problems);
        let trigger_policy = match fields.get("trigger_policy") {
            Some(policy) => policy.choice(problems),
            None => inputs
                .as_ref()
                .map(|inputs| TriggerPolicy::default_for(inputs.len())),
        };
        let propagate_frame_id = fields.boolean_or("propagate_frame_id", false, problems);
        let synchronization = match fields.get("synchronization") {
            Some(item) => read_synchronization(item, trigger_policy, problems).map(Some),
            None => Some(None),
        };
        let wait = fields.choice_or("wait", WaitPolicy::default(), problems);
        let deadline = fields.seconds("deadline", problems);
        let group = match fields.get("group") {
            Some(group) => group.text(problems).map(|group| Some(group.to_owned())),
            None => Some(None),
        };
        let placement = fields.placement(problems);
        let restart = fields.restart(problems);
        fields.finish(problems);
        Some(Self {
            name: name?,
            kind: kind?.to_owned(),
            inputs: streams_of(inputs?),
            outputs: streams_of(outputs?),
            auxiliary: bindings_of(auxiliary?),
            operation,
            parameters: parameters?,
            read_timeout: read_timeout?,
            pause_sleep: pause_sleep?,
            poll_interval: poll_interval?,
            trigger_policy: trigger_policy?,
            propagate_frame_id: propagate_frame_id?,
            synchronization: synchronization?,
            wait: wait?,
            deadline: deadline?,
            group: group?,
            placement: placement?,
            restart: restart?,
        })
    }

    pub(super) fn to_json(&self, extent: Extent) -> Json {
        let mut entry = EntryWriter::new(extent);
        entry.put("name", self.name.as_str());
        entry.put("kind", self.kind.as_str());
        write_one_or_many(&mut entry, "input", "inputs", &self.inputs);
        write_one_or_many(&mut entry, "output", "outputs", &self.outputs);
        write_auxiliary(&mut entry, &self.auxiliary);
        entry.put_option("operation", self.operation.as_deref());
        write_parameters(&mut entry, &self.parameters);
        entry.put_seconds("read_timeout", self.read_timeout, READ_TIMEOUT);
        entry.put_seconds("pause_sleep", self.pause_sleep, PAUSE_SLEEP);
        entry.put_seconds("poll_interval", self.poll_interval, POLL_INTERVAL);
        let policy = self.trigger_policy;
        let is_default = policy == TriggerPolicy::default_for(self.inputs.len());
        entry.put_unless(is_default, "trigger_policy", policy.name());
        let propagate = self.propagate_frame_id;
        entry.put_unless(!propagate, "propagate_frame_id", propagate);
        // No synchronization is not the same as the default one, and null is refused today.
        if let Some(synchronization) = &self.synchronization {
            entry.put("synchronization", synchronization.to_json(extent));
        }
        entry.put_wait_policy(self.wait);
        entry.put_deadline(self.deadline);
        entry.put_option("group", self.group.as_deref());
        entry.put_placement(&self.placement);
        entry.put_restart(self.restart);
        entry.finish()
    }
}

fn check_wiring(
    context: &mut Context<'_>,
    inputs: &[Reference<'_>],
    outputs: &[Reference<'_>],
    auxiliary: &[(String, Reference<'_>)],
) {
    // In the list form the alias is the stream, and aliases were checked already.
    let by_alias = auxiliary
        .iter()
        .any(|(alias, bound)| *alias != bound.stream);
    let auxiliary = || auxiliary.iter().map(|(_, reference)| reference);
    context.reject_repetition(inputs, "declare the same trigger stream");
    context.reject_repetition(outputs, "declare the same output stream");
    if by_alias {
        context.reject_repetition(auxiliary(), "bind the same auxiliary stream");
    }
    context.reject_overlap(
        outputs,
        inputs,
        "use the same shared memory for both input and output",
    );
    context.reject_overlap(
        auxiliary(),
        inputs,
        "bind its own trigger stream as auxiliary",
    );
    context.reject_overlap(
        auxiliary(),
        outputs,
        "bind its own output stream as auxiliary",
    );
}

fn read_synchronization(
    item: Item<'_>,
    trigger_policy: Option<TriggerPolicy>,
    problems: &mut Problems,
) -> Option<Synchronization> {
    let fields = Fields::open(item, &SYNCHRONIZATION, problems)?;
    let defaults = Synchronization::default();
    let mode = fields.choice_or("mode", defaults.mode, problems);
    if let (Some(item), Some(SynchronizationMode::MatchingFrameId), Some(TriggerPolicy::AnyNew)) =
        (fields.get("mode"), mode, trigger_policy)
    {
        let message = format!(
            "{}: synchronization mode 'matching_frame_id' requires trigger_policy 'all_new'",
            item.who()
        );
        problems.push(
            item.problem(message)
                .with_hint("add `trigger_policy: all_new`"),
        );
    }
    let on_skew = fields.choice_or("on_skew", defaults.on_skew, problems);
    let max_skew_generations = fields.integer("max_skew_generations", problems);
    // Both spellings are read, so that a mistake in either is found; the longer name wins.
    let max_wait = fields.seconds("max_wait_s", problems);
    let timeout = fields.seconds("timeout", problems);
    fields.finish(problems);
    Some(Synchronization {
        mode: mode?,
        on_skew: on_skew?,
        max_skew_generations: max_skew_generations?.unwrap_or(defaults.max_skew_generations),
        max_wait: max_wait?.or(timeout?),
    })
}

impl Synchronization {
    fn to_json(&self, extent: Extent) -> Json {
        let mut entry = EntryWriter::new(extent);
        entry.put("mode", self.mode.name());
        entry.put("on_skew", self.on_skew.name());
        entry.put("max_skew_generations", self.max_skew_generations);
        entry.put_option("max_wait_s", self.max_wait.map(Seconds::get));
        entry.finish()
    }
}
