//! Reading typed values out of a tree while collecting everything that is wrong.

use std::fmt::Display;
use std::rc::Rc;

use super::document::{Entry, Node, Span, Value, join_index, join_key};
use super::grammar::{Accepts, Choice, Key, Range, Table};
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
        let number = match &self.node.value {
            // A whole number given where any number is expected means the nearest float.
            Value::Int(value) => Some(*value as f64),
            Value::Float(value) => Some(*value),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let seconds = number.and_then(Seconds::new);
        match seconds {
            Some(seconds) => self.warn_of_quotes(seconds.get(), problems),
            None => problems.push(self.expected("a positive, finite number of seconds")),
        }
        seconds
    }

    /// An integer within `range`; `expected` describes it.
    pub(super) fn integer(
        &self,
        range: Range,
        expected: &str,
        problems: &mut Problems,
    ) -> Option<i128> {
        let value = match &self.node.value {
            Value::Int(value) => Some(*value),
            Value::String(text) => text.trim().parse().ok(),
            Value::Float(value) => whole(*value),
            _ => None,
        };
        let value = value.filter(|value| range.holds(*value));
        match (value, &self.node.value) {
            (Some(value), Value::Float(written)) => {
                let message = format!("{} is read as {value}", self.subject());
                problems.push(
                    self.problem(message)
                        .with_hint(format!("write {value} instead of {written:?}"))
                        .as_warning(),
                );
            }
            (Some(value), _) => self.warn_of_quotes(value, problems),
            (None, _) => problems.push(self.expected(expected)),
        }
        value
    }

    /// Says that text was read as the number it spells.
    fn warn_of_quotes(&self, number: impl Display, problems: &mut Problems) {
        if let Value::String(_) = self.node.value {
            let message = format!("{} is text that is read as {number}", self.subject());
            problems.push(
                self.problem(message)
                    .with_hint("write the number without quotes")
                    .as_warning(),
            );
        }
    }

    /// One of the named choices, whatever its case.
    pub(super) fn choice<T: Choice>(&self, problems: &mut Problems) -> Option<T> {
        let written = match &self.node.value {
            Value::String(text) => text.trim(),
            _ => "",
        };
        let chosen = T::NAMES
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(written));
        if let Some((_, choice)) = chosen {
            return Some(*choice);
        }
        let listed: Vec<String> = T::names().iter().map(|name| format!("`{name}`")).collect();
        let mut problem = self.expected(&listed.join(" or "));
        problem.hint = did_you_mean(written, T::names());
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

/// The integer that `value` is, if it is one.
fn whole(value: f64) -> Option<i128> {
    const EXACT: f64 = (1_u64 << 53) as f64;
    (value.fract() == 0.0 && value.abs() <= EXACT).then_some(value as i128)
}

/// A mapping whose keys are those of a table.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    item: Item<'a>,
    entries: &'a [Entry],
    table: &'static Table,
}

impl<'a> Fields<'a> {
    /// The keys of `item`, if it is a mapping.
    pub(super) fn open(
        item: Item<'a>,
        table: &'static Table,
        problems: &mut Problems,
    ) -> Option<Self> {
        match &item.node.value {
            Value::Mapping(entries) => Some(Self {
                entries,
                table,
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
        table: &'static Table,
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
        let fields = Self::open(item, table, problems)?;
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

    /// The value of `key`, if the key is there; null where that means that it is not is none.
    pub(super) fn get(&self, key: &str) -> Option<Item<'a>> {
        let known = self.table.key(key);
        debug_assert!(known.is_some(), "{key} is not in the table");
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        let is_absent = known.is_some_and(Key::null_is_absent) && entry.value.value == Value::Null;
        (!is_absent).then(|| self.item.child(entry))
    }

    /// The value of `key`, which has to be there.
    pub(super) fn required(&self, key: &str, problems: &mut Problems) -> Option<Item<'a>> {
        let value = self.get(key);
        if value.is_none() {
            let message = format!("{} must define '{key}'", self.item.subject());
            problems.push(self.item.problem(message));
        }
        value
    }

    /// The choice made by `key`, else `default`.
    pub(super) fn choice_or<T: Choice>(
        &self,
        key: &str,
        default: T,
        problems: &mut Problems,
    ) -> Option<T> {
        match self.get(key) {
            Some(item) => item.choice(problems),
            None => Some(default),
        }
    }

    /// `key` as true or false, else `default`.
    pub(super) fn boolean_or(
        &self,
        key: &str,
        default: bool,
        problems: &mut Problems,
    ) -> Option<bool> {
        match self.get(key) {
            Some(item) => item.boolean(problems),
            None => Some(default),
        }
    }

    /// `key` in seconds, else `default`.
    pub(super) fn seconds_or(
        &self,
        key: &str,
        default: Seconds,
        problems: &mut Problems,
    ) -> Option<Seconds> {
        match self.get(key) {
            Some(item) => item.seconds(problems),
            None => Some(default),
        }
    }

    /// `key` in seconds, if it is there.
    pub(super) fn seconds(&self, key: &str, problems: &mut Problems) -> Option<Option<Seconds>> {
        match self.get(key) {
            Some(item) => item.seconds(problems).map(Some),
            None => Some(None),
        }
    }

    /// `key` as an integer of its range, if it is there.
    pub(super) fn integer<T: TryFrom<i128>>(
        &self,
        key: &str,
        problems: &mut Problems,
    ) -> Option<Option<T>> {
        let Some(item) = self.get(key) else {
            return Some(None);
        };
        let Some(Accepts::Integer(range)) = self.table.key(key).map(|key| key.accepts) else {
            debug_assert!(false, "{key} is no integer");
            return None;
        };
        let value = item.integer(range, &range.expected(), problems)?;
        T::try_from(value).ok().map(Some)
    }

    /// Reports every key that is not in the table.
    pub(super) fn finish(self, problems: &mut Problems) {
        let known = || self.table.keys.iter().map(|key| key.name);
        for entry in self.entries {
            if self.table.key(&entry.key).is_some() {
                continue;
            }
            let message = format!(
                "{} contains unsupported fields: {}",
                self.item.subject(),
                entry.key
            );
            let hint = did_you_mean(&entry.key, known()).unwrap_or_else(|| {
                let known: Vec<&str> = known().collect();
                let known = known.join(", ");
                format!("names of fields are checked; known are {known}")
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
