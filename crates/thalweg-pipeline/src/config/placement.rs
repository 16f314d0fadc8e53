//! `placement`: on which CPUs and with which urgency nodes run.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use thalweg_os::affinity::MAX_CPUS;

use super::document::Value;
use super::entry_writer::{EntryWriter, Extent};
use super::fields::{Fields, Item, Problems};

/// The scheduling class of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheduler {
    /// The system's ordinary one.
    #[default]
    Other,
    /// Real time: runs until it sleeps (`SCHED_FIFO`).
    Fifo,
    /// Real time: takes turns with nodes of the same priority (`SCHED_RR`).
    RoundRobin,
}

impl Scheduler {
    const NAMES: [(&'static str, Self); 3] = [
        ("other", Self::Other),
        ("fifo", Self::Fifo),
        ("rr", Self::RoundRobin),
    ];

    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::Fifo => "fifo",
            Self::RoundRobin => "rr",
        }
    }

    /// Whether nodes of this class go before all ordinary ones.
    pub fn is_real_time(self) -> bool {
        self != Self::Other
    }
}

/// `placement` of a kernel, source or sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// CPUs it may run on, in declared order, none twice; `None` leaves it to the pipeline's
    /// [`PipelinePlacement`].
    pub cpus: Option<Vec<usize>>,
    /// Scheduling class.
    pub scheduler: Scheduler,
    /// Priority within a real-time class, 1 (lowest) to 99; `None` for the ordinary class.
    pub priority: Option<u8>,
    /// Whether all memory of its process is locked and touched beforehand; not unless given.
    pub lock_memory: bool,
    /// Whether what the system refuses makes the node fail, instead of being reported only; not
    /// unless given.
    pub strict: bool,
}

/// Priority of a real-time node that does not say: before everything ordinary, after whatever else
/// is real time.
const REAL_TIME_PRIORITY: u8 = 1;
const PRIORITIES: std::ops::RangeInclusive<i128> = 1..=99;

impl Placement {
    pub(super) fn read(item: Item<'_>, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(item, problems)?;
        let cpus = match fields.given("cpus") {
            Some(cpus) => read_cpus(&cpus, problems).map(Some),
            None => Some(None),
        };
        let scheduler = match fields.given("scheduler") {
            Some(scheduler) => scheduler.choice(&Scheduler::NAMES, problems),
            None => Some(Scheduler::default()),
        };
        let priority_item = fields.given("priority");
        let given = match &priority_item {
            Some(priority) => priority
                .integer(PRIORITIES, "an integer from 1 to 99", problems)
                .map(|priority| u8::try_from(priority).ok()),
            None => Some(None),
        };
        if let (Some(item), Some(Scheduler::Other)) = (&priority_item, scheduler) {
            let message = format!("{}: 'placement.priority' is for real time", item.who());
            problems.push(
                item.problem(message)
                    .with_hint("add `scheduler: fifo` or `scheduler: rr`, or remove it"),
            );
        }
        let mut flag = |key| match fields.given(key) {
            Some(flag) => flag.boolean(problems),
            None => Some(false),
        };
        let (lock_memory, strict) = (flag("lock_memory"), flag("strict"));
        fields.finish(problems);
        let scheduler = scheduler?;
        Some(Self {
            cpus: cpus?,
            scheduler,
            priority: given?.or_else(|| scheduler.is_real_time().then_some(REAL_TIME_PRIORITY)),
            lock_memory: lock_memory?,
            strict: strict?,
        })
    }

    pub(super) fn to_json(&self, extent: Extent) -> Json {
        let mut entry = EntryWriter::new(extent);
        entry.put_option("cpus", self.cpus.as_deref());
        let scheduler = self.scheduler;
        entry.put_unless(
            scheduler == Scheduler::default(),
            "scheduler",
            scheduler.name(),
        );
        entry.put_option("priority", self.priority);
        entry.put_unless(!self.lock_memory, "lock_memory", self.lock_memory);
        entry.put_unless(!self.strict, "strict", self.strict);
        entry.finish()
    }
}

fn read_cpus(item: &Item<'_>, problems: &mut Problems) -> Option<Vec<usize>> {
    let range = || 0..=i128::try_from(MAX_CPUS).map_or(i128::MAX, |count| count - 1);
    let expected = format!("the number of a CPU, from 0 to {}", MAX_CPUS - 1);
    let number = |item: &Item<'_>, problems: &mut Problems| {
        let number = item.integer(range(), &expected, problems)?;
        usize::try_from(number).ok()
    };
    if !matches!(item.node.value, Value::Sequence(_)) {
        let expected = format!("{expected}, or a non-empty list of such");
        let only = item.integer(range(), &expected, problems)?;
        return usize::try_from(only).ok().map(|cpu| vec![cpu]);
    }
    let elements = item.elements("a non-empty list of CPU numbers", problems)?;
    let mut seen = BTreeSet::new();
    let mut cpus = Vec::new();
    for element in &elements {
        let cpu = number(element, problems)?;
        if !seen.insert(cpu) {
            problems.push(element.problem(format!("{} lists CPU {cpu} twice", element.who())));
        }
        cpus.push(cpu);
    }
    Some(cpus)
}

/// How nodes that say nothing are spread over the CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlacementPolicy {
    /// One after the other over the CPUs the program may use, in the order of the document.
    #[default]
    RoundRobin,
    /// Wherever the system puts them.
    None,
}

impl PlacementPolicy {
    const NAMES: [(&'static str, Self); 2] =
        [("round-robin", Self::RoundRobin), ("none", Self::None)];

    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::None => "none",
        }
    }
}

/// `placement` of the pipeline as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PipelinePlacement {
    /// How nodes without a `placement` of their own are spread.
    pub policy: PlacementPolicy,
    /// CPUs to leave out at the start of the round.
    pub offset: usize,
}

impl PipelinePlacement {
    pub(super) fn read(item: Item<'_>, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(item, problems)?;
        let policy = match fields.given("policy") {
            Some(policy) => policy.choice(&PlacementPolicy::NAMES, problems),
            None => Some(PlacementPolicy::default()),
        };
        let offset = match fields.given("offset") {
            Some(offset) => offset
                .integer(
                    0..=i128::from(u32::MAX),
                    "an integer of at least 0",
                    problems,
                )
                .and_then(|offset| usize::try_from(offset).ok()),
            None => Some(0),
        };
        fields.finish(problems);
        Some(Self {
            policy: policy?,
            offset: offset?,
        })
    }

    pub(super) fn to_json(self, extent: Extent) -> Json {
        let mut entry = EntryWriter::new(extent);
        entry.put_unless(
            self.policy == PlacementPolicy::default(),
            "policy",
            self.policy.name(),
        );
        entry.put_unless(self.offset == 0, "offset", self.offset);
        entry.finish()
    }
}
