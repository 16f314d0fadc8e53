//! Checks that need to know the kinds, and what many nodes do together.

use std::collections::{BTreeMap, BTreeSet};

use thalweg_kernels::{NodeBuilder, NodeRole, Registry, SpecProblem};

use super::document::join_index;
use super::initial::file_problems;
use super::node::{Wire, noun, spec_of, streams_by_name};
use super::suggestion::did_you_mean;
use super::{Diagnostic, Diagnostics, NodeConfig, PipelineConfig, Storage, StreamConfig};
use crate::graph::PipelineGraph;

/// Everything that is wrong with `config` as far as it can be told without touching the system, but
/// for the headers of files that initial contents come from; empty when it can be built. Every node is built once and dropped again, which by the contract of
/// [`NodeBuilder`] is cheap and has no effects.
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
            problems.extend(storage_problems(config));
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

const NO_GPU: &str = "this build has no GPU streams";

fn storage_problems(config: &PipelineConfig) -> impl Iterator<Item = Diagnostic> {
    let streams = config.streams.iter().enumerate();
    streams
        .filter(|(_, stream)| stream.storage == Storage::Gpu)
        .map(|(index, stream)| {
            let path = join_index("shared_memory", index) + ".storage";
            Diagnostic::new(path, format!("shared memory '{}': {NO_GPU}", stream.name))
                .with_hint("set `storage: cpu` and remove `gpu_device`")
        })
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
    let Some(definition) = registry.get(role, kind) else {
        if let Some(operation) = kind.strip_prefix("gpu.") {
            let on_host = format!("cpu.{operation}");
            let hint = match registry.get(role, &on_host) {
                Some(_) => format!("use `{on_host}` on host streams"),
                None => "use host streams and a kind for them".to_owned(),
            };
            return about_kind(format!("the kind '{kind}' cannot run, {NO_GPU}"), hint);
        }
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
    let built = match definition.builder {
        NodeBuilder::Kernel(build) => build(&spec).map(drop),
        NodeBuilder::Source(build) => build(&spec).map(drop),
        NodeBuilder::Sink(build) => build(&spec).map(drop),
    };
    let mut problems = built.err().unwrap_or_default();
    if let Some(misplaced) = misplaced_operation(node)
        && !problems
            .iter()
            .any(|problem| problem.path == misplaced.path)
    {
        problems.push(misplaced);
    }
    problems
        .into_iter()
        .map(|problem| Diagnostic {
            hint: problem.hint,
            ..Diagnostic::new(
                node.document_path(&problem.path, path, &config.positions),
                format!("{who}: {}", problem.message),
            )
        })
        .collect()
}

/// An operation that a built-in kind would silently ignore.
fn misplaced_operation(node: NodeConfig<'_>) -> Option<SpecProblem> {
    let kind = node.kind();
    node.operation()?;
    let built_in = kind.starts_with("cpu.") && !kind.ends_with(".custom_operation");
    built_in.then(|| {
        SpecProblem::new(
            "operation",
            format!("the kind '{kind}' takes no 'operation'"),
        )
        .with_hint("use `cpu.custom_operation`, or move it into `parameters`")
    })
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
