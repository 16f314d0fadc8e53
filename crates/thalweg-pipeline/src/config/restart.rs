//! `restart`: what happens when a node has ended.

use serde_json::Value as Json;

use super::Seconds;
use super::document::Value;
use super::entry_writer::{EntryWriter, Extent};
use super::fields::{Fields, Item, Problems};

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

impl RestartPolicy {
    const NAMES: [(&'static str, Self); 3] = [
        ("never", Self::Never),
        ("on-failure", Self::OnFailure),
        ("always", Self::Always),
    ];

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

const BACKOFF: Seconds = Seconds::constant(0.1);
const BACKOFF_MAX: Seconds = Seconds::constant(5.0);
const WINDOW: Seconds = Seconds::constant(60.0);

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
                return item.choice(&RestartPolicy::NAMES, problems).map(Self::new);
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
        let mut fields = Fields::open(item, problems)?;
        let policy = fields
            .required("policy", problems)
            .and_then(|policy| policy.choice(&RestartPolicy::NAMES, problems));
        let mut seconds = |key, default| match fields.given(key) {
            Some(item) => item.seconds(problems),
            None => Some(default),
        };
        let backoff = seconds("backoff_s", BACKOFF);
        // A longer first wait than the default longest one is no contradiction.
        let longest = backoff.map_or(BACKOFF_MAX, |backoff| {
            if backoff > BACKOFF_MAX {
                backoff
            } else {
                BACKOFF_MAX
            }
        });
        let backoff_max_item = fields.given("backoff_max_s");
        let backoff_max = match &backoff_max_item {
            Some(item) => item.seconds(problems),
            None => Some(longest),
        };
        if let (Some(item), Some(backoff), Some(longest)) =
            (&backoff_max_item, backoff, backoff_max)
            && longest < backoff
        {
            problems
                .push(item.expected(&format!("at least 'backoff_s', which is {}", backoff.get())));
        }
        let limit = match fields.given("limit") {
            Some(limit) => limit
                .integer(
                    1..=i128::from(u32::MAX),
                    "an integer of at least 1, or null for no limit",
                    problems,
                )
                .map(|limit| u32::try_from(limit).ok()),
            None => Some(None),
        };
        let window = match fields.given("window_s") {
            Some(item) => item.seconds(problems),
            None => Some(WINDOW),
        };
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
