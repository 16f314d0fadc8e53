//! The arrows of the graph.

use std::fmt;

use super::PipelineGraph;
use crate::config::NodeConfig;

/// One arrow between a stream and a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge<'config> {
    /// Where it starts: a stream's name, or a node's when the node writes.
    pub source: &'config str,
    /// Where it ends.
    pub target: &'config str,
    /// What the stream is to the node.
    pub role: EdgeRole<'config>,
    /// The stream.
    pub stream: &'config str,
}

/// What a stream is to the node at the other end of an edge. Numbers count the streams of nodes
/// that have several of the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeRole<'config> {
    /// Read without triggering, under this alias.
    Auxiliary(&'config str),
    /// Written by a source.
    Source(Option<usize>),
    /// Triggers a kernel.
    Input(Option<usize>),
    /// Written by a kernel.
    Output,
    /// Consumed by a sink.
    Sink,
    /// Written by a sink.
    SinkOutput,
}

/// `auxiliary:<alias>`, `source`, `source:<i>`, `input`, `input:<i>`, `output`, `sink` or
/// `sink_output`.
impl fmt::Display for EdgeRole<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auxiliary(alias) => write!(f, "auxiliary:{alias}"),
            Self::Source(None) => f.write_str("source"),
            Self::Source(Some(index)) => write!(f, "source:{index}"),
            Self::Input(None) => f.write_str("input"),
            Self::Input(Some(index)) => write!(f, "input:{index}"),
            Self::Output => f.write_str("output"),
            Self::Sink => f.write_str("sink"),
            Self::SinkOutput => f.write_str("sink_output"),
        }
    }
}

impl<'config> PipelineGraph<'config> {
    /// All arrows: those of sources (auxiliary, then outputs), of kernels (inputs, auxiliary,
    /// outputs) and of sinks (auxiliary, stream, outputs), each in declared order.
    pub fn edges(&self) -> Vec<Edge<'config>> {
        let nodes = self.config().nodes();
        nodes.flat_map(|node| self.edges_of(node)).collect()
    }

    /// The arrows of one node, in the order of [`Self::edges`].
    pub(super) fn edges_of(&self, node: NodeConfig<'config>) -> Vec<Edge<'config>> {
        let mut edges = Vec::new();
        let read = |stream: &'config str, role| Edge {
            source: stream,
            target: node.name(),
            role,
            stream,
        };
        let written = |stream: &'config str, role| Edge {
            source: node.name(),
            target: stream,
            role,
            stream,
        };
        let auxiliary = node
            .auxiliary()
            .iter()
            .map(|binding| read(&binding.stream, EdgeRole::Auxiliary(&binding.alias)));
        let number = |streams: &[String], index| (streams.len() > 1).then_some(index);
        let (triggers, outputs) = (node.triggers(), node.outputs());
        match node {
            NodeConfig::Source(_) => {
                edges.extend(auxiliary);
                edges.extend(outputs.iter().enumerate().map(|(index, stream)| {
                    written(stream, EdgeRole::Source(number(outputs, index)))
                }));
            }
            NodeConfig::Kernel(_) => {
                edges.extend(
                    triggers.iter().enumerate().map(|(index, stream)| {
                        read(stream, EdgeRole::Input(number(triggers, index)))
                    }),
                );
                edges.extend(auxiliary);
                edges.extend(
                    outputs
                        .iter()
                        .map(|stream| written(stream, EdgeRole::Output)),
                );
            }
            NodeConfig::Sink(_) => {
                edges.extend(auxiliary);
                edges.extend(triggers.iter().map(|stream| read(stream, EdgeRole::Sink)));
                edges.extend(
                    outputs
                        .iter()
                        .map(|stream| written(stream, EdgeRole::SinkOutput)),
                );
            }
        }
        edges
    }
}
