//! `placement`: on which CPUs and with which urgency nodes run.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::document::Value;
use super::entry_writer::{EntryWriter, Extent};
use super::fields::{Fields, Item, Problems};
use super::grammar::{CPUS, Choice, PIPELINE_PLACEMENT, PLACEMENT};

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

impl Choice for Scheduler {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("other", Self::Other),
        ("fifo", Self::Fifo),
        ("rr", Self::RoundRobin),
    ];
}

impl Scheduler {
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

impl Placement {
    pub(super) fn read(item: Item<'_>, problems: &mut Problems) -> Option<Self> {
        let fields = Fields::open(item, &PLACEMENT, problems)?;
        let cpus = match fields.get("cpus") {
            Some(cpus) => read_cpus(&cpus, problems).map(Some),
            None => Some(None),
        };
        let scheduler = fields.choice_or("scheduler", Scheduler::default(), problems);
        let priority: Option<Option<u8>> = fields.integer("priority", problems);
        if let (Some(item), Some(Scheduler::Other)) = (fields.get("priority"), scheduler) {
            let message = format!("{}: 'placement.priority' is for real time", item.who());
            problems.push(
                item.problem(message)
                    .with_hint("add `scheduler: fifo` or `scheduler: rr`, or remove it"),
            );
        }
        let lock_memory = fields.boolean_or("lock_memory", false, problems);
        let strict = fields.boolean_or("strict", false, problems);
        fields.finish(problems);
        let scheduler = scheduler?;
        Some(Self {
            cpus: cpus?,
            scheduler,
            priority: priority?.or_else(|| scheduler.is_real_time().then_some(REAL_TIME_PRIORITY)),
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
    let expected = format!("the number of a CPU, from 0 to {}", CPUS.most);
    if !matches!(item.node.value, Value::Sequence(_)) {
        let expected = format!("{expected}, or a non-empty list of such");
        let only = item.integer(CPUS, &expected, problems)?;
        return usize::try_from(only).ok().map(|cpu| vec![cpu]);
    }
    let elements = item.elements("a non-empty list of CPU numbers", problems)?;
    let mut seen = BTreeSet::new();
    let mut cpus = Vec::new();
    for element in &elements {
        let cpu = usize::try_from(element.integer(CPUS, &expected, problems)?).ok()?;
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

impl Choice for PlacementPolicy {
    const NAMES: &'static [(&'static str, Self)] =
        &[("round-robin", Self::RoundRobin), ("none", Self::None)];
}

impl PlacementPolicy {
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
        let fields = Fields::open(item, &PIPELINE_PLACEMENT, problems)?;
        let policy = fields.choice_or("policy", PlacementPolicy::default(), problems);
        let offset = fields.integer("offset", problems);
        fields.finish(problems);
        Some(Self {
            policy: policy?,
            offset: offset?.unwrap_or(0),
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
