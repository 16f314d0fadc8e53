//! From a configuration to what is to be made: streams with their slots, nodes with their orders.
//! Pure: touches neither streams nor processes.

use thalweg_kernels::initial::Initial;
use thalweg_kernels::{NodeSpec, SpecProblem};
use thalweg_shm::{DType, StreamOptions};

use super::message::Role;
use crate::config::{
    Diagnostic, NodeConfig, PipelineConfig, StreamConfig, StreamMode, SynchronizationMode,
    TriggerPolicy, node_spec,
};

/// Everything a run is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The streams, in declared order.
    pub streams: Vec<StreamPlan>,
    /// The nodes: sources, kernels, sinks, each in declared order.
    pub nodes: Vec<NodePlan>,
}

/// One stream to be made or attached to.
#[derive(Clone, Debug)]
pub struct StreamPlan {
    /// Name in the configuration.
    pub name: String,
    /// Name in the system.
    pub resource_name: String,
    /// What to make.
    pub options: StreamOptions,
    /// What to do about an existing one.
    pub mode: StreamMode,
    /// What it holds at first.
    pub initial: Option<Initial>,
}

/// One process to be started.
#[derive(Clone, Debug)]
pub struct NodePlan {
    /// What it does.
    pub role: Role,
    /// What it is built from.
    pub spec: NodeSpec,
    /// System names of the trigger streams.
    pub inputs: Vec<String>,
    /// System names of the auxiliary streams.
    pub auxiliary: Vec<String>,
    /// System names of the output streams.
    pub outputs: Vec<String>,
    /// Whether one new trigger of several is enough.
    pub any_trigger: bool,
    /// Whether outputs carry the trigger's frame id.
    pub propagate_frame_id: bool,
    /// Pause of a source that has nothing to produce, in ns.
    pub poll_interval_ns: u64,
    /// A node without frames for longer than this counts as idle, in ns.
    pub idle_after_ns: u64,
    /// True if no kernel and no sink is triggered by what it publishes: the end of a chain.
    pub is_terminal: bool,
}

/// Frames of this size and more are kept as few times as possible.
const LARGE_BYTES: usize = 16 << 20;

impl Plan {
    /// Plans a checked configuration.
    ///
    /// # Errors
    ///
    /// What this build does not support, at its place in the document.
    pub fn new(config: &PipelineConfig) -> Result<Self, Vec<Diagnostic>> {
        let mut problems = unsupported(config);
        let mut nodes = Vec::new();
        for (path, node) in config.nodes_with_paths() {
            match plan_node(config, node) {
                Ok(node) => nodes.push(node),
                Err(message) => {
                    problems.push(config.positions.locate(Diagnostic::new(path, message)));
                }
            }
        }
        let mut streams = Vec::new();
        for (index, stream) in config.streams.iter().enumerate() {
            match plan_stream(config, stream) {
                Ok(stream) => streams.push(stream),
                Err(found) => problems.extend(found.into_iter().map(|problem| {
                    let path = format!("shared_memory[{index}].{}", problem.path);
                    let mut diagnostic = Diagnostic::new(path, problem.message);
                    diagnostic.hint = problem.hint;
                    config.positions.locate(diagnostic)
                })),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self { streams, nodes })
    }
}

fn plan_stream(
    config: &PipelineConfig,
    stream: &StreamConfig,
) -> Result<StreamPlan, Vec<SpecProblem>> {
    let initial = stream
        .initial
        .as_ref()
        .map(|initial| Initial::new(initial, stream.dtype, &stream.shape, &config.base_path))
        .transpose()?;
    let slots = stream
        .slots
        .unwrap_or_else(|| default_slots(config, &stream.name, stream.dtype, &stream.shape));
    Ok(StreamPlan {
        name: stream.name.clone(),
        resource_name: config.resource_name(&stream.name),
        options: StreamOptions {
            slots,
            ends_with_creator: true,
            ..StreamOptions::new(stream.dtype, &stream.shape)
        },
        mode: stream.mode,
        initial,
    })
}

fn unsupported(config: &PipelineConfig) -> Vec<Diagnostic> {
    let matching = unsupported_synchronization(config);
    let writing_sinks = config
        .sinks
        .iter()
        .enumerate()
        .filter(|(_, sink)| !sink.outputs.is_empty())
        .map(|(index, sink)| {
            let path = format!("sinks[{index}].outputs");
            let message = format!(
                "sink '{}' has outputs, and no sink of this build writes streams",
                sink.name
            );
            config.positions.locate(Diagnostic::new(path, message))
        });
    matching.into_iter().chain(writing_sinks).collect()
}

fn unsupported_synchronization(config: &PipelineConfig) -> Vec<Diagnostic> {
    config
        .kernels
        .iter()
        .enumerate()
        .filter(|(_, kernel)| {
            kernel
                .synchronization
                .as_ref()
                .is_some_and(|rule| rule.mode == SynchronizationMode::MatchingFrameId)
        })
        .map(|(index, kernel)| {
            let path = format!("kernels[{index}].synchronization.mode");
            let message = format!(
                "kernel '{}' asks for matching_frame_id, which this build does not run yet",
                kernel.name
            );
            config.positions.locate(
                Diagnostic::new(path, message)
                    .with_hint("`mode: count` waits for one new frame on every input"),
            )
        })
        .collect()
}

/// Enough that every consumer can hold one frame while the producer writes, and two observers can
/// look; frames that are large or only read as auxiliaries go without the room for observers.
fn default_slots(config: &PipelineConfig, name: &str, dtype: DType, shape: &[usize]) -> usize {
    let uses = |names: &[String]| names.iter().filter(|other| *other == name).count();
    let triggered: usize = config.nodes().map(|node| uses(node.triggers())).sum();
    let read_beside: usize = config
        .nodes()
        .flat_map(|node| node.auxiliary())
        .filter(|binding| binding.stream == name)
        .count();
    let payload_bytes = shape.iter().product::<usize>() * dtype.size_bytes();
    let observers = if payload_bytes >= LARGE_BYTES || triggered == 0 && read_beside > 0 {
        0
    } else {
        2
    };
    (2 + triggered + read_beside + observers).clamp(3, 127)
}

fn plan_node(config: &PipelineConfig, node: NodeConfig<'_>) -> Result<NodePlan, String> {
    let spec = node_spec(config, node).map_err(|error| error.to_string())?;
    let resource_names = |names: &[String]| -> Vec<String> {
        names
            .iter()
            .map(|name| config.resource_name(name))
            .collect()
    };
    let triggers_nobody = !config.nodes().any(|other| {
        other
            .triggers()
            .iter()
            .any(|trigger| node.outputs().contains(trigger))
    });
    // A source that nobody is triggered by prepares something for others; it ends nothing, unless
    // there is nothing but sources.
    let is_end_of_chain = !matches!(node, NodeConfig::Source(_))
        || config.kernels.is_empty() && config.sinks.is_empty();
    let read_timeout = match node {
        NodeConfig::Kernel(kernel) => kernel.read_timeout.duration(),
        NodeConfig::Sink(sink) => sink.read_timeout.duration(),
        NodeConfig::Source(_) => std::time::Duration::from_secs(1),
    };
    let (any_trigger, propagate_frame_id) = match node {
        NodeConfig::Kernel(kernel) => (
            kernel.trigger_policy == TriggerPolicy::AnyNew,
            kernel.propagate_frame_id,
        ),
        NodeConfig::Source(_) | NodeConfig::Sink(_) => (true, false),
    };
    let poll_interval = match node {
        NodeConfig::Source(source) => source.poll_interval.duration(),
        NodeConfig::Kernel(_) | NodeConfig::Sink(_) => std::time::Duration::ZERO,
    };
    let auxiliary: Vec<String> = node
        .auxiliary()
        .iter()
        .map(|binding| config.resource_name(&binding.stream))
        .collect();
    Ok(NodePlan {
        role: node.role().into(),
        spec,
        inputs: resource_names(node.triggers()),
        auxiliary,
        outputs: resource_names(node.outputs()),
        any_trigger,
        propagate_frame_id,
        poll_interval_ns: nanoseconds(poll_interval),
        idle_after_ns: nanoseconds(read_timeout.saturating_mul(4)).max(1_000_000_000),
        is_terminal: triggers_nobody && is_end_of_chain,
    })
}

fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
