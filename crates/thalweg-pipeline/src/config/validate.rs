//! Checks that need to know the kinds, and what many nodes do together.

use std::collections::{BTreeMap, BTreeSet};

use thalweg_kernels::{Definition, NodeBuilder, NodeRole, NodeSpec, Registry, SpecProblem};

use super::document::{join_index, join_key};
use super::initial::file_problems;
use super::node::{Wire, noun, spec_of, streams_by_name};
use super::suggestion::did_you_mean;
use super::{
    Diagnostic, Diagnostics, NodeConfig, PipelineConfig, Positions, Reading, Storage, StreamConfig,
    warnings,
};
use crate::graph::PipelineGraph;

/// Everything that is wrong with `config` as far as it can be told without touching the system, but
/// for the headers of files that initial contents come from; empty when it can be built. Every node
/// is built once and dropped again, which by the contract of [`NodeBuilder`] is cheap and has no
/// effects.
pub fn validate(config: &PipelineConfig, registry: &Registry) -> Vec<Diagnostic> {
    validate_hosted(config, registry, &|_name| false)
}

/// As [`validate`], but for the kinds of the nodes that `is_hosted` names: whoever hosts them has
/// checked them.
pub fn validate_hosted(
    config: &PipelineConfig,
    registry: &Registry,
    is_hosted: &dyn Fn(&str) -> bool,
) -> Vec<Diagnostic> {
    // A configuration may have been put together or changed by a program: the document's rules
    // hold for it as well.
    let reread = PipelineConfig::from_json(&config.to_json(), &config.base_path);
    let problems = match reread {
        Err(Diagnostics(problems)) => problems,
        Ok(_) => {
            let mut problems = producer_problems(config);
            problems.extend(gpu_problem(config, is_hosted));
            problems.extend(file_problems(config));
            let streams = streams_by_name(config);
            for (path, node) in config.nodes_with_paths() {
                if !is_hosted(node.name()) {
                    problems.extend(node_problems(config, &streams, registry, node, &path));
                }
            }
            problems
        }
    };
    let located = problems
        .into_iter()
        .map(|problem| config.positions.locate(problem))
        .collect();
    Diagnostics::sorted(located).0
}

/// Everything there is to say about a document: what reading it found and, if it can be read, what
/// [`validate`] and [`super::warnings`] find, in the order of the document.
pub fn check(reading: &Reading, registry: &Registry) -> Vec<Diagnostic> {
    check_hosted(reading, registry, &|_name| false)
}

/// As [`check`], with hosted nodes as in [`validate_hosted`].
pub fn check_hosted(
    reading: &Reading,
    registry: &Registry,
    is_hosted: &dyn Fn(&str) -> bool,
) -> Vec<Diagnostic> {
    let mut diagnostics = reading.diagnostics.clone();
    if let Some(config) = &reading.config {
        diagnostics.extend(validate_hosted(config, registry, is_hosted));
        let found = warnings::kind_and_graph_warnings(config, registry);
        diagnostics.extend(found);
    }
    Diagnostics::sorted(diagnostics).0
}

/// Streams with more than one producer, reported where the second one refers to the stream.
fn producer_problems(config: &PipelineConfig) -> Vec<Diagnostic> {
    let graph = PipelineGraph::from_config(config);
    let mut conflicts: BTreeMap<&str, _> = graph
        .conflicts()
        .map(|conflict| (conflict.stream, conflict.to_string()))
        .collect();
    let mut problems = Vec::new();
    let mut written = BTreeSet::new();
    for (path, node) in config.nodes_with_paths() {
        for (index, output) in node.outputs().iter().enumerate() {
            if written.insert(output.as_str()) {
                continue;
            }
            if let Some(message) = conflicts.remove(output.as_str()) {
                let path = node.wire_path(Wire::Output, index, &path, &config.positions);
                let problem = Diagnostic::new(path, message);
                problems.push(problem.with_hint("let each of them write a stream of its own"));
            }
        }
    }
    problems
}

/// One problem for everything that needs a device, at the first place that says so.
fn gpu_problem(config: &PipelineConfig, is_hosted: &dyn Fn(&str) -> bool) -> Option<Diagnostic> {
    let streams = config.streams.iter().enumerate();
    let streams: Vec<(String, String)> = streams
        .filter(|(_, stream)| stream.storage == Storage::Gpu)
        .map(|(index, stream)| {
            let path = join_index("shared_memory", index) + ".storage";
            (path, format!("shared memory '{}'", stream.name))
        })
        .collect();
    let nodes: Vec<(String, String)> = config
        .nodes_with_paths()
        .filter(|(_, node)| needs_gpu(node.kind()) && !is_hosted(node.name()))
        .map(|(path, node)| {
            let who = format!("{} '{}' ({})", node.noun(), node.name(), node.kind());
            (join_key(&path, "kind"), who)
        })
        .collect();
    let hint = match (streams.is_empty(), nodes.is_empty()) {
        (true, true) => return None,
        (false, true) => "set `storage: cpu` and remove `gpu_device`",
        (true, false) => "use kinds that start with `cpu.`",
        (false, false) => {
            "set `storage: cpu`, remove `gpu_device`, and use kinds that start with `cpu.`"
        }
    };
    const LISTED: usize = 5;
    let all = || streams.iter().chain(&nodes);
    let (path, _) = all().next()?;
    let mut users: Vec<&str> = all().map(|(_, who)| who.as_str()).collect();
    let more = users.len().saturating_sub(LISTED);
    users.truncate(LISTED);
    let mut message = format!(
        "this build has no GPU streams, which are needed by {}",
        users.join(", ")
    );
    if more > 0 {
        message += &format!(" and {more} more");
    }
    Some(Diagnostic::new(path.as_str(), message).with_hint(hint))
}

/// Whether nodes of `kind` compute on a device.
fn needs_gpu(kind: &str) -> bool {
    kind.starts_with("gpu.")
}

fn node_problems(
    config: &PipelineConfig,
    streams: &BTreeMap<&str, &StreamConfig>,
    registry: &Registry,
    node: NodeConfig<'_>,
    path: &str,
) -> Vec<Diagnostic> {
    let (role, kind) = (node.role(), node.kind());
    let who = format!("{} '{}'", node.noun(), node.name());
    let about_kind = |message: String, hint: String| {
        vec![Diagnostic::new(format!("{path}.kind"), format!("{who}: {message}")).with_hint(hint)]
    };
    if needs_gpu(kind) {
        // Reported with everything else that needs a device.
        return Vec::new();
    }
    let Some(definition) = registry.get(role, kind) else {
        let message = format!("unknown {} kind '{kind}'", node.noun());
        return about_kind(message, kind_hint(registry, role, kind));
    };
    let on_gpu = |name: &str| {
        let stream = streams.get(name);
        stream.is_some_and(|stream| stream.storage == Storage::Gpu)
    };
    if node.streams().any(on_gpu) {
        // Reported with the stream; whatever the kind has to say about it adds nothing.
        return Vec::new();
    }
    let spec = match spec_of(node, streams, &config.base_path) {
        Ok(spec) => spec,
        Err(undefined) => return vec![Diagnostic::new(path, undefined.to_string())],
    };
    let problems = try_to_build(definition, &spec);
    let positions = &config.positions;
    let problems = problems.into_iter();
    problems
        .map(|problem| node_diagnostic(node, problem, path, positions))
        .collect()
}

/// What the builder of a kind has against `spec`.
pub(super) fn try_to_build(definition: &Definition, spec: &NodeSpec) -> Vec<SpecProblem> {
    let built = match definition.builder {
        NodeBuilder::Kernel(build) => build(spec).map(drop),
        NodeBuilder::Source(build) => build(spec).map(drop),
        NodeBuilder::Sink(build) => build(spec).map(drop),
    };
    built.err().unwrap_or_default()
}

/// What a kind says about `node`, which stands at `path`, as a problem of its document.
pub(super) fn node_diagnostic(
    node: NodeConfig<'_>,
    problem: SpecProblem,
    path: &str,
    positions: &Positions,
) -> Diagnostic {
    let place = node.document_path(&problem.path, path, positions);
    let message = format!("{} '{}': {}", node.noun(), node.name(), problem.message);
    Diagnostic {
        hint: problem.hint,
        ..Diagnostic::new(place, message)
    }
}

fn kind_hint(registry: &Registry, role: NodeRole, kind: &str) -> String {
    for other in [NodeRole::Source, NodeRole::Kernel, NodeRole::Sink] {
        if registry.get(other, kind).is_some() {
            return format!("it is a {0}: list it under `{0}s`", noun(other));
        }
    }
    let known: Vec<&str> = registry.kinds(role).map(|known| known.kind).collect();
    did_you_mean(kind, known.iter().copied()).unwrap_or_else(|| {
        if known.is_empty() {
            format!("no {} kinds are known", noun(role))
        } else {
            format!("known are {}", known.join(", "))
        }
    })
}
