//! What sources, kernels and sinks have in common.

use std::collections::BTreeMap;
use std::path::Path;

use thalweg_kernels::node::Auxiliary;
use thalweg_kernels::{NodeRole, NodeSpec, Parameters, StreamSpec};
use thalweg_shm::WaitPolicy;

use super::document::{join_index, join_key};
use super::{
    AuxiliaryBinding, EndpointProcess, KernelConfig, PipelineConfig, Placement, Positions, Restart,
    Seconds, SinkConfig, SourceConfig, StreamConfig,
};

/// One source, kernel or sink of a configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NodeConfig<'config> {
    /// A source.
    Source(&'config SourceConfig),
    /// A kernel.
    Kernel(&'config KernelConfig),
    /// A sink.
    Sink(&'config SinkConfig),
}

impl<'config> NodeConfig<'config> {
    /// Its role.
    pub fn role(self) -> NodeRole {
        match self {
            Self::Source(_) => NodeRole::Source,
            Self::Kernel(_) => NodeRole::Kernel,
            Self::Sink(_) => NodeRole::Sink,
        }
    }

    /// Its role in words, such as `kernel`.
    pub fn noun(self) -> &'static str {
        noun(self.role())
    }

    /// Its name.
    pub fn name(self) -> &'config str {
        match self {
            Self::Source(source) => &source.name,
            Self::Kernel(kernel) => &kernel.name,
            Self::Sink(sink) => &sink.name,
        }
    }

    /// Its kind.
    pub fn kind(self) -> &'config str {
        match self {
            Self::Source(source) => &source.kind,
            Self::Kernel(kernel) => &kernel.kind,
            Self::Sink(sink) => &sink.kind,
        }
    }

    /// The streams whose publications make it work, in declared order.
    pub fn triggers(self) -> &'config [String] {
        match self {
            Self::Source(_) => &[],
            Self::Kernel(kernel) => &kernel.inputs,
            Self::Sink(sink) => std::slice::from_ref(&sink.stream),
        }
    }

    /// The streams it writes, in declared order.
    pub fn outputs(self) -> &'config [String] {
        match self {
            Self::Source(source) => &source.streams,
            Self::Kernel(kernel) => &kernel.outputs,
            Self::Sink(sink) => &sink.outputs,
        }
    }

    /// Its auxiliary streams, in declared order.
    pub fn auxiliary(self) -> &'config [AuxiliaryBinding] {
        match self {
            Self::Source(source) => &source.auxiliary,
            Self::Kernel(kernel) => &kernel.auxiliary,
            Self::Sink(sink) => &sink.auxiliary,
        }
    }

    /// Its parameters.
    pub fn parameters(self) -> &'config Parameters {
        match self {
            Self::Source(source) => &source.parameters,
            Self::Kernel(kernel) => &kernel.parameters,
            Self::Sink(sink) => &sink.parameters,
        }
    }

    /// The expression of a kernel that has one.
    pub fn operation(self) -> Option<&'config str> {
        match self {
            Self::Kernel(kernel) => kernel.operation.as_deref(),
            Self::Source(_) | Self::Sink(_) => None,
        }
    }

    /// How it passes the time until a frame comes; a source waits for none.
    pub fn wait(self) -> Option<WaitPolicy> {
        match self {
            Self::Source(_) => None,
            Self::Kernel(kernel) => Some(kernel.wait),
            Self::Sink(sink) => Some(sink.wait),
        }
    }

    /// Its latency budget, if it has one.
    pub fn deadline(self) -> Option<Seconds> {
        match self {
            Self::Source(_) => None,
            Self::Kernel(kernel) => kernel.deadline,
            Self::Sink(sink) => sink.deadline,
        }
    }

    /// On which CPUs and with which urgency it runs.
    pub fn placement(self) -> &'config Placement {
        match self {
            Self::Source(source) => &source.placement,
            Self::Kernel(kernel) => &kernel.placement,
            Self::Sink(sink) => &sink.placement,
        }
    }

    /// What happens when it has ended.
    pub fn restart(self) -> Restart {
        match self {
            Self::Source(source) => source.restart,
            Self::Kernel(kernel) => kernel.restart,
            Self::Sink(sink) => sink.restart,
        }
    }

    /// The group of a kernel that is in one.
    pub fn group(self) -> Option<&'config str> {
        match self {
            Self::Kernel(kernel) => kernel.group.as_deref(),
            Self::Source(_) | Self::Sink(_) => None,
        }
    }

    /// Where a source or sink wants to run; a kernel always runs in a worker.
    pub fn process(self) -> Option<EndpointProcess> {
        match self {
            Self::Source(source) => source.process,
            Self::Kernel(_) => None,
            Self::Sink(sink) => sink.process,
        }
    }

    /// Every stream it reads or writes.
    pub fn streams(self) -> impl Iterator<Item = &'config str> {
        let auxiliary = self.auxiliary().iter().map(|binding| &binding.stream);
        let wired = self.triggers().iter().chain(self.outputs());
        wired.chain(auxiliary).map(String::as_str)
    }

    /// The keys under which its triggers and its outputs are written: for one stream, for several.
    fn keys(self, wire: Wire) -> (&'static str, &'static str) {
        match (self, wire) {
            (Self::Kernel(_), Wire::Trigger) => ("input", "inputs"),
            (Self::Kernel(_), Wire::Output) => ("output", "outputs"),
            (Self::Sink(_), Wire::Output) => ("outputs", "outputs"),
            (Self::Source(_), _) | (Self::Sink(_), Wire::Trigger) => ("stream", "streams"),
        }
    }

    fn count(self, wire: Wire) -> usize {
        match wire {
            Wire::Trigger => self.triggers().len(),
            Wire::Output => self.outputs().len(),
        }
    }

    /// The path of its trigger or output `index`, as its document spells it; `node_path` is where
    /// this node stands.
    pub(super) fn wire_path(
        self,
        wire: Wire,
        index: usize,
        node_path: &str,
        positions: &Positions,
    ) -> String {
        let (single, many) = self.keys(wire);
        let (single, many) = (join_key(node_path, single), join_key(node_path, many));
        let element = join_index(&many, index);
        if positions.contains(&element) || single == many || self.count(wire) > 1 {
            element
        } else {
            single
        }
    }

    /// The place in the document of what a kind calls `local` in its complaints. Kinds know one
    /// spelling (`input`, `outputs[1]`, `auxiliary[0]`, `parameters.factor`), documents have more.
    pub(super) fn document_path(
        self,
        local: &str,
        node_path: &str,
        positions: &Positions,
    ) -> String {
        let (key, rest) = local.split_at(local.find(['.', '[']).unwrap_or(local.len()));
        let index = rest
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .and_then(|index| index.parse::<usize>().ok());
        let wire = match (self, key) {
            (_, "input" | "inputs") => Some(Wire::Trigger),
            (Self::Sink(_), "stream" | "streams") => Some(Wire::Trigger),
            (_, "output" | "outputs") => Some(Wire::Output),
            (Self::Source(_), "stream" | "streams") => Some(Wire::Output),
            _ => None,
        };
        if let Some(wire) = wire {
            let all_of_them = join_key(node_path, self.keys(wire).1);
            let about_all = key.ends_with('s') && index.is_none();
            return if about_all && (positions.contains(&all_of_them) || self.count(wire) > 1) {
                all_of_them
            } else {
                self.wire_path(wire, index.unwrap_or(0), node_path, positions)
            };
        }
        if key == "auxiliary" {
            let list = join_key(node_path, "auxiliary");
            let alias = rest.strip_prefix('.');
            let binding = |index: usize| self.auxiliary().get(index);
            let index = index.or_else(|| {
                let named = |binding: &AuxiliaryBinding| Some(binding.alias.as_str()) == alias;
                self.auxiliary().iter().position(named)
            });
            if let Some((index, binding)) = index.and_then(|index| Some((index, binding(index)?))) {
                let by_alias = join_key(&list, &binding.alias);
                let by_index = join_index(&list, index);
                return if positions.contains(&by_index) {
                    by_index
                } else {
                    by_alias
                };
            }
        }
        match local {
            "" => node_path.to_owned(),
            _ if local.starts_with('[') => format!("{node_path}{local}"),
            _ => format!("{node_path}.{local}"),
        }
    }
}

/// `kernel`, `source` or `sink`.
pub(crate) fn noun(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Kernel => "kernel",
        NodeRole::Source => "source",
        NodeRole::Sink => "sink",
    }
}

/// The two ways a node is wired, beside its auxiliary streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Trigger,
    Output,
}

/// A node refers to a stream that its configuration does not declare. Configurations that were
/// read from a document have no such reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{noun} '{node}' references undefined shared memory: {stream}")]
pub struct UndefinedStream {
    /// Role of the node in words.
    pub noun: &'static str,
    /// The node.
    pub node: String,
    /// The stream.
    pub stream: String,
}

/// What `node` of `config` is built from.
///
/// # Errors
///
/// The node refers to a stream that `config` does not declare.
pub fn node_spec(
    config: &PipelineConfig,
    node: NodeConfig<'_>,
) -> Result<NodeSpec, UndefinedStream> {
    spec_of(node, &streams_by_name(config), &config.base_path)
}

/// The streams of `config`, to look up many of them.
pub(super) fn streams_by_name(config: &PipelineConfig) -> BTreeMap<&str, &StreamConfig> {
    let streams = config.streams.iter();
    streams
        .map(|stream| (stream.name.as_str(), stream))
        .collect()
}

/// [`node_spec`] with the streams looked up in `streams`.
pub(super) fn spec_of(
    node: NodeConfig<'_>,
    streams: &BTreeMap<&str, &StreamConfig>,
    base_path: &Path,
) -> Result<NodeSpec, UndefinedStream> {
    let stream = |name: &String| -> Result<StreamSpec, UndefinedStream> {
        let stream = streams.get(name.as_str()).ok_or_else(|| UndefinedStream {
            noun: node.noun(),
            node: node.name().to_owned(),
            stream: name.clone(),
        })?;
        Ok(stream.spec())
    };
    let auxiliary = node.auxiliary().iter().map(|binding| {
        Ok(Auxiliary {
            alias: binding.alias.clone(),
            stream: stream(&binding.stream)?,
        })
    });
    Ok(NodeSpec {
        name: node.name().to_owned(),
        kind: node.kind().to_owned(),
        inputs: node
            .triggers()
            .iter()
            .map(stream)
            .collect::<Result<_, _>>()?,
        any_trigger: matches!(
            node,
            NodeConfig::Kernel(kernel) if kernel.trigger_policy == super::TriggerPolicy::AnyNew
        ),
        auxiliary: auxiliary.collect::<Result<_, _>>()?,
        outputs: node
            .outputs()
            .iter()
            .map(stream)
            .collect::<Result<_, _>>()?,
        operation: node.operation().map(str::to_owned),
        parameters: node.parameters().clone(),
        base_dir: base_path.to_owned(),
    })
}
