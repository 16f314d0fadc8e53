//! Every key a document can have: the one table that reading, the JSON-Schema and the guide share.
//!
//! Reading asks it which keys exist, which values they take, and whether null stands for the
//! default ([`super::fields::Fields`]); [`super::json_schema`] and [`reference_tables`] write it
//! down for others.

mod reference;
mod tables;

use serde_json::Value as Json;

pub use reference::reference_tables;
pub(in crate::config) use tables::{
    CPUS, INITIAL, KERNEL, PIPELINE_PLACEMENT, PLACEMENT, RESTART, ROOT, SINK, SOURCE, STREAM,
    SYNCHRONIZATION, TABLES,
};

/// A mapping of the grammar.
#[derive(Debug)]
pub(in crate::config) struct Table {
    /// What it is, in the guide and the schema.
    pub(in crate::config) title: &'static str,
    pub(in crate::config) keys: &'static [Key],
    /// Pairs of keys of which exactly one has to be given.
    pub(in crate::config) either: &'static [(&'static str, &'static str)],
}

/// One key of a mapping.
#[derive(Debug)]
pub(in crate::config) struct Key {
    pub(in crate::config) name: &'static str,
    pub(in crate::config) accepts: Accepts,
    pub(in crate::config) absent: Absent,
    /// Meaning and rules, for people.
    pub(in crate::config) doc: &'static str,
}

/// What leaving a key out means.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) enum Absent {
    /// It must not be left out.
    Required,
    /// One of a pair must not be left out; [`Table::either`] has the pairs.
    RequiredEither,
    /// This value; null means it, too.
    Default(fn() -> Json),
    /// This value, but null is refused: leaving the key out is how it is said.
    DefaultNotNull(fn() -> Json),
    /// What the words say; null means it, too.
    Unset(&'static str),
    /// What the words say, but null is refused.
    UnsetNotNull(&'static str),
}

/// What values a key takes.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) enum Accepts {
    /// Text that is not empty; it is trimmed.
    Text,
    /// A namespace.
    Namespace,
    /// A kind of one role: `kernel`, `source` or `sink`.
    Kind,
    /// The name of a stream.
    Stream,
    /// A list of names of streams, not empty.
    Streams,
    /// A list of names of streams.
    StreamsOrNone,
    /// Names of streams, or a mapping of aliases to names.
    Auxiliary,
    /// Whatever the kind makes of it.
    Parameters,
    /// Extents of axes.
    Shape,
    /// The name of a dtype.
    DType,
    /// Initial contents.
    Initial,
    /// One element of a stream: a number, a boolean, or a mapping of `real` and `imag`.
    Element,
    /// Elements in nested lists.
    Elements,
    /// A finite number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A positive, finite number of seconds.
    Seconds,
    /// An integer.
    Integer(Range),
    /// The number of a CPU, or a list of such.
    Cpus,
    /// One of some names, whatever their case.
    Choice(fn() -> Vec<&'static str>),
    /// A mapping.
    Mapping(&'static Table),
    /// One of some names, or a mapping.
    ChoiceOrMapping(fn() -> Vec<&'static str>, &'static Table),
    /// A list of mappings.
    Entries(&'static Table),
    /// A list of mappings, at least one.
    SomeEntries(&'static Table),
}

/// The integers from `least` to `most`.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Range {
    pub(in crate::config) least: i128,
    pub(in crate::config) most: i128,
}

impl Range {
    const fn from(least: i128) -> Self {
        Self {
            least,
            most: u64::MAX as i128,
        }
    }

    /// Such as "an integer from 2 to 127".
    pub(in crate::config) fn expected(self) -> String {
        if self.most >= i128::from(u32::MAX) {
            format!("an integer of at least {}", self.least)
        } else {
            format!("an integer from {} to {}", self.least, self.most)
        }
    }

    pub(in crate::config) fn holds(self, value: i128) -> bool {
        (self.least..=self.most).contains(&value)
    }
}

/// A setting that is one of some names.
pub(in crate::config) trait Choice: Copy + 'static {
    const NAMES: &'static [(&'static str, Self)];

    fn names() -> Vec<&'static str> {
        Self::NAMES.iter().map(|(name, _)| *name).collect()
    }
}

impl Table {
    pub(in crate::config) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

impl Key {
    /// Whether null means the same as leaving the key out.
    pub(in crate::config) fn null_is_absent(&self) -> bool {
        matches!(self.absent, Absent::Default(_) | Absent::Unset(_))
    }
}
