//! Who feeds whom: the graph a configuration describes, derived without building anything.

mod conflict;
mod describe;
mod drawing;
mod edge;
mod feedback;
mod json;

use std::collections::{BTreeMap, BTreeSet};

pub use conflict::ProducerConflict;
pub use edge::{Edge, EdgeRole};
pub use feedback::feedback_problems;

use crate::config::{NodeConfig, PipelineConfig};

/// The graph of one configuration. Cheap to derive; nothing in it is copied.
///
/// ```
/// use thalweg_pipeline::config::PipelineConfig;
/// use thalweg_pipeline::graph::PipelineGraph;
///
/// let text = "
/// shared_memory:
///   - {name: raw, shape: [4], dtype: float32}
///   - {name: scaled, shape: [4], dtype: float32}
/// kernels:
///   - {name: scale, kind: cpu.scale, input: raw, output: scaled, parameters: {factor: 2.0}}
/// ";
/// let config = PipelineConfig::from_yaml_str(text, "pipeline.yaml".as_ref())?;
/// let graph = PipelineGraph::from_config(&config);
/// assert_eq!(graph.source_streams(), ["raw"]);
/// assert_eq!(graph.sink_streams(), ["scaled"]);
/// # Ok::<(), thalweg_pipeline::config::Diagnostics>(())
/// ```
#[derive(Clone, Debug)]
pub struct PipelineGraph<'config> {
    config: &'config PipelineConfig,
    ends: BTreeMap<&'config str, Ends<'config>>,
}

/// Who writes and who reads one stream, each in the order of [`PipelineConfig::nodes`].
#[derive(Clone, Debug, Default)]
struct Ends<'config> {
    producers: Vec<NodeConfig<'config>>,
    consumers: Vec<NodeConfig<'config>>,
    /// Whether a sink consumes it, auxiliary use not counted.
    feeds_sink: bool,
}

/// What a stream is to the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamRole {
    /// Nobody writes or reads it.
    Orphan,
    /// It comes in and goes out without a kernel in between.
    SourceAndSink,
    /// It brings data into the pipeline.
    Source,
    /// It carries results out of the pipeline.
    Sink,
    /// It connects stages.
    Intermediate,
}

impl StreamRole {
    /// The role in words, such as `source+sink`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Orphan => "orphan",
            Self::SourceAndSink => "source+sink",
            Self::Source => "source",
            Self::Sink => "sink",
            Self::Intermediate => "intermediate",
        }
    }
}

impl<'config> PipelineGraph<'config> {
    /// The graph of `config`. References to streams that `config` does not declare are left out.
    pub fn from_config(config: &'config PipelineConfig) -> Self {
        let mut ends: BTreeMap<&str, Ends<'_>> = config
            .streams
            .iter()
            .map(|stream| (stream.name.as_str(), Ends::default()))
            .collect();
        for node in config.nodes() {
            for output in node.outputs() {
                if let Some(ends) = ends.get_mut(output.as_str()) {
                    ends.producers.push(node);
                }
            }
            // A node that reads a stream twice is one consumer.
            let inputs: BTreeSet<&str> = inputs_of(node).collect();
            for input in inputs {
                if let Some(ends) = ends.get_mut(input) {
                    ends.consumers.push(node);
                }
            }
            if let NodeConfig::Sink(sink) = node
                && let Some(ends) = ends.get_mut(sink.stream.as_str())
            {
                ends.feeds_sink = true;
            }
        }
        Self { config, ends }
    }

    /// The configuration this graph was derived from.
    pub fn config(&self) -> &'config PipelineConfig {
        self.config
    }

    /// The streams through which data enters, sorted: all outputs of sources, and what somebody
    /// reads but no node writes, so that another program has to.
    pub fn source_streams(&self) -> Vec<&'config str> {
        self.streams_where(Self::is_source)
    }

    /// The streams through which data leaves, sorted: what a sink consumes, and what a kernel or
    /// sink writes but nobody reads.
    pub fn sink_streams(&self) -> Vec<&'config str> {
        self.streams_where(Self::is_sink)
    }

    /// The streams nobody writes or reads, sorted.
    pub fn orphaned_streams(&self) -> Vec<&'config str> {
        self.streams_where(|ends| ends.producers.is_empty() && ends.consumers.is_empty())
    }

    /// What the stream `name` is to the pipeline; an undeclared one is an orphan.
    pub fn role(&self, name: &str) -> StreamRole {
        let Some(ends) = self.ends.get(name) else {
            return StreamRole::Orphan;
        };
        match (Self::is_source(ends), Self::is_sink(ends)) {
            (true, true) => StreamRole::SourceAndSink,
            (true, false) => StreamRole::Source,
            (false, true) => StreamRole::Sink,
            (false, false) if ends.producers.is_empty() => StreamRole::Orphan,
            (false, false) => StreamRole::Intermediate,
        }
    }

    /// Names of the nodes that write the stream `name`, sorted.
    pub fn producers(&self, name: &str) -> Vec<&'config str> {
        let nodes = self.ends.get(name).map(|ends| &ends.producers);
        sorted_names(nodes.into_iter().flatten())
    }

    /// Names of the nodes that read the stream `name`, as trigger or auxiliary, sorted.
    pub fn consumers(&self, name: &str) -> Vec<&'config str> {
        let nodes = self.ends.get(name).map(|ends| &ends.consumers);
        sorted_names(nodes.into_iter().flatten())
    }

    /// Names of the kernels that write what the node `name` reads, as trigger or auxiliary; sorted,
    /// without itself.
    pub fn upstream_kernels(&self, name: &str) -> Vec<&'config str> {
        self.neighbours(
            name,
            |node| inputs_of(node).collect(),
            |ends| &ends.producers,
        )
    }

    /// Names of the kernels that read what the node `name` writes; sorted, without itself.
    pub fn downstream_kernels(&self, name: &str) -> Vec<&'config str> {
        let outputs = |node: NodeConfig<'config>| node.outputs().iter().map(String::as_str);
        self.neighbours(name, |node| outputs(node).collect(), |ends| &ends.consumers)
    }

    /// Streams that more than one node writes, sorted by name.
    pub fn conflicts(&self) -> impl Iterator<Item = ProducerConflict<'config>> {
        let several = self
            .ends
            .iter()
            .filter(|(_, ends)| ends.producers.len() > 1);
        several.map(|(stream, ends)| ProducerConflict {
            stream,
            producers: ends.producers.clone(),
        })
    }

    /// What is wrong with the graph as such, in words, sorted by stream: streams that more than one
    /// node writes. [`crate::config::validate`] says the same with places.
    pub fn validation_errors(&self) -> Vec<String> {
        let conflicts = self.conflicts();
        conflicts.map(|conflict| conflict.to_string()).collect()
    }

    fn is_source(ends: &Ends<'_>) -> bool {
        let from_source = |node: &NodeConfig<'_>| matches!(node, NodeConfig::Source(_));
        ends.producers.iter().any(from_source)
            || ends.producers.is_empty() && !ends.consumers.is_empty()
    }

    fn is_sink(ends: &Ends<'_>) -> bool {
        let from_stage = |node: &NodeConfig<'_>| !matches!(node, NodeConfig::Source(_));
        ends.feeds_sink || ends.consumers.is_empty() && ends.producers.iter().any(from_stage)
    }

    fn streams_where(&self, holds: impl Fn(&Ends<'config>) -> bool) -> Vec<&'config str> {
        let matching = self.ends.iter().filter(|(_, ends)| holds(ends));
        matching.map(|(stream, _)| *stream).collect()
    }

    fn neighbours(
        &self,
        name: &str,
        streams: impl Fn(NodeConfig<'config>) -> Vec<&'config str>,
        side: for<'e> fn(&'e Ends<'config>) -> &'e Vec<NodeConfig<'config>>,
    ) -> Vec<&'config str> {
        let node = self.config.nodes().find(|node| node.name() == name);
        let streams = node.into_iter().flat_map(streams);
        let ends = streams.filter_map(|stream| self.ends.get(stream));
        let nodes: Vec<_> = ends.flat_map(side).collect();
        let kernels = nodes
            .into_iter()
            .filter(|node| matches!(node, NodeConfig::Kernel(_)) && node.name() != name);
        sorted_names(kernels)
    }
}

/// The streams a node reads: triggers, then auxiliary streams.
fn inputs_of(node: NodeConfig<'_>) -> impl Iterator<Item = &str> {
    let auxiliary = node.auxiliary().iter().map(|binding| &binding.stream);
    node.triggers().iter().chain(auxiliary).map(String::as_str)
}

fn sorted_names<'config: 'n, 'n>(
    nodes: impl IntoIterator<Item = &'n NodeConfig<'config>>,
) -> Vec<&'config str> {
    let names: BTreeSet<&str> = nodes.into_iter().map(|node| node.name()).collect();
    names.into_iter().collect()
}
