//! From a configuration to what is to be made: streams with their slots, nodes with their orders.
//! Pure: touches neither streams nor processes.

use std::collections::BTreeMap;

use thalweg_kernels::initial::Initial;
use thalweg_kernels::{NodeSpec, SpecProblem};
use thalweg_shm::{DType, StreamOptions, WaitPolicy};

use super::message::{Matching, Role};
use super::options::NodeHost;
use crate::config::{
    Diagnostic, KernelConfig, NodeConfig, PipelineConfig, Placement, Restart, StreamConfig,
    StreamMode, SynchronizationMode, TriggerPolicy, node_spec,
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
    /// Which frames of several triggers belong together, where their ids have to match.
    pub matching: Option<Matching>,
    /// How it waits for its triggers.
    pub wait: WaitPolicy,
    /// Latency budget in ns, from the origin of the data.
    pub deadline_ns: Option<u64>,
    /// Kernels of one group share a process.
    pub group: Option<String>,
    /// Where and how urgently it runs.
    pub placement: Placement,
    /// What happens when it has ended.
    pub restart: Restart,
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
        let mut problems = group_problems(config);
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

    /// The nodes that share a process, by their indices: mostly one, or the kernels of a group.
    pub fn processes(&self) -> Vec<Vec<usize>> {
        let mut processes: Vec<Vec<usize>> = Vec::new();
        let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, node) in self.nodes.iter().enumerate() {
            match node.group.as_deref() {
                Some(group) => {
                    let process = *groups.entry(group).or_insert_with(|| {
                        processes.push(Vec::new());
                        processes.len() - 1
                    });
                    processes[process].push(index);
                }
                None => processes.push(vec![index]),
            }
        }
        processes
    }
}

/// Groups of kernels that not all of one program know.
pub(super) fn mixed_groups(plan: &Plan, hosts: &BTreeMap<String, NodeHost>) -> Vec<Diagnostic> {
    let program_of = |node: &NodePlan| match hosts.get(&node.spec.name) {
        Some(NodeHost::Program { program, .. }) => Some(program),
        Some(NodeHost::Caller) | None => None,
    };
    let mut problems = Vec::new();
    for process in plan.processes() {
        let members: Vec<&NodePlan> = process
            .iter()
            .filter_map(|&index| plan.nodes.get(index))
            .collect();
        let Some((first, others)) = members.split_first() else {
            continue;
        };
        for other in others {
            if program_of(first) != program_of(other) {
                let message = format!(
                    "kernel '{}' cannot be of a group with '{}': no program knows the kinds of both",
                    other.spec.name, first.spec.name
                );
                let hint = "built-in kernels and those in Python need groups of their own";
                problems.push(Diagnostic::new("kernels", message).with_hint(hint));
            }
        }
    }
    problems
}

/// Kernels of one process are placed and started again together.
fn group_problems(config: &PipelineConfig) -> Vec<Diagnostic> {
    let mut firsts: BTreeMap<&str, &KernelConfig> = BTreeMap::new();
    let mut problems = Vec::new();
    for (index, kernel) in config.kernels.iter().enumerate() {
        let Some(group) = kernel.group.as_deref() else {
            continue;
        };
        let first = *firsts.entry(group).or_insert(kernel);
        for (key, is_same) in [
            ("placement", first.placement == kernel.placement),
            ("restart", first.restart == kernel.restart),
            ("wait", first.wait == kernel.wait),
        ] {
            if !is_same {
                let message = format!(
                    "kernel '{}': '{key}' differs from that of '{}', which is of the same group '{group}'",
                    kernel.name, first.name
                );
                let path = format!("kernels[{index}].{key}");
                let hint = "one process has one of each: give them the same, or other groups";
                problems.push(
                    config
                        .positions
                        .locate(Diagnostic::new(path, message).with_hint(hint)),
                );
            }
        }
    }
    problems
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
    let (any_trigger, propagate_frame_id, matching, group) = match node {
        NodeConfig::Kernel(kernel) => (
            kernel.trigger_policy == TriggerPolicy::AnyNew,
            kernel.propagate_frame_id,
            matching_of(kernel),
            kernel.group.clone(),
        ),
        NodeConfig::Source(_) | NodeConfig::Sink(_) => (true, false, None, None),
    };
    let (wait, deadline, placement, restart) = match node {
        NodeConfig::Kernel(kernel) => {
            let KernelConfig {
                wait,
                deadline,
                placement,
                restart,
                ..
            } = kernel;
            (*wait, *deadline, placement, *restart)
        }
        NodeConfig::Source(source) => (
            WaitPolicy::default(),
            None,
            &source.placement,
            source.restart,
        ),
        NodeConfig::Sink(sink) => (sink.wait, sink.deadline, &sink.placement, sink.restart),
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
        matching,
        wait,
        deadline_ns: deadline.map(|deadline| nanoseconds(deadline.duration())),
        group,
        placement: placement.clone(),
        restart,
        poll_interval_ns: nanoseconds(poll_interval),
        idle_after_ns: nanoseconds(read_timeout.saturating_mul(4)).max(1_000_000_000),
        is_terminal: triggers_nobody && is_end_of_chain,
    })
}

fn matching_of(kernel: &KernelConfig) -> Option<Matching> {
    let rule = kernel.synchronization.as_ref()?;
    (rule.mode == SynchronizationMode::MatchingFrameId).then(|| Matching {
        max_skew: rule.max_skew_generations,
        max_wait_ns: rule.max_wait.map(|longest| nanoseconds(longest.duration())),
    })
}

fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
