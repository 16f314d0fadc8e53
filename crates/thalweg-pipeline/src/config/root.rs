//! The root of a document: its lists, and what their entries have to do with each other.

use std::collections::{BTreeMap, BTreeSet};

use thalweg_shm::segment::name::file_name;

use super::document::{Node, Span, Value, join_index, join_key};
use super::fields::{Fields, Item, Problems};
use super::grammar::ROOT;
use super::pipeline::resource_name;
use super::stream::MAX_STREAM_BYTES;
use super::wiring::Context;
use super::{
    Diagnostic, KernelConfig, PipelineConfig, PipelinePlacement, SinkConfig, SourceConfig,
    StreamConfig,
};

const NO_STREAMS: &str = "pipeline config must define a non-empty shared_memory list";

/// Reads the tree of a whole document, as far as it makes sense; the result has no paths and no
/// positions.
pub(super) fn read_root(root: &Node, problems: &mut Problems) -> Option<PipelineConfig> {
    if root.value == Value::Null {
        problems.push(Diagnostic::new("", NO_STREAMS).at(root.span));
        return None;
    }
    let item = Item::root(root, "pipeline config");
    let fields = Fields::open(item.clone(), &ROOT, problems)?;
    let namespace = fields
        .get("namespace")
        .and_then(|namespace| read_namespace(&namespace, problems));
    let placement = fields
        .get("placement")
        .and_then(|placement| PipelinePlacement::read(placement, problems));
    let stream_items = read_stream_list(&fields, problems);
    let mut nodes = |key| match fields.get(key) {
        Some(list) => list.entries("a list", problems),
        None => Some(Vec::new()),
    };
    let (kernels, sources, sinks) = (nodes("kernels"), nodes("sources"), nodes("sinks"));
    let lists_are_usable = kernels.is_some() && sources.is_some() && sinks.is_some();
    let kernel_items = kernels.unwrap_or_default();
    let source_items = sources.unwrap_or_default();
    let sink_items = sinks.unwrap_or_default();
    fields.finish(problems);

    let node_items = || kernel_items.iter().chain(&source_items).chain(&sink_items);
    if let Some(streams) = &stream_items {
        let message = |name: &str, first: &str| {
            format!("shared memory names must be unique: '{name}' is already used by {first}")
        };
        reject_same_names(streams, message, problems);
        check_resource_names(namespace, streams, problems);
        if lists_are_usable && node_items().next().is_none() {
            problems.push(
                item.problem("pipeline config must define at least one kernel, source or sink"),
            );
        }
    }
    let message = |name: &str, first: &str| {
        format!("kernel, source and sink names must be unique: '{name}' is already used by {first}")
    };
    reject_same_names(node_items(), message, problems);

    let stream_names: Option<BTreeSet<&str>> = stream_items.as_ref().map(|items| {
        items
            .iter()
            .filter_map(name_of)
            .map(|(name, _)| name)
            .collect()
    });
    let streams: Vec<StreamConfig> = stream_items
        .into_iter()
        .flatten()
        .filter_map(|item| StreamConfig::read(item, problems))
        .collect();
    let streams_span = root.get("shared_memory").and_then(|list| list.span);
    check_total_size(&streams, streams_span, problems);
    let mut context = Context {
        problems: std::mem::take(problems),
        streams: stream_names,
    };
    let config = PipelineConfig {
        namespace: namespace.map(str::to_owned),
        placement: placement.unwrap_or_default(),
        streams,
        kernels: kernel_items
            .into_iter()
            .filter_map(|item| KernelConfig::read(item, &mut context))
            .collect(),
        sources: source_items
            .into_iter()
            .filter_map(|item| SourceConfig::read(item, &mut context))
            .collect(),
        sinks: sink_items
            .into_iter()
            .filter_map(|item| SinkConfig::read(item, &mut context))
            .collect(),
        ..PipelineConfig::default()
    };
    problems.append(&mut context.problems);
    check_groups(&config.kernels, root, problems);
    Some(config)
}

/// Kernels of a group share a process, so they have to agree on what is the process's.
fn check_groups(kernels: &[KernelConfig], root: &Node, problems: &mut Problems) {
    let mut first_of: BTreeMap<&str, &KernelConfig> = BTreeMap::new();
    let mut differing = Vec::new();
    for kernel in kernels {
        let Some(group) = kernel.group.as_deref() else {
            continue;
        };
        let first = *first_of.entry(group).or_insert(kernel);
        for (key, differs) in [
            ("placement", kernel.placement != first.placement),
            ("restart", kernel.restart != first.restart),
            ("wait", kernel.wait != first.wait),
        ] {
            if differs {
                differing.push((kernel, first, group, key));
            }
        }
    }
    if differing.is_empty() {
        return;
    }
    // Kernels that cannot be read are not among `kernels`, so an index there is none in the tree.
    let entries = match root.get("kernels").map(|list| &list.value) {
        Some(Value::Sequence(entries)) => entries.as_slice(),
        _ => &[],
    };
    let name_of = |entry: &Node| match entry.get("name").map(|name| &name.value) {
        Some(Value::String(name)) => Some(name.trim().to_owned()),
        _ => None,
    };
    let names = entries.iter().enumerate();
    let indices: BTreeMap<String, usize> = names
        .filter_map(|(index, entry)| Some((name_of(entry)?, index)))
        .collect();
    for (kernel, first, group, key) in differing {
        let index = indices.get(&kernel.name).copied().unwrap_or_default();
        let path = join_key(&join_index("kernels", index), key);
        let message = format!(
            "kernel '{}': '{key}' differs from that of kernel '{}', but both are of group '{group}' \
             and share its process",
            kernel.name, first.name
        );
        let span = root.nearest(&path).span;
        problems.push(
            Diagnostic::new(path, message)
                .at(span)
                .with_hint(format!("give every kernel of the group the same '{key}'")),
        );
    }
}

/// What the system calls a stream has limits of its own, and the namespace counts towards them.
fn check_resource_names(namespace: Option<&str>, streams: &[Item<'_>], problems: &mut Problems) {
    for item in streams {
        let Some((name, span)) = name_of(item) else {
            continue;
        };
        if let Err(error) = file_name(&resource_name(namespace, name)) {
            let path = format!("{}.name", item.path);
            problems.push(Diagnostic::new(path, error.to_string()).at(span));
        }
    }
}

fn read_stream_list<'a>(fields: &Fields<'a>, problems: &mut Problems) -> Option<Vec<Item<'a>>> {
    let list = fields.get("shared_memory");
    let Some(list) = list.filter(|list| list.node.value != Value::Null) else {
        problems.push(Diagnostic::new("", NO_STREAMS).at(fields.item().node.span));
        return None;
    };
    match &list.node.value {
        Value::Sequence(entries) if entries.is_empty() => {
            problems.push(Diagnostic::new("", NO_STREAMS).at(list.node.span));
            None
        }
        Value::Sequence(_) => list.entries("a list", problems),
        other => {
            problems.push(list.problem(format!("{NO_STREAMS}, found {other}")));
            None
        }
    }
}

fn read_namespace<'a>(item: &Item<'a>, problems: &mut Problems) -> Option<&'a str> {
    let namespace = item.text(problems)?;
    if namespace.contains(['/', '\\', '\0']) {
        problems.push(item.expected("text without `/`, `\\` and NUL"));
        return None;
    }
    Some(namespace)
}

/// Each stream alone was checked when it was read; this is about all of them together.
fn check_total_size(streams: &[StreamConfig], span: Option<Span>, problems: &mut Problems) {
    let each = || {
        streams
            .iter()
            .map(|stream| stream.total_bytes().unwrap_or(u64::MAX))
    };
    let total = each().fold(0, u64::saturating_add);
    if total > MAX_STREAM_BYTES && each().all(|bytes| bytes <= MAX_STREAM_BYTES) {
        let message = format!("the streams together take {total} bytes, more than 2^47");
        problems.push(Diagnostic::new("shared_memory", message).at(span));
    }
}

/// The name of an entry, if it has a usable one, and where it stands.
fn name_of<'a>(item: &Item<'a>) -> Option<(&'a str, Option<Span>)> {
    let name = item.node.get("name")?;
    match &name.value {
        Value::String(text) if !text.trim().is_empty() => Some((text.trim(), name.span)),
        _ => None,
    }
}

fn reject_same_names<'i, 'a: 'i>(
    items: impl IntoIterator<Item = &'i Item<'a>>,
    message: impl Fn(&str, &str) -> String,
    problems: &mut Problems,
) {
    let mut first_of: BTreeMap<&str, &str> = BTreeMap::new();
    for item in items {
        let Some((name, span)) = name_of(item) else {
            continue;
        };
        match first_of.get(name) {
            Some(first) => {
                let path = format!("{}.name", item.path);
                problems.push(Diagnostic::new(path, message(name, first)).at(span));
            }
            None => {
                first_of.insert(name, &item.path);
            }
        }
    }
}
