//! The graph as a drawing: in the languages of Graphviz and Mermaid, and as SVG of our own.

mod dot;
mod layout;
mod mermaid;
mod svg;

use std::collections::BTreeMap;

use super::{EdgeRole, PipelineGraph};
use crate::config::NodeConfig;

/// What a box stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shape {
    Stream,
    Source,
    Kernel,
    Sink,
}

impl Shape {
    const ALL: [Self; 4] = [Self::Stream, Self::Source, Self::Kernel, Self::Sink];

    fn name(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Source => "source",
            Self::Kernel => "kernel",
            Self::Sink => "sink",
        }
    }
}

/// One box: what it stands for, its name, and a second line about it.
#[derive(Clone, Debug)]
struct Vertex {
    shape: Shape,
    name: String,
    detail: String,
}

/// One arrow between two boxes, given by their indices.
#[derive(Clone, Debug)]
struct Arrow {
    from: usize,
    to: usize,
    /// Whether it belongs to an auxiliary stream.
    is_auxiliary: bool,
    /// Its alias, where that is not the stream's name.
    alias: Option<String>,
}

/// Everything a drawing shows: first the streams, then the nodes, in declared order.
#[derive(Clone, Debug)]
struct Drawing {
    vertices: Vec<Vertex>,
    arrows: Vec<Arrow>,
}

impl Drawing {
    fn of(graph: &PipelineGraph<'_>) -> Self {
        let config = graph.config();
        let streams = config.streams.iter().map(|stream| {
            let extents: Vec<String> = stream.shape.iter().map(ToString::to_string).collect();
            Vertex {
                shape: Shape::Stream,
                name: plain(&stream.name),
                detail: format!("{} {}", stream.dtype, extents.join("x")),
            }
        });
        let nodes = config.nodes().map(|node| Vertex {
            shape: match node {
                NodeConfig::Source(_) => Shape::Source,
                NodeConfig::Kernel(_) => Shape::Kernel,
                NodeConfig::Sink(_) => Shape::Sink,
            },
            name: plain(node.name()),
            detail: plain(node.kind()),
        });
        let index_of: BTreeMap<&str, usize> = config
            .streams
            .iter()
            .enumerate()
            .map(|(index, stream)| (stream.name.as_str(), index))
            .collect();
        // A node may be called as a stream is, so edges cannot be looked up by name alone.
        let mut arrows = Vec::new();
        for (index, node) in config.nodes().enumerate() {
            let at = config.streams.len() + index;
            for edge in graph.edges_of(node) {
                let Some(&stream) = index_of.get(edge.stream) else {
                    continue;
                };
                let (from, to) = match edge.role {
                    EdgeRole::Auxiliary(_) | EdgeRole::Input(_) | EdgeRole::Sink => (stream, at),
                    EdgeRole::Source(_) | EdgeRole::Output | EdgeRole::SinkOutput => (at, stream),
                };
                let alias = match edge.role {
                    EdgeRole::Auxiliary(alias) if alias != edge.stream => Some(plain(alias)),
                    _ => None,
                };
                arrows.push(Arrow {
                    from,
                    to,
                    is_auxiliary: matches!(edge.role, EdgeRole::Auxiliary(_)),
                    alias,
                });
            }
        }
        Self {
            vertices: streams.chain(nodes).collect(),
            arrows,
        }
    }
}

/// `name` on one line and without what XML cannot hold: names may contain anything.
fn plain(name: &str) -> String {
    let one_line = |letter: char| match letter {
        '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        _ if letter.is_control() => '\u{fffd}',
        _ => letter,
    };
    name.chars().map(one_line).collect()
}

impl PipelineGraph<'_> {
    /// The graph in the language of Graphviz: streams as ovals, nodes as boxes, auxiliary streams
    /// dashed.
    pub fn to_dot(&self) -> String {
        dot::write(&Drawing::of(self))
    }

    /// The graph as a Mermaid flowchart, which many sites and editors draw in Markdown.
    pub fn to_mermaid(&self) -> String {
        mermaid::write(&Drawing::of(self))
    }

    /// The graph as an SVG document, drawn in layers from top to bottom. The same graph always
    /// gives the same text.
    pub fn to_svg(&self) -> String {
        svg::write(&Drawing::of(self))
    }
}
