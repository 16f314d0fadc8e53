//! YAML text to tree.

use std::collections::BTreeMap;

use serde_saphyr::granit_parser::{
    ErrorKind, Event, Parser, ScalarStyle, ScanError, Span as ParserSpan, StrInput, Tag, options,
};

use super::node::{Entry, Node, Span, Value, join_index, join_key};
use super::scalar::resolve_plain;
use super::{MAX_DEPTH, MAX_TREE_BYTES};
use crate::config::Diagnostic;

/// What reading YAML text came to.
#[derive(Debug)]
pub struct ParsedYaml {
    /// The tree; `None` when the text is no YAML at all. It is there in spite of problems that
    /// leave the rest readable, such as a repeated key, so that one run finds everything.
    pub root: Option<Node>,
    /// Everything that is wrong.
    pub problems: Vec<Diagnostic>,
}

/// Reads one YAML document; a text without a document reads as null.
///
/// Anchors, aliases and merge keys (`<<`) are resolved. The text may come from anybody: nesting
/// and the memory of expanded aliases are bounded.
pub fn parse_yaml(text: &str) -> ParsedYaml {
    let mut options = options! {
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    options.set_emit_comments(false);
    let mut reader = Reader {
        events: Parser::new_from_str_with_options(text, options),
        anchors: BTreeMap::new(),
        path: Vec::new(),
        problems: Vec::new(),
        budget_bytes: MAX_TREE_BYTES,
    };
    let root = reader
        .document()
        .map_err(|fatal| reader.problems.push(*fatal))
        .ok();
    ParsedYaml {
        root,
        problems: reader.problems,
    }
}

/// A problem after which nothing more can be read; boxed because nearly every call returns none.
type Fatal = Box<Diagnostic>;

struct Reader<'text> {
    events: Parser<'text, StrInput<'text>>,
    anchors: BTreeMap<usize, Anchored>,
    path: Vec<Step>,
    problems: Vec<Diagnostic>,
    budget_bytes: usize,
}

/// A finished anchored node and what a copy of it costs.
struct Anchored {
    node: Node,
    cost_bytes: usize,
}

enum Step {
    Key(String),
    Index(usize),
}

impl<'text> Reader<'text> {
    fn document(&mut self) -> Result<Node, Fatal> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(..) if root.is_none() => {
                    let (event, span) = self.next()?;
                    root = Some(self.node(event, span)?);
                }
                Event::DocumentStart(..) => {
                    let problem = Diagnostic::new(
                        "",
                        "a file holds one pipeline, but another YAML document starts here",
                    );
                    self.problems.push(
                        problem
                            .at(Some(span_of(span)))
                            .with_hint("remove the `---` line or move the rest to its own file"),
                    );
                    break;
                }
                _ => break,
            }
        }
        Ok(root.unwrap_or(Node {
            value: Value::Null,
            span: None,
        }))
    }

    fn next(&mut self) -> Result<(Event<'text>, ParserSpan), Fatal> {
        match self.events.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(Box::new(syntax_error(&error))),
            None => Ok((Event::StreamEnd, ParserSpan::default())),
        }
    }

    fn node(&mut self, event: Event<'text>, parser_span: ParserSpan) -> Result<Node, Fatal> {
        let span = span_of(parser_span);
        let before_bytes = self.budget_bytes;
        let (anchor, value) = match event {
            Event::Alias(id) => return self.alias(id, span),
            Event::Scalar(text, style, anchor, tag) => {
                self.spend(text.len(), span)?;
                (anchor, self.scalar(&text, style, tag.as_deref(), span))
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_collection_tag(tag.as_deref(), "seq", span);
                (anchor, self.sequence(span)?)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_collection_tag(tag.as_deref(), "map", span);
                (anchor, self.mapping(span)?)
            }
            other => {
                let problem = self.problem(format!("unexpected YAML content ({other:?})"));
                return Err(Box::new(problem.at(Some(span))));
            }
        };
        self.spend(size_of::<Node>(), span)?;
        let node = Node {
            value,
            span: Some(span),
        };
        if anchor != 0 {
            let cost_bytes = before_bytes - self.budget_bytes;
            self.spend(cost_bytes, span)?;
            self.anchors.insert(
                anchor,
                Anchored {
                    node: node.clone(),
                    cost_bytes,
                },
            );
        }
        Ok(node)
    }

    /// A copy of an anchored node. It stands where the alias stands; what is inside it keeps the
    /// lines where it was written, because that is where it is mended.
    fn alias(&mut self, id: usize, span: Span) -> Result<Node, Fatal> {
        let Some(cost_bytes) = self.anchors.get(&id).map(|anchored| anchored.cost_bytes) else {
            let problem = self.problem("an alias inside the value it stands for".to_owned());
            return Err(Box::new(problem.at(Some(span))));
        };
        self.spend(cost_bytes, span)?;
        let value = self
            .anchors
            .get(&id)
            .map(|anchored| anchored.node.value.clone());
        Ok(Node {
            value: value.unwrap_or(Value::Null),
            span: Some(span),
        })
    }

    fn sequence(&mut self, start: Span) -> Result<Value, Fatal> {
        self.check_depth(start)?;
        let mut elements = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Value::Sequence(elements));
            }
            self.path.push(Step::Index(elements.len()));
            elements.push(self.node(event, span)?);
            self.path.pop();
        }
    }

    fn mapping(&mut self, start: Span) -> Result<Value, Fatal> {
        self.check_depth(start)?;
        let mut own = Keys::default();
        let mut merged = Vec::new();
        let mut merge_span = None;
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let is_merge = matches!(&event,
                Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let key = self.key(event, span)?;
            let key_span = span_of(span);
            let (event, span) = self.next()?;
            let shown = key.clone().unwrap_or_else(|| "?".to_owned());
            self.path.push(Step::Key(shown));
            let value = self.node(event, span)?;
            if is_merge {
                self.report_repetition(merge_span, "<<", key_span);
                merge_span = merge_span.or(Some(key_span));
                merged = self.merged_entries(value);
            } else if let Some(key) = key {
                let first = own.get(&key).and_then(|entry| entry.key_span);
                self.report_repetition(first, &key, key_span);
                if first.is_none() {
                    self.spend(key.len() + size_of::<Entry>() - size_of::<Node>(), key_span)?;
                    own.set(Entry {
                        key,
                        key_span: Some(key_span),
                        value,
                    });
                }
            }
            self.path.pop();
        }
        // The order is that of the peer's readers: merged keys first, overridden in place.
        let mut entries = Keys::default();
        merged
            .into_iter()
            .chain(own.entries)
            .for_each(|entry| entries.set(entry));
        Ok(Value::Mapping(entries.entries))
    }

    /// The text of a key; `None`, and reported, if it is none.
    fn key(
        &mut self,
        event: Event<'text>,
        parser_span: ParserSpan,
    ) -> Result<Option<String>, Fatal> {
        if let Event::Scalar(text, ScalarStyle::Plain, _, None) = &event
            && text == "<<"
        {
            return Ok(Some("<<".to_owned()));
        }
        let node = self.node(event, parser_span)?;
        if let Value::String(key) = node.value {
            return Ok(Some(key));
        }
        let problem = self.problem(format!("a key must be text, found {}", node.value));
        let hint = match node.value {
            Value::Sequence(_) | Value::Mapping(_) => "only text can be a key",
            _ => "put the key in quotes",
        };
        self.problems.push(problem.at(node.span).with_hint(hint));
        Ok(None)
    }

    /// The entries `<<: value` contributes; in a list, earlier mappings win.
    fn merged_entries(&mut self, value: Node) -> Vec<Entry> {
        let mappings = match value.value {
            Value::Sequence(elements) => elements,
            _ => vec![value],
        };
        let mut merged = Keys::default();
        for node in mappings.into_iter().rev() {
            match node.value {
                Value::Mapping(entries) => entries.into_iter().for_each(|entry| merged.set(entry)),
                other => {
                    let problem = self.problem(format!(
                        "`<<` merges a mapping or a list of mappings, found {other}"
                    ));
                    self.problems.push(problem.at(node.span));
                }
            }
        }
        merged.entries
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Value {
        let plain = style == ScalarStyle::Plain;
        let Some(tag) = tag else {
            return if plain {
                self.plain(text, span)
            } else {
                Value::String(text.to_owned())
            };
        };
        let tagged = match tag.core_suffix() {
            Some("str") => Some(Value::String(text.to_owned())),
            Some(kind @ ("null" | "bool" | "int" | "float")) => {
                match (kind, self.plain(text, span)) {
                    ("null", value @ Value::Null)
                    | ("bool", value @ Value::Bool(_))
                    | ("int", value @ Value::Int(_))
                    | ("float", value @ Value::Float(_)) => Some(value),
                    // the tag asks for the nearest float
                    ("float", Value::Int(value)) => Some(Value::Float(value as f64)),
                    _ => None,
                }
            }
            _ if tag.original() == "!" => Some(Value::String(text.to_owned())),
            _ => None,
        };
        tagged.unwrap_or_else(|| {
            self.report_tag(tag, &format!("the text {text:?}"), span);
            Value::String(text.to_owned())
        })
    }

    fn plain(&mut self, text: &str, span: Span) -> Value {
        resolve_plain(text).unwrap_or_else(|unclear| {
            let problem = self.problem(unclear.message).at(Some(span));
            self.problems.push(problem.with_hint(unclear.hint));
            Value::String(text.to_owned())
        })
    }

    fn check_collection_tag(&mut self, tag: Option<&Tag>, expected: &str, span: Span) {
        if let Some(tag) = tag
            && tag.core_suffix() != Some(expected)
            && tag.original() != "!"
        {
            let found = if expected == "seq" {
                "a list"
            } else {
                "a mapping"
            };
            self.report_tag(tag, found, span);
        }
    }

    fn report_tag(&mut self, tag: &Tag, found: &str, span: Span) {
        let problem = self.problem(format!("the tag `{}` does not fit {found}", tag.original()));
        let hint = "remove the tag; only YAML's own core types are read";
        self.problems.push(problem.at(Some(span)).with_hint(hint));
    }

    fn report_repetition(&mut self, first: Option<Span>, key: &str, again: Span) {
        if let Some(first) = first {
            let message = format!(
                "the key `{key}` is given twice, in line {} column {} and in line {} column {}",
                first.line, first.column, again.line, again.column
            );
            let hint = if key == "<<" {
                "merge several mappings with `<<: [*first, *second]`"
            } else {
                "keep one of the two"
            };
            let problem = self.problem(message);
            self.problems.push(problem.at(Some(again)).with_hint(hint));
        }
    }

    fn check_depth(&self, span: Span) -> Result<(), Fatal> {
        if self.path.len() < MAX_DEPTH {
            return Ok(());
        }
        let message = format!("lists and mappings are nested more than {MAX_DEPTH} deep");
        Err(Box::new(Diagnostic::new("", message).at(Some(span))))
    }

    fn spend(&mut self, bytes: usize, span: Span) -> Result<(), Fatal> {
        match self.budget_bytes.checked_sub(bytes) {
            Some(left) => {
                self.budget_bytes = left;
                Ok(())
            }
            None => {
                let message = format!(
                    "the document takes more than {MAX_TREE_BYTES} bytes of memory with its aliases expanded"
                );
                Err(Box::new(Diagnostic::new("", message).at(Some(span))))
            }
        }
    }

    /// A problem at the current path.
    fn problem(&self, message: String) -> Diagnostic {
        let path = self
            .path
            .iter()
            .fold(String::new(), |path, step| match step {
                Step::Key(key) => join_key(&path, key),
                Step::Index(index) => join_index(&path, *index),
            });
        Diagnostic::new(path, message)
    }
}

/// Entries by key, in the order of their first appearance.
#[derive(Default)]
struct Keys {
    entries: Vec<Entry>,
    indices: BTreeMap<String, usize>,
}

impl Keys {
    fn get(&self, key: &str) -> Option<&Entry> {
        self.indices
            .get(key)
            .and_then(|index| self.entries.get(*index))
    }

    /// Adds `entry`, or puts it in the place of the one with its key.
    fn set(&mut self, entry: Entry) {
        let index = *self
            .indices
            .entry(entry.key.clone())
            .or_insert(self.entries.len());
        match self.entries.get_mut(index) {
            Some(place) => *place = entry,
            None => self.entries.push(entry),
        }
    }
}

fn span_of(span: ParserSpan) -> Span {
    place(span.start.line(), span.start.col() + 1)
}

fn place(line: usize, column: usize) -> Span {
    let clamp = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Span {
        line: clamp(line),
        column: clamp(column),
    }
}

fn syntax_error(error: &ScanError) -> Diagnostic {
    let marker = error.marker();
    let span = place(marker.line(), marker.col() + 1);
    let message = format!("YAML syntax error in line {}: {}", span.line, error.kind());
    let problem = Diagnostic::new("", message).at(Some(span));
    match error.kind() {
        ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabNotAllowed => problem.with_hint("indent with spaces"),
        ErrorKind::UnknownAnchor => problem.with_hint("define it before with `&name`"),
        ErrorKind::RecursionLimitExceeded => {
            problem.with_hint(format!("nest lists and mappings at most {MAX_DEPTH} deep"))
        }
        _ => problem,
    }
}
