//! `restart`: what happens when a node has ended.

use serde_json::Value as Json;

use super::Seconds;
use super::document::Value;
use super::entry_writer::{EntryWriter, Extent};
use super::fields::{Fields, Item, Problems};
use super::grammar::{Choice, RESTART};

/// When a node that has ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Not at all: the pipeline has failed if the node has.
    #[default]
    Never,
    /// If it failed or was killed.
    OnFailure,
    /// However it ended, as long as the pipeline runs.
    Always,
}

impl Choice for RestartPolicy {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("never", Self::Never),
        ("on-failure", Self::OnFailure),
        ("always", Self::Always),
    ];
}

impl RestartPolicy {
    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::OnFailure => "on-failure",
            Self::Always => "always",
        }
    }
}

/// `restart` of a kernel, source or sink.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Restart {
    /// When it is started again.
    pub policy: RestartPolicy,
    /// How long to wait before the first attempt; each further one waits twice as long. 0.1 s
    /// unless given.
    pub backoff: Seconds,
    /// The longest wait before an attempt; 5 s unless given.
    pub backoff_max: Seconds,
    /// Attempts within the window after which the node has failed for good; `None` is without end.
    pub limit: Option<u32>,
    /// The time over which attempts are counted, and after which a node that ran through is trusted
    /// again; 60 s unless given.
    pub window: Seconds,
}

impl Default for Restart {
    fn default() -> Self {
        Self::new(RestartPolicy::default())
    }
}

pub(super) const BACKOFF: Seconds = Seconds::constant(0.1);
pub(super) const BACKOFF_MAX: Seconds = Seconds::constant(5.0);
pub(super) const WINDOW: Seconds = Seconds::constant(60.0);

impl Restart {
    /// This policy with everything else at its default.
    pub const fn new(policy: RestartPolicy) -> Self {
        Self {
            policy,
            backoff: BACKOFF,
            backoff_max: BACKOFF_MAX,
            limit: None,
            window: WINDOW,
        }
    }

    pub(super) fn read(item: Item<'_>, problems: &mut Problems) -> Option<Self> {
        match item.node.value {
            Value::String(_) => {
                return item.choice(problems).map(Self::new);
            }
            Value::Mapping(_) => {}
            Value::Bool(on) => {
                let problem = item.expected("the name of a policy or a mapping");
                let meant = if on { "on-failure" } else { "never" };
                problems.push(problem.with_hint(format!("write `{meant}`")));
                return None;
            }
            _ => {
                let expected = "`never`, `on-failure`, `always` or a mapping with a 'policy'";
                problems.push(item.expected(expected));
                return None;
            }
        }
        let fields = Fields::open(item, &RESTART, problems)?;
        let policy = fields
            .required("policy", problems)
            .and_then(|policy| policy.choice(problems));
        let backoff = fields.seconds_or("backoff_s", BACKOFF, problems);
        // A longer first wait than the default longest one is no contradiction.
        let default_max = backoff.filter(|backoff| *backoff > BACKOFF_MAX);
        let default_max = default_max.unwrap_or(BACKOFF_MAX);
        let backoff_max = fields.seconds_or("backoff_max_s", default_max, problems);
        if let (Some(item), Some(backoff), Some(backoff_max)) =
            (fields.get("backoff_max_s"), backoff, backoff_max)
            && backoff_max < backoff
        {
            let expected = format!("at least 'backoff_s', which is {}", backoff.get());
            problems.push(item.expected(&expected));
        }
        let limit = fields.integer("limit", problems);
        let window = fields.seconds_or("window_s", WINDOW, problems);
        fields.finish(problems);
        Some(Self {
            policy: policy?,
            backoff: backoff?,
            backoff_max: backoff_max?,
            limit: limit?,
            window: window?,
        })
    }

    pub(super) fn to_json(self, extent: Extent) -> Json {
        if extent == Extent::Brief && self == Self::new(self.policy) {
            return self.policy.name().into();
        }
        let mut entry = EntryWriter::new(extent);
        entry.put("policy", self.policy.name());
        entry.put_seconds("backoff_s", self.backoff, BACKOFF);
        entry.put_seconds("backoff_max_s", self.backoff_max, BACKOFF_MAX);
        entry.put_option("limit", self.limit);
        entry.put_seconds("window_s", self.window, WINDOW);
        entry.finish()
    }
}
