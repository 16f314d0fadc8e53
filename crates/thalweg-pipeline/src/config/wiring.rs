//! References from nodes to streams.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use thalweg_kernels::Parameters;

use super::document::{NonFinite, Value};
use super::entry_writer::EntryWriter;
use super::fields::{Fields, Item, Problems};
use super::suggestion::{SUGGESTED_PROBLEMS, did_you_mean};

/// An auxiliary stream and the name the node knows it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuxiliaryBinding {
    /// The node's own name of the stream.
    pub alias: String,
    /// The stream.
    pub stream: String,
}

/// What the entries of a document share while they are read.
pub(super) struct Context<'a> {
    pub(super) problems: Problems,
    /// Names of all streams; `None` when the document has no usable list of them, so that nobody
    /// complains about each reference on top.
    pub(super) streams: Option<BTreeSet<&'a str>>,
}

/// A reference to a stream and where it is written.
pub(super) struct Reference<'a> {
    pub(super) stream: String,
    pub(super) item: Item<'a>,
}

/// The names of references, in order.
pub(super) fn streams_of(references: Vec<Reference<'_>>) -> Vec<String> {
    references
        .into_iter()
        .map(|reference| reference.stream)
        .collect()
}

impl Context<'_> {
    /// The stream that `item` names, which has to be declared.
    pub(super) fn reference<'a>(&mut self, item: Item<'a>) -> Option<Reference<'a>> {
        let stream = item.text(&mut self.problems)?.to_owned();
        if let Some(streams) = &self.streams
            && !streams.contains(stream.as_str())
        {
            let message = format!(
                "{} references undefined shared memory: {stream}",
                item.who()
            );
            let similar = (self.problems.len() < SUGGESTED_PROBLEMS)
                .then(|| did_you_mean(&stream, streams.iter().copied()));
            let hint = similar
                .flatten()
                .unwrap_or_else(|| "declare it under `shared_memory`".to_owned());
            self.problems.push(item.problem(message).with_hint(hint));
        }
        Some(Reference { stream, item })
    }

    /// The streams listed by `item`, at least one.
    pub(super) fn references<'a>(&mut self, item: &Item<'a>) -> Option<Vec<Reference<'a>>> {
        if let Value::String(name) = &item.node.value {
            let problem = item.expected("a non-empty list of stream names");
            self.problems
                .push(problem.with_hint(format!("write [{name}]")));
            return None;
        }
        let elements = item.elements("a non-empty list of stream names", &mut self.problems)?;
        let references: Vec<_> = elements
            .iter()
            .filter_map(|element| self.reference(element.clone()))
            .collect();
        (references.len() == elements.len()).then_some(references)
    }

    /// The streams of an entry that names one under `single` or several under `many`, but not both.
    pub(super) fn one_or_many<'a>(
        &mut self,
        fields: &Fields<'a>,
        single: &'static str,
        many: &'static str,
    ) -> Option<Vec<Reference<'a>>> {
        match (fields.get(single), fields.get(many)) {
            (Some(item), None) => Some(vec![self.reference(item)?]),
            (None, Some(item)) => self.references(&item),
            (Some(_), Some(item)) => {
                let message = format!(
                    "{} must define either '{single}' or '{many}', not both",
                    item.who()
                );
                let hint = format!("list all of them under `{many}`");
                self.problems.push(item.problem(message).with_hint(hint));
                None
            }
            (None, None) => {
                let entry = fields.item();
                let message = format!("{} must define either '{single}' or '{many}'", entry.who());
                self.problems.push(entry.problem(message));
                None
            }
        }
    }

    /// The auxiliary streams of an entry: a list of names, or a mapping of alias to name.
    pub(super) fn auxiliary<'a>(
        &mut self,
        fields: &Fields<'a>,
    ) -> Option<Vec<(String, Reference<'a>)>> {
        let Some(item) = fields.get("auxiliary") else {
            return Some(Vec::new());
        };
        let bindings: Vec<_> = match &item.node.value {
            Value::Mapping(entries) => entries
                .iter()
                .map(|entry| {
                    let alias = entry.key.trim();
                    if alias.is_empty() {
                        let problem = item.child(entry).problem(format!(
                            "{}: the alias of an auxiliary stream must be non-empty text",
                            item.who()
                        ));
                        self.problems.push(problem);
                    }
                    let reference = self.reference(item.child(entry))?;
                    Some((alias.to_owned(), reference))
                })
                .collect(),
            Value::Sequence(_) => item
                .entries("a list", &mut self.problems)?
                .into_iter()
                .map(|element| {
                    let reference = self.reference(element)?;
                    Some((reference.stream.clone(), reference))
                })
                .collect(),
            _ => {
                self.problems.push(item.expected(
                    "a list of stream names, or a mapping of the node's own names to stream names",
                ));
                return None;
            }
        };
        let bindings: Vec<_> = bindings.into_iter().collect::<Option<_>>()?;
        let mut aliases = BTreeSet::new();
        for (alias, reference) in &bindings {
            if !aliases.insert(alias) {
                self.problems.push(reference.item.problem(format!(
                    "{} cannot use the auxiliary alias '{alias}' more than once",
                    reference.item.who()
                )));
            }
        }
        Some(bindings)
    }

    /// Reports every reference whose stream came before; `what` says what it must not do.
    pub(super) fn reject_repetition<'a>(
        &mut self,
        references: impl IntoIterator<Item = &'a Reference<'a>>,
        what: &str,
    ) {
        let mut seen = BTreeSet::new();
        for Reference { stream, item } in references {
            if !seen.insert(stream.as_str()) {
                let message = format!("{} cannot {what} more than once: {stream}", item.who());
                self.problems.push(item.problem(message));
            }
        }
    }

    /// Reports every one of `references` that is also among `others`; `what` says what is not done.
    pub(super) fn reject_overlap<'a>(
        &mut self,
        references: impl IntoIterator<Item = &'a Reference<'a>>,
        others: &[Reference<'_>],
        what: &str,
    ) {
        let others: BTreeSet<&str> = others.iter().map(|other| other.stream.as_str()).collect();
        for Reference { stream, item } in references {
            if others.contains(stream.as_str()) {
                let message = format!("{} cannot {what}: {stream}", item.who());
                self.problems.push(item.problem(message));
            }
        }
    }

    /// The parameters of an entry, whose keys are the kind's own business.
    pub(super) fn parameters(&mut self, fields: &Fields<'_>) -> Option<Parameters> {
        let Some(item) = fields.get("parameters") else {
            return Some(Parameters::new());
        };
        let Value::Mapping(_) = item.node.value else {
            let problem = item.expected("a mapping");
            self.problems
                .push(problem.with_hint("leave the key out if there are none"));
            return None;
        };
        let json = item
            .node
            .to_json(&item.path, NonFinite::Refused, &mut self.problems);
        match json {
            Json::Object(parameters) => Some(parameters),
            _ => None,
        }
    }
}

/// Bindings without their places.
pub(super) fn bindings_of(bindings: Vec<(String, Reference<'_>)>) -> Vec<AuxiliaryBinding> {
    bindings
        .into_iter()
        .map(|(alias, reference)| AuxiliaryBinding {
            alias,
            stream: reference.stream,
        })
        .collect()
}

/// `single: a` or `many: [a, b]`; in a complete entry always the list.
pub(super) fn write_one_or_many(
    entry: &mut EntryWriter,
    single: &str,
    many: &str,
    streams: &[String],
) {
    match streams {
        [stream] if !entry.is_complete() => entry.put(single, stream.as_str()),
        _ => entry.put(many, streams),
    }
}

/// `auxiliary: [a, b]` where every alias is the stream's name, else `auxiliary: {alias: a}`; in a
/// complete entry always the mapping.
pub(super) fn write_auxiliary(entry: &mut EntryWriter, bindings: &[AuxiliaryBinding]) {
    let named_alike = bindings
        .iter()
        .all(|binding| binding.alias == binding.stream);
    let value = if named_alike && !entry.is_complete() {
        bindings
            .iter()
            .map(|binding| binding.stream.as_str())
            .collect()
    } else {
        let pairs = bindings
            .iter()
            .map(|binding| (binding.alias.clone(), binding.stream.as_str().into()));
        Json::Object(pairs.collect())
    };
    entry.put_unless(bindings.is_empty(), "auxiliary", value);
}

/// `parameters: {...}` where there are any.
pub(super) fn write_parameters(entry: &mut EntryWriter, parameters: &Parameters) {
    let value = Json::Object(parameters.clone());
    entry.put_unless(parameters.is_empty(), "parameters", value);
}
