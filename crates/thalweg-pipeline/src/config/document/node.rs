//! The tree itself, and paths into it.

use std::fmt;

/// A place in a document, counted from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it starts; `None` when the document was no text.
    pub span: Option<Span>,
}

/// What a document can say.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`, `~` or nothing at all.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number written without point and exponent.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// Text.
    String(String),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values in the order they were given, merges resolved, every key once.
    Mapping(Vec<Entry>),
}

/// One key of a mapping and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands; `None` when the document was no text.
    pub key_span: Option<Span>,
    /// The value.
    pub value: Node,
}

impl Node {
    /// The value of `key`, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Mapping(entries) => entries
                .iter()
                .find(|entry| entry.key == key)
                .map(|entry| &entry.value),
            _ => None,
        }
    }

    /// The element `index`, if this is a sequence that has it.
    pub fn at(&self, index: usize) -> Option<&Node> {
        match &self.value {
            Value::Sequence(elements) => elements.get(index),
            _ => None,
        }
    }

    /// The node at `path`, such as `kernels[1].parameters["odd key"]`; the empty path is this node.
    pub fn find(&self, path: &str) -> Option<&Node> {
        let (node, complete) = self.descend(path);
        complete.then_some(node)
    }

    /// The node at `path` or, where the path leads out of the tree, the last node on the way.
    pub fn nearest(&self, path: &str) -> &Node {
        self.descend(path).0
    }

    fn descend(&self, path: &str) -> (&Node, bool) {
        let mut node = self;
        let mut rest = path;
        while !rest.is_empty() {
            let Some((segment, after)) = Segment::split_off(rest) else {
                return (node, false);
            };
            let child = match &segment {
                Segment::Key(key) => node.get(key),
                Segment::Index(index) => node.at(*index),
            };
            match child {
                Some(child) => node = child,
                None => return (node, false),
            }
            rest = after;
        }
        (node, true)
    }
}

/// One step of a path.
enum Segment {
    Key(String),
    Index(usize),
}

impl Segment {
    /// The first step of `path`, and what remains; `None` when that is no path.
    fn split_off(path: &str) -> Option<(Self, &str)> {
        if let Some(bracketed) = path.strip_prefix('[') {
            if bracketed.starts_with('"') {
                let mut keys = serde_json::Deserializer::from_str(bracketed).into_iter::<String>();
                let key = keys.next()?.ok()?;
                let rest = bracketed.get(keys.byte_offset()..)?.strip_prefix(']')?;
                return Some((Self::Key(key), rest));
            }
            let (index, rest) = bracketed.split_once(']')?;
            return Some((Self::Index(index.parse().ok()?), rest));
        }
        let path = path.strip_prefix('.').unwrap_or(path);
        let end = path.find(['.', '[']).unwrap_or(path.len());
        let (key, rest) = path.split_at_checked(end)?;
        (!key.is_empty()).then(|| (Self::Key(key.to_owned()), rest))
    }
}

/// The path of `key` in the mapping at `path`.
pub(crate) fn join_key(path: &str, key: &str) -> String {
    let plain = !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    match (plain, path.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{path}.{key}"),
        (false, _) => format!("{path}[{}]", serde_json::Value::from(key)),
    }
}

/// The path of element `index` of the sequence at `path`.
pub(crate) fn join_index(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

/// What was found, as in "expected a list, found the integer 3".
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("nothing (null)"),
            Self::Bool(value) => write!(f, "the boolean {value}"),
            Self::Int(value) => write!(f, "the integer {value}"),
            Self::Float(value) => write!(f, "the number {value:?}"),
            Self::String(text) => {
                const SHOWN_CHARS: usize = 40;
                let shown: String = text.chars().take(SHOWN_CHARS).collect();
                let more = if text.chars().nth(SHOWN_CHARS).is_some() {
                    "..."
                } else {
                    ""
                };
                write!(f, "the text {shown:?}{more}")
            }
            Self::Sequence(elements) if elements.is_empty() => f.write_str("an empty list"),
            Self::Sequence(elements) => write!(f, "a list of {}", elements.len()),
            Self::Mapping(_) => f.write_str("a mapping"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Node {
        Node::from_json(&serde_json::json!({
            "kernels": [
                {"name": "a"},
                {"name": "b", "parameters": {"odd. \"key]": 1, "list": [10, 20]}},
            ],
        }))
        .expect("a shallow value")
    }

    #[test]
    fn a_path_leads_to_its_node_and_a_wrong_one_stops_at_the_last_node() {
        let tree = tree();
        let parameters = join_key(&join_index("kernels", 1), "parameters");
        let odd = join_key(&parameters, "odd. \"key]");
        let list = join_index(&join_key(&parameters, "list"), 1);
        for (path, expected) in [
            ("", None),
            (odd.as_str(), Some(Value::Int(1))),
            (list.as_str(), Some(Value::Int(20))),
            ("kernels[0].name", Some(Value::String("a".to_owned()))),
        ] {
            let found = tree.find(path).expect(path);
            assert!(expected.is_none_or(|value| value == found.value), "{path}");
        }
        for (path, stops_at) in [
            ("kernels[7]", "kernels"),
            ("kernels[0].parameters.factor", "kernels[0]"),
            ("kernels[x]", "kernels"),
            ("kernels[\"", "kernels"),
            ("..", ""),
            ("[", ""),
        ] {
            assert_eq!(tree.find(path), None, "{path}");
            assert_eq!(Some(tree.nearest(path)), tree.find(stops_at), "{path}");
        }
    }
}
