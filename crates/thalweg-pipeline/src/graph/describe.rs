//! The graph as text, for people.

use std::fmt::{self, Display};

use super::PipelineGraph;
use crate::config::{NodeConfig, StreamConfig};

/// What [`PipelineGraph::describe`] displays.
struct Description<'a, 'config>(&'a PipelineGraph<'config>);

impl<'config> PipelineGraph<'config> {
    /// The graph in words, one line per stream and node.
    pub fn describe(&self) -> impl Display {
        Description(self)
    }
}

impl Display for Description<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let graph = self.0;
        let config = graph.config();
        writeln!(f, "Pipeline Graph")?;
        section(
            f,
            "Shared Memory",
            config
                .streams
                .iter()
                .map(|stream| graph.stream_line(stream)),
        )?;
        for (title, noun) in [
            ("Sources", "source"),
            ("Kernels", "kernel"),
            ("Sinks", "sink"),
        ] {
            let nodes = config.nodes().filter(|node| node.noun() == noun);
            section(f, title, nodes.map(|node| graph.node_line(node)))?;
        }
        let orphans = graph.orphaned_streams();
        if !orphans.is_empty() {
            section(f, "Orphaned Shared Memory", orphans)?;
        }
        let mut conflicts = graph.conflicts().peekable();
        if conflicts.peek().is_some() {
            section(f, "Validation Errors", conflicts)?;
        }
        Ok(())
    }
}

fn section(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    lines: impl IntoIterator<Item: Display>,
) -> fmt::Result {
    writeln!(f, "\n{title}:")?;
    lines
        .into_iter()
        .try_for_each(|line| writeln!(f, "- {line}"))
}

impl PipelineGraph<'_> {
    /// `ao_image [float32 120x120, cpu] source: written by external, read by calibrate`
    fn stream_line(&self, stream: &StreamConfig) -> String {
        let extents: Vec<String> = stream.shape.iter().map(ToString::to_string).collect();
        format!(
            "{} [{} {}, {}] {}: written by {}, read by {}",
            stream.name,
            stream.dtype,
            extents.join("x"),
            stream.storage.name(),
            self.role(&stream.name).name(),
            join_or(&self.producers(&stream.name), "external"),
            join_or(&self.consumers(&stream.name), "none"),
        )
    }

    /// `calibrate (cpu.custom_operation): ao_image -> ao_clean, auxiliary dark=ao_dark, upstream
    /// external, downstream centroid`
    fn node_line(&self, node: NodeConfig<'_>) -> String {
        let mut line = format!("{} ({}):", node.name(), node.kind());
        if !node.triggers().is_empty() {
            line += &format!(" {}", node.triggers().join(" + "));
        }
        if !node.outputs().is_empty() {
            line += &format!(" -> {}", node.outputs().join(", "));
        }
        if let NodeConfig::Kernel(kernel) = node
            && kernel.inputs.len() > 1
        {
            line += &format!(", trigger policy {}", kernel.trigger_policy.name());
        }
        if !node.auxiliary().is_empty() {
            let bindings: Vec<String> = node
                .auxiliary()
                .iter()
                .map(|binding| format!("{}={}", binding.alias, binding.stream))
                .collect();
            line += &format!(", auxiliary {}", bindings.join(" "));
        }
        if !matches!(node, NodeConfig::Source(_)) {
            let upstream = self.upstream_kernels(node.name());
            line += &format!(", upstream {}", join_or(&upstream, "external"));
        }
        if !matches!(node, NodeConfig::Sink(_)) {
            let downstream = self.downstream_kernels(node.name());
            line += &format!(", downstream {}", join_or(&downstream, "terminal"));
        }
        line
    }
}

fn join_or(names: &[&str], none: &str) -> String {
    if names.is_empty() {
        none.to_owned()
    } else {
        names.join(", ")
    }
}
