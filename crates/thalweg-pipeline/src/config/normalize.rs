//! One entry of a document by itself, for programs that build configurations piece by piece.

use serde_json::Value as Json;

use super::document::Node;
use super::entry_writer::Extent;
use super::fields::{Item, Problems};
use super::wiring::Context;
use super::{Diagnostic, Diagnostics, KernelConfig, SinkConfig, SourceConfig, StreamConfig};

/// Reads `entry`, one element of the list `section` (`shared_memory`, `kernels`, `sources` or
/// `sinks`), by itself, and gives it back with every default filled in and every choice in its
/// canonical spelling.
///
/// References are not resolved: whether the streams exist only the whole document can tell. The
/// result is in the form of [`super::PipelineConfig::to_json_complete`].
///
/// # Errors
///
/// Everything that is wrong with the entry, with paths that start at the entry; an unknown section.
///
/// # Examples
///
/// ```
/// use serde_json::json;
/// use thalweg_pipeline::config::normalize_entry;
///
/// let stream = json!({"name": " raw ", "shape": [4], "dtype": "f4", "mode": "Replace"});
/// let stream = normalize_entry("shared_memory", &stream)?;
/// assert_eq!(stream["name"], "raw");
/// assert_eq!(stream["dtype"], "float32");
/// assert_eq!(stream["mode"], "replace");
/// assert_eq!(stream["storage"], "cpu");
///
/// let problems = normalize_entry("kernels", &json!({"name": "k", "kind": "cpu.copy", "input": "a"}));
/// assert_eq!(
///     problems.unwrap_err().to_string(),
///     "kernel 'k' must define either 'output' or 'outputs'"
/// );
/// # Ok::<(), thalweg_pipeline::config::Diagnostics>(())
/// ```
pub fn normalize_entry(section: &str, entry: &Json) -> Result<Json, Diagnostics> {
    let node = Node::from_json(entry).map_err(|problem| Diagnostics(vec![problem]))?;
    let mut context = Context {
        problems: Problems::new(),
        streams: None,
    };
    let context_of = &mut context;
    let item = |who| Item::root(&node, who);
    let extent = Extent::Complete;
    let normalized = match section {
        "shared_memory" => {
            let stream = StreamConfig::read(item("shared memory"), &mut context_of.problems);
            stream.map(|stream| stream.to_json(extent))
        }
        "kernels" => {
            let kernel = KernelConfig::read(item("kernel"), context_of);
            kernel.map(|kernel| kernel.to_json(extent))
        }
        "sources" => {
            let source = SourceConfig::read(item("source"), context_of);
            source.map(|source| source.to_json(extent))
        }
        "sinks" => {
            let sink = SinkConfig::read(item("sink"), context_of);
            sink.map(|sink| sink.to_json(extent))
        }
        _ => {
            let message = format!(
                "there is no section '{section}': expected shared_memory, kernels, sources or sinks"
            );
            return Err(Diagnostics(vec![Diagnostic::new("", message)]));
        }
    };
    match normalized {
        Some(normalized) if !context.problems.iter().any(Diagnostic::is_error) => Ok(normalized),
        _ => {
            context.problems.retain(Diagnostic::is_error);
            Err(Diagnostics::sorted(context.problems))
        }
    }
}
