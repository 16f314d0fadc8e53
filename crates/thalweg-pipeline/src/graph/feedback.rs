//! Sources that need to know what became of their frames.
//!
//! A simulated telescope moves its mirror by the commands computed from its last image. Such a source
//! names the aliases of its *feedback* streams, and can trust what arrives there only if it is a
//! sink's acknowledgement of a frame that is the source's own, recognisable by its id.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::PipelineGraph;
use crate::config::{Diagnostic, KernelConfig, NodeConfig, PipelineConfig, SourceConfig};

/// What is wrong with the feedback of sources: `required` has the aliases by the source's name.
///
/// Each of them has to be bound to an output of a sink, and from what that sink consumes the way
/// back over the triggers of kernels has to lead to an output of the source, through kernels that
/// propagate frame ids.
pub fn feedback_problems(
    config: &PipelineConfig,
    required: &BTreeMap<String, Vec<String>>,
) -> Vec<Diagnostic> {
    let graph = PipelineGraph::from_config(config);
    let mut problems = Vec::new();
    for (index, source) in config.sources.iter().enumerate() {
        let aliases = required.get(&source.name).into_iter().flatten();
        for alias in aliases {
            problems.extend(problems_of(&graph, source, index, alias));
        }
    }
    let problems = problems.into_iter();
    problems
        .map(|problem| config.positions.locate(problem))
        .collect()
}

fn problems_of(
    graph: &PipelineGraph<'_>,
    source: &SourceConfig,
    index: usize,
    alias: &str,
) -> Vec<Diagnostic> {
    let config = graph.config();
    let path = format!("sources[{index}].auxiliary");
    let who = format!("source '{}'", source.name);
    let one = |message: String, hint: String| {
        vec![Diagnostic::new(path.clone(), format!("{who}: {message}")).with_hint(hint)]
    };
    let bound = source.auxiliary.iter().find(|it| it.alias == alias);
    let Some(stream) = bound.map(|binding| binding.stream.as_str()) else {
        return one(
            format!("its feedback '{alias}' is not bound to a stream"),
            format!("add `auxiliary: {{{alias}: STREAM}}` with an output of a sink"),
        );
    };
    let writes_it = |sink: &&crate::config::SinkConfig| sink.outputs.iter().any(|it| it == stream);
    let Some(sink) = config.sinks.iter().find(writes_it) else {
        return one(
            format!(
                "its feedback '{alias}' is the stream '{stream}', which is no output of a sink"
            ),
            "list the stream under `outputs` of the sink that applies the frames".to_owned(),
        );
    };
    match way_back(graph, source, &sink.stream) {
        Ok(kernels) => kernels
            .into_iter()
            .filter(|kernel| !kernel.propagate_frame_id)
            .map(|kernel| {
                let at = config.kernels.iter().position(|it| it.name == kernel.name);
                let path = format!("kernels[{}].propagate_frame_id", at.unwrap_or_default());
                let message = format!(
                    "kernel '{}' needs propagate_frame_id: true, because the feedback '{alias}' of \
                     {who} passes through it",
                    kernel.name
                );
                Diagnostic::new(path, message).with_hint("add `propagate_frame_id: true`")
            })
            .collect(),
        Err(NoWay::UnknownProducer(lost)) => one(
            format!(
                "its feedback '{alias}' cannot be followed back to it: the stream '{lost}' on the way \
                 to sink '{}' has no kernel that writes it",
                sink.name
            ),
            "let the sink consume what is computed from this source's frames".to_owned(),
        ),
        Err(NoWay::Cycle(kernel)) => one(
            format!(
                "its feedback '{alias}' cannot be followed back to it: the way from sink '{}' leads in \
                 a cycle through kernel '{kernel}'",
                sink.name
            ),
            "let the sink consume what is computed from this source's frames".to_owned(),
        ),
    }
}

/// Why no way leads back to a source.
enum NoWay {
    /// Nobody, or somebody who is no kernel, writes this stream.
    UnknownProducer(String),
    /// All there is comes from kernels that feed each other, this one among them.
    Cycle(String),
}

/// The kernels on the way from `stream` back to an output of `source`, one that all propagate frame
/// ids if there is such a way, else the shortest.
fn way_back<'config>(
    graph: &PipelineGraph<'config>,
    source: &SourceConfig,
    stream: &str,
) -> Result<Vec<&'config KernelConfig>, NoWay> {
    let search = |only_propagating: bool| {
        let mut came_from: BTreeMap<&str, (&'config KernelConfig, &str)> = BTreeMap::new();
        let mut seen = BTreeSet::from([stream]);
        let mut queue = VecDeque::from([stream]);
        let mut lost: Option<&str> = None;
        let mut revisited: Option<&str> = None;
        while let Some(at) = queue.pop_front() {
            if source.streams.iter().any(|output| output == at) {
                let mut kernels = Vec::new();
                let mut place = at;
                while let Some((kernel, next)) = came_from.get(place) {
                    kernels.push(*kernel);
                    place = next;
                }
                return Ok(kernels);
            }
            let producers = graph.ends.get(at).map(|ends| ends.producers.as_slice());
            let kernels = producers
                .unwrap_or_default()
                .iter()
                .filter_map(|node| match node {
                    NodeConfig::Kernel(kernel) => Some(*kernel),
                    NodeConfig::Source(_) | NodeConfig::Sink(_) => None,
                });
            let mut any = false;
            for kernel in kernels.filter(|it| it.propagate_frame_id || !only_propagating) {
                any = true;
                for input in &kernel.inputs {
                    if seen.insert(input) {
                        came_from.insert(input, (kernel, at));
                        queue.push_back(input);
                    } else {
                        revisited = revisited.or(Some(&kernel.name));
                    }
                }
            }
            if !any {
                lost = lost.or(Some(at));
            }
        }
        Err(match (lost, revisited) {
            (None, Some(kernel)) => NoWay::Cycle(kernel.to_owned()),
            (lost, _) => NoWay::UnknownProducer(lost.unwrap_or(stream).to_owned()),
        })
    };
    search(true).or_else(|_| search(false))
}
