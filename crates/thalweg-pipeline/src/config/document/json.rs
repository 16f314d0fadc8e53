//! Trees from and to JSON values.

use serde_json::{Number, Value as Json};

use super::node::{Entry, Node, Value, join_index, join_key};
use super::{MAX_DEPTH, MAX_TREE_BYTES};
use crate::config::Diagnostic;

/// What becomes of numbers that are infinite or not a number, which JSON cannot hold.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NonFinite {
    /// They are reported.
    Refused,
    /// They become text as YAML spells them: `.nan`, `.inf`, `-.inf`.
    Spelled,
}

impl Node {
    /// The tree of a JSON value, without positions.
    ///
    /// # Errors
    ///
    /// The value nests too deep, or the tree would take too much memory.
    pub fn from_json(json: &Json) -> Result<Self, Diagnostic> {
        let mut budget_bytes = MAX_TREE_BYTES;
        from_json(json, "", 0, &mut budget_bytes)
    }

    /// The JSON value of this tree, which stands at `path`. Numbers JSON cannot hold (integers
    /// beyond 64 bits and, if so wished, those that are not finite) are reported and read as null.
    pub(crate) fn to_json(
        &self,
        path: &str,
        non_finite: NonFinite,
        problems: &mut Vec<Diagnostic>,
    ) -> Json {
        let mut unrepresentable = |expected: &str| {
            let message = format!("expected {expected}, found {}", self.value);
            problems.push(Diagnostic::new(path, message).at(self.span));
            Json::Null
        };
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) => i64::try_from(*value)
                .map(Json::from)
                .or_else(|_| u64::try_from(*value).map(Json::from))
                .unwrap_or_else(|_| unrepresentable("an integer of at most 64 bits")),
            Value::Float(value) => match (Number::from_f64(*value), non_finite) {
                (Some(number), _) => Json::Number(number),
                (None, NonFinite::Refused) => unrepresentable("a finite number"),
                (None, NonFinite::Spelled) if value.is_nan() => ".nan".into(),
                (None, NonFinite::Spelled) if *value > 0.0 => ".inf".into(),
                (None, NonFinite::Spelled) => "-.inf".into(),
            },
            Value::String(text) => Json::String(text.clone()),
            Value::Sequence(elements) => elements
                .iter()
                .enumerate()
                .map(|(index, element)| {
                    element.to_json(&join_index(path, index), non_finite, problems)
                })
                .collect(),
            Value::Mapping(entries) => entries
                .iter()
                .map(|entry| {
                    let path = join_key(path, &entry.key);
                    let value = entry.value.to_json(&path, non_finite, problems);
                    (entry.key.clone(), value)
                })
                .collect(),
        }
    }
}

fn from_json(
    json: &Json,
    path: &str,
    depth: usize,
    budget_bytes: &mut usize,
) -> Result<Node, Diagnostic> {
    if depth > MAX_DEPTH {
        return Err(Diagnostic::new(
            path,
            format!("lists and mappings are nested more than {MAX_DEPTH} deep"),
        ));
    }
    let text_bytes = match json {
        Json::String(text) => text.len(),
        Json::Object(entries) => entries.keys().map(String::len).sum(),
        _ => 0,
    };
    *budget_bytes = budget_bytes
        .checked_sub(size_of::<Node>() + text_bytes)
        .ok_or_else(|| {
            Diagnostic::new(
                path,
                format!("the configuration takes more than {MAX_TREE_BYTES} bytes of memory"),
            )
        })?;
    let value = match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => number
            .as_i64()
            .map(i128::from)
            .or_else(|| number.as_u64().map(i128::from))
            .map_or_else(
                || Value::Float(number.as_f64().unwrap_or(f64::NAN)),
                Value::Int,
            ),
        Json::String(text) => Value::String(text.clone()),
        Json::Array(elements) => Value::Sequence(
            elements
                .iter()
                .enumerate()
                .map(|(index, element)| {
                    from_json(element, &join_index(path, index), depth + 1, budget_bytes)
                })
                .collect::<Result<_, _>>()?,
        ),
        Json::Object(entries) => Value::Mapping(
            entries
                .iter()
                .map(|(key, value)| {
                    Ok(Entry {
                        key: key.clone(),
                        key_span: None,
                        value: from_json(value, &join_key(path, key), depth + 1, budget_bytes)?,
                    })
                })
                .collect::<Result<_, Diagnostic>>()?,
        ),
    };
    Ok(Node { value, span: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_the_way_through_a_tree() {
        let json = serde_json::json!({
            "z": [1, -2, 2.5, 18446744073709551615_u64, true, null, "text"],
            "a": {"nested": {"key": []}},
        });
        let tree = Node::from_json(&json).expect("a shallow value");
        let mut problems = Vec::new();
        assert_eq!(tree.to_json("", NonFinite::Refused, &mut problems), json);
        assert_eq!(problems, []);
    }

    #[test]
    fn numbers_json_cannot_hold_are_named() {
        for (value, expected) in [
            (
                Value::Float(f64::NAN),
                "p: expected a finite number, found the number NaN",
            ),
            (
                Value::Float(f64::INFINITY),
                "p: expected a finite number, found the number inf",
            ),
            (
                Value::Int(1 << 64),
                "p: expected an integer of at most 64 bits, found the integer 18446744073709551616",
            ),
        ] {
            let node = Node { value, span: None };
            let mut problems = Vec::new();
            assert_eq!(
                node.to_json("p", NonFinite::Refused, &mut problems),
                Json::Null
            );
            let found: Vec<_> = problems.iter().map(ToString::to_string).collect();
            assert_eq!(found, [expected]);
        }
    }

    #[test]
    fn a_value_nested_too_deep_is_refused() {
        let mut json = Json::Null;
        for _ in 0..MAX_DEPTH {
            json = Json::Array(vec![json]);
        }
        assert!(Node::from_json(&json).is_ok());
        let problem = Node::from_json(&Json::Array(vec![json])).expect_err("one level too deep");
        assert!(
            problem.message.contains("nested more than 64 deep"),
            "{problem}"
        );
    }
}
