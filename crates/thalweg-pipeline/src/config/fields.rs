//! Reading typed values out of a tree while collecting everything that is wrong.

use std::ops::RangeInclusive;
use std::rc::Rc;

use super::document::{Entry, Node, Span, Value, join_index, join_key};
use super::suggestion::did_you_mean;
use super::{Diagnostic, Seconds};

/// Everything found wrong so far.
pub(super) type Problems = Vec<Diagnostic>;

/// A value of the document, where it stands, and what it is called in messages.
#[derive(Clone, Debug)]
pub(super) struct Item<'a> {
    pub(super) node: &'a Node,
    pub(super) path: String,
    /// Its name within its entry, such as `shape[1]`.
    local: String,
    /// The entry, such as `kernel 'scale'`.
    who: Rc<str>,
}

impl<'a> Item<'a> {
    /// The document as a whole, called `who`.
    pub(super) fn root(node: &'a Node, who: &str) -> Self {
        Self {
            node,
            path: String::new(),
            local: String::new(),
            who: Rc::from(who),
        }
    }

    /// The entry this value belongs to, such as `kernel 'scale'`.
    pub(super) fn who(&self) -> &str {
        &self.who
    }

    /// A problem with this value.
    pub(super) fn problem(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(self.path.clone(), message).at(self.node.span)
    }

    /// What messages call this value: `'shape[1]' of shared memory 'frame'`, or the entry alone.
    fn subject(&self) -> String {
        if self.local.is_empty() {
            self.who.to_string()
        } else {
            format!("'{}' of {}", self.local, self.who)
        }
    }

    /// The problem that this value is not what was expected.
    pub(super) fn expected(&self, expected: &str) -> Diagnostic {
        let found = &self.node.value;
        self.problem(format!(
            "{} must be {expected}, found {found}",
            self.subject()
        ))
    }

    /// Non-empty text, trimmed.
    pub(super) fn text(&self, problems: &mut Problems) -> Option<&'a str> {
        match &self.node.value {
            Value::String(text) if !text.trim().is_empty() => return Some(text.trim()),
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => problems.push(
                self.expected("non-empty text")
                    .with_hint("put it in quotes if it is text"),
            ),
            _ => problems.push(self.expected("non-empty text")),
        }
        None
    }

    /// `true` or `false`; nothing else is taken for one of them.
    pub(super) fn boolean(&self, problems: &mut Problems) -> Option<bool> {
        match self.node.value {
            Value::Bool(value) => Some(value),
            _ => {
                problems.push(self.expected("true or false"));
                None
            }
        }
    }

    /// A positive, finite number of seconds.
    pub(super) fn seconds(&self, problems: &mut Problems) -> Option<Seconds> {
        let seconds = self.any_number().and_then(Seconds::new);
        if seconds.is_none() {
            problems.push(self.expected("a positive, finite number of seconds"));
        }
        seconds
    }

    /// A whole number given where any number is expected means the nearest float.
    fn any_number(&self) -> Option<f64> {
        match self.node.value {
            Value::Int(value) => Some(value as f64),
            Value::Float(value) => Some(value),
            _ => None,
        }
    }

    /// An integer within `range`; `expected` describes it.
    pub(super) fn integer(
        &self,
        range: RangeInclusive<i128>,
        expected: &str,
        problems: &mut Problems,
    ) -> Option<i128> {
        match self.node.value {
            Value::Int(value) if range.contains(&value) => Some(value),
            _ => {
                problems.push(self.expected(expected));
                None
            }
        }
    }

    /// One of the named choices, whatever its case.
    pub(super) fn choice<T: Copy>(
        &self,
        choices: &[(&'static str, T)],
        problems: &mut Problems,
    ) -> Option<T> {
        let names = || choices.iter().map(|(name, _)| *name);
        let written = match &self.node.value {
            Value::String(text) => text.trim(),
            _ => "",
        };
        let chosen = choices
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(written));
        if let Some((_, choice)) = chosen {
            return Some(*choice);
        }
        let listed: Vec<String> = names().map(|name| format!("`{name}`")).collect();
        let mut problem = self.expected(&listed.join(" or "));
        problem.hint = did_you_mean(written, names());
        problems.push(problem);
        None
    }

    /// The elements of a list that is not empty; `expected` describes the list.
    pub(super) fn elements(
        &self,
        expected: &str,
        problems: &mut Problems,
    ) -> Option<Vec<Item<'a>>> {
        match &self.node.value {
            Value::Sequence(elements) if !elements.is_empty() => Some(self.items(elements)),
            _ => {
                problems.push(self.expected(expected));
                None
            }
        }
    }

    /// The elements of a list that may be empty; `expected` describes the list.
    pub(super) fn entries(&self, expected: &str, problems: &mut Problems) -> Option<Vec<Item<'a>>> {
        match &self.node.value {
            Value::Sequence(elements) => Some(self.items(elements)),
            _ => {
                problems.push(self.expected(expected));
                None
            }
        }
    }

    fn items(&self, elements: &'a [Node]) -> Vec<Item<'a>> {
        elements
            .iter()
            .enumerate()
            .map(|(index, node)| Item {
                node,
                path: join_index(&self.path, index),
                local: join_index(&self.local, index),
                who: Rc::clone(&self.who),
            })
            .collect()
    }

    /// The value of `entry`, which is part of this mapping.
    pub(super) fn child(&self, entry: &'a Entry) -> Item<'a> {
        Item {
            node: &entry.value,
            path: join_key(&self.path, &entry.key),
            local: join_key(&self.local, &entry.key),
            who: Rc::clone(&self.who),
        }
    }
}

/// A mapping whose keys are all known: reading a key declares it, [`Fields::finish`] reports the
/// keys nobody read.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    item: Item<'a>,
    entries: &'a [Entry],
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The keys of `item`, if it is a mapping.
    pub(super) fn open(item: Item<'a>, problems: &mut Problems) -> Option<Self> {
        match &item.node.value {
            Value::Mapping(entries) => Some(Self {
                entries,
                known: Vec::new(),
                item,
            }),
            _ => {
                problems.push(item.expected("a mapping"));
                None
            }
        }
    }

    /// The keys of an entry that has a `name`, by which messages call it from now on:
    /// `kernel 'scale'`, or its path when there is no usable name.
    pub(super) fn open_named(
        noun: &str,
        mut item: Item<'a>,
        problems: &mut Problems,
    ) -> Option<(Self, Option<String>)> {
        item.local.clear();
        item.who = match item.node.get("name").map(|name| &name.value) {
            Some(Value::String(name)) if !name.trim().is_empty() => {
                Rc::from(format!("{noun} '{}'", name.trim()))
            }
            // An entry by itself has no path.
            _ if item.path.is_empty() => Rc::from(noun),
            _ => Rc::from(item.path.as_str()),
        };
        let mut fields = Self::open(item, problems)?;
        let name = fields
            .required("name", problems)
            .and_then(|name| name.text(problems))
            .map(str::to_owned);
        Some((fields, name))
    }

    /// The entry these are the keys of.
    pub(super) fn item(&self) -> &Item<'a> {
        &self.item
    }

    /// The value of `key`, if the key is there.
    pub(super) fn get(&mut self, key: &'static str) -> Option<Item<'a>> {
        self.known.push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(self.item.child(entry))
    }

    /// The value of `key`, if the key is there and has another value than null.
    pub(super) fn given(&mut self, key: &'static str) -> Option<Item<'a>> {
        self.get(key).filter(|item| item.node.value != Value::Null)
    }

    /// The value of `key`, which has to be there.
    pub(super) fn required(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<Item<'a>> {
        let value = self.get(key);
        if value.is_none() {
            let message = format!("{} must define '{key}'", self.item.subject());
            problems.push(self.item.problem(message));
        }
        value
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self, problems: &mut Problems) {
        for entry in self.entries {
            if self.known.contains(&entry.key.as_str()) {
                continue;
            }
            let message = format!(
                "{} contains unsupported fields: {}",
                self.item.subject(),
                entry.key
            );
            let hint = did_you_mean(&entry.key, self.known.iter().copied()).unwrap_or_else(|| {
                format!(
                    "names of fields are checked; known are {}",
                    self.known.join(", ")
                )
            });
            problems.push(
                Diagnostic::new(join_key(&self.item.path, &entry.key), message)
                    .at(self.position_of(entry))
                    .with_hint(hint),
            );
        }
    }

    fn position_of(&self, entry: &Entry) -> Option<Span> {
        entry.key_span.or(self.item.node.span)
    }
}
