//! Writing entries of a document, with or without their defaults.

use serde_json::{Map, Value as Json};

use super::Seconds;

/// How much of an entry is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// What differs from the default.
    Brief,
    /// Every key there is, defaults included, each in the most general of its spellings.
    Complete,
}

/// One mapping that is being written.
pub(super) struct EntryWriter {
    entry: Map<String, Json>,
    extent: Extent,
}

impl EntryWriter {
    pub(super) fn new(extent: Extent) -> Self {
        Self {
            entry: Map::new(),
            extent,
        }
    }

    pub(super) fn extent(&self) -> Extent {
        self.extent
    }

    /// Whether defaults are written.
    pub(super) fn is_complete(&self) -> bool {
        self.extent == Extent::Complete
    }

    /// Writes `key` in any case.
    pub(super) fn put(&mut self, key: &str, value: impl Into<Json>) {
        self.entry.insert(key.to_owned(), value.into());
    }

    /// Writes `key`, in a brief entry only if `value` is not the default.
    pub(super) fn put_unless(&mut self, is_default: bool, key: &str, value: impl Into<Json>) {
        if self.is_complete() || !is_default {
            self.put(key, value);
        }
    }

    /// Writes `key` if there is a value; a complete entry says null otherwise.
    pub(super) fn put_option(&mut self, key: &str, value: Option<impl Into<Json>>) {
        match value {
            Some(value) => self.put(key, value),
            None => self.put_unless(true, key, Json::Null),
        }
    }

    /// Writes a number of seconds.
    pub(super) fn put_seconds(&mut self, key: &str, value: Seconds, default: Seconds) {
        self.put_unless(value == default, key, value.get());
    }

    pub(super) fn finish(self) -> Json {
        Json::Object(self.entry)
    }
}
