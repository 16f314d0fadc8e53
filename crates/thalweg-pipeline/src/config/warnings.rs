//! What is allowed but hardly meant.

use std::collections::BTreeMap;

use thalweg_kernels::{Definition, Registry, SpecProblem};

use super::document::{join_index, join_key};
use super::node::{spec_of, streams_by_name};
use super::suggestion::{SUGGESTED_PROBLEMS, did_you_mean};
use super::validate::{node_diagnostic, try_to_build};
use super::{Diagnostic, Diagnostics, NodeConfig, PipelineConfig};
use crate::graph::PipelineGraph;

/// What about `config` is allowed but hardly meant, in the order of the document: what reading it
/// found odd, parameters that built-in kinds do not have, an operation where it is ignored, streams
/// nobody uses, and what kinds themselves find odd.
pub fn warnings(config: &PipelineConfig, registry: &Registry) -> Vec<Diagnostic> {
    let mut found = config.warnings.clone();
    found.extend(kind_and_graph_warnings(config, registry));
    Diagnostics::sorted(found).0
}

/// [`warnings`] without those of reading.
pub(super) fn kind_and_graph_warnings(
    config: &PipelineConfig,
    registry: &Registry,
) -> Vec<Diagnostic> {
    let mut found = orphans(config);
    let streams = streams_by_name(config);
    for (path, node) in config.nodes_with_paths() {
        let Some(definition) = registry.get(node.role(), node.kind()) else {
            continue;
        };
        let odd = unknown_parameters(node, definition, found.len());
        let odd = odd.into_iter().chain(misplaced_operation(node));
        // What cannot be built gives errors instead.
        let spec = spec_of(node, &streams, &config.base_path).ok();
        let spec = spec.filter(|spec| try_to_build(definition, spec).is_empty());
        let of_kind = spec.map(|spec| definition.warnings(&spec));
        let odd = odd.chain(of_kind.into_iter().flatten());
        found.extend(odd.map(|odd| node_diagnostic(node, odd, &path, &config.positions)));
    }
    let found = found.into_iter();
    found
        .map(|warning| config.positions.locate(warning).as_warning())
        .collect()
}

/// Streams nobody writes or reads.
fn orphans(config: &PipelineConfig) -> Vec<Diagnostic> {
    let graph = PipelineGraph::from_config(config);
    let streams = config.streams.iter().enumerate();
    let indices: BTreeMap<&str, usize> = streams
        .map(|(index, stream)| (stream.name.as_str(), index))
        .collect();
    let orphans = graph.orphaned_streams().into_iter();
    orphans
        .filter_map(|name| {
            let path = join_key(&join_index("shared_memory", *indices.get(name)?), "name");
            let message = format!("shared memory '{name}' is neither written nor read by any node");
            Some(Diagnostic::new(path, message).with_hint("remove it, or wire it"))
        })
        .collect()
}

/// Parameters the kind does not have, and so ignores; `found` says how many warnings came before.
fn unknown_parameters(
    node: NodeConfig<'_>,
    definition: &Definition,
    found: usize,
) -> Vec<SpecProblem> {
    // A parameter that is a mapping is documented key by key, as `instrument.seed`.
    let own_key = |name: &'static str| name.split_once('.').map_or(name, |(key, _)| key);
    let keys = definition
        .parameters
        .iter()
        .map(|known| own_key(known.name));
    let mut keys: Vec<&str> = keys.collect();
    keys.dedup();
    let known = || keys.iter().copied();
    let unknown = node.parameters().keys();
    let unknown = unknown.filter(|key| !known().any(|name| name == *key));
    unknown
        .enumerate()
        .map(|(index, key)| {
            let message = format!(
                "the kind '{}' has no parameter '{key}' and ignores it",
                definition.kind
            );
            let similar = (found + index < SUGGESTED_PROBLEMS).then(|| did_you_mean(key, known()));
            let hint = similar.flatten().unwrap_or_else(|| {
                let known: Vec<&str> = known().collect();
                match known.as_slice() {
                    [] => "it has none".to_owned(),
                    known => format!("it has {}", known.join(", ")),
                }
            });
            SpecProblem::new(join_key("parameters", key), message).with_hint(hint)
        })
        .collect()
}

/// An operation that a built-in kind ignores.
fn misplaced_operation(node: NodeConfig<'_>) -> Option<SpecProblem> {
    let kind = node.kind();
    node.operation()?;
    let is_ignored = !kind.ends_with(".custom_operation");
    is_ignored.then(|| {
        SpecProblem::new(
            "operation",
            format!("the kind '{kind}' takes no 'operation' and ignores it"),
        )
        .with_hint("use `cpu.custom_operation`, or move it into `parameters`")
    })
}
