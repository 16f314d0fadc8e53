//! Documents as trees in which every value knows its line and column.
//!
//! A tree comes from YAML text ([`parse_yaml`]) or from JSON values ([`Node::from_json`]), and the
//! rest of the configuration does not care which. YAML is read from the parser's events instead
//! of through serde because serde stops at the first problem, forgets where keys stand, and cannot
//! tell a key that is given twice from one that is overridden by a merge.

mod json;
mod node;
mod scalar;
mod yaml;
mod yaml_writer;

use serde_json::Value as Json;

use super::{Diagnostic, Diagnostics};

pub(crate) use json::NonFinite;
pub use node::{Entry, Node, Span, Value};
pub(crate) use node::{join_index, join_key};
pub use yaml::{ParsedYaml, parse_yaml};
pub(crate) use yaml_writer::write_yaml;

/// Collections nested deeper than this are refused; the deepest configuration that means anything
/// nests a handful.
const MAX_DEPTH: usize = 64;

/// Memory one tree may take, in bytes, aliases expanded. A document of plain text stays far below
/// it; a few lines of aliases of aliases would not.
const MAX_TREE_BYTES: usize = 64 << 20;

/// The JSON value that a YAML document stands for; a text without a document is null. Numbers that
/// are not finite become the texts `.nan`, `.inf` and `-.inf`.
///
/// # Errors
///
/// Everything that is wrong with the text.
pub fn yaml_to_json(text: &str) -> Result<Json, Diagnostics> {
    let parsed = parse_yaml(text);
    let mut problems = parsed.problems;
    let json = parsed.root.map_or(Json::Null, |root| {
        root.to_json("", NonFinite::Spelled, &mut problems)
    });
    match problems.is_empty() {
        true => Ok(json),
        false => Err(Diagnostics::sorted(problems)),
    }
}

/// YAML text that reads as `json`.
///
/// # Errors
///
/// The YAML writer's; no value is known that makes it fail.
pub fn json_to_yaml(json: &Json) -> Result<String, Diagnostic> {
    write_yaml(json)
        .map_err(|error| Diagnostic::new("", format!("cannot write the document as YAML: {error}")))
}
