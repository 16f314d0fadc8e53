//! From planned nodes to processes to be started.

use thalweg_os::affinity;

use super::hosted_document::hosted_document;
use super::message::{NodeOrder, PlacementOrder, Role, WorkerOrder};
use super::options::NodeHost;
use super::pipeline::Pipeline;
use super::placement::round_robin;
use super::plan::{NodePlan, Plan};
use super::supervisor::{Launch, WorkerProgram};
use crate::config::{PipelineConfig, PlacementPolicy};

impl Pipeline {
    /// The processes of `plan`, which is that of `config` and whose nodes have `rows`, that have a node
    /// in a row that `is_wanted`.
    pub(super) fn launches(
        &self,
        config: &PipelineConfig,
        plan: &Plan,
        rows: &[usize],
        is_wanted: impl Fn(usize) -> bool,
    ) -> Vec<Launch> {
        let Some(built) = &self.built else {
            return Vec::new();
        };
        let processes = plan.processes();
        let is_kept = |process: &[usize]| {
            let mut rows = process.iter().filter_map(|&index| rows.get(index));
            !rows.any(|&row| is_wanted(row))
        };
        let taken: Vec<usize> = processes
            .iter()
            .filter(|process| is_kept(process))
            .filter_map(|process| rows.get(*process.first()?))
            .filter_map(
                |&row| match built.board().node(row).placement.cpus.as_slice() {
                    [cpu] => Some(*cpu),
                    _ => None,
                },
            )
            .collect();
        let slots = self.cpu_slots(config, plan, &processes, is_kept, &taken);
        let mut launches = Vec::new();
        for (process, slot) in processes.iter().zip(slots) {
            let members: Vec<(&NodePlan, usize)> = process
                .iter()
                .filter_map(|&index| Some((plan.nodes.get(index)?, *rows.get(index)?)))
                .collect();
            let Some(&(first, _)) = members.first() else {
                continue;
            };
            if !members.iter().any(|&(_, row)| is_wanted(row)) {
                continue;
            }
            let Some((program, _)) = self.host_of(first) else {
                continue;
            };
            let order = WorkerOrder {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                parent_pid: std::process::id(),
                counters: built.counters.path().to_owned(),
                directory: self.options.directory.path().to_owned(),
                role: first.role,
                placement: PlacementOrder::new(&first.placement, slot),
                nodes: members
                    .iter()
                    .map(|&(node, row)| self.node_order(config, node, row))
                    .collect(),
            };
            launches.push(Launch {
                order,
                program,
                restart: first.restart,
                start_timeout: self.options.start_timeout,
            });
        }
        launches
    }

    fn node_order(&self, config: &PipelineConfig, node: &NodePlan, row: usize) -> NodeOrder {
        let plugin = self.host_of(node).map(|(_, plugin)| plugin);
        let plugin = plugin.unwrap_or_default();
        NodeOrder {
            row,
            spec: node.spec.clone(),
            inputs: node.inputs.clone(),
            auxiliary: node.auxiliary.clone(),
            outputs: node.outputs.clone(),
            any_trigger: node.any_trigger,
            propagate_frame_id: node.propagate_frame_id,
            matching: node.matching,
            wait: node.wait,
            deadline_ns: node.deadline_ns,
            poll_interval_ns: node.poll_interval_ns,
            document: if plugin.is_null() {
                serde_json::Value::Null
            } else {
                hosted_document(config, node.role, &node.spec.name)
            },
            plugin,
        }
    }

    /// The program that runs `node`, and what it is told; `None` if the caller runs it.
    pub(super) fn host_of(&self, node: &NodePlan) -> Option<(WorkerProgram, serde_json::Value)> {
        match self.options.hosts.get(&node.spec.name) {
            Some(NodeHost::Caller) => None,
            Some(NodeHost::Program { program, plugin }) => Some((program.clone(), plugin.clone())),
            None => Some((self.options.worker_program.clone(), serde_json::Value::Null)),
        }
    }

    /// The CPU for each of `processes` that is to be started and asks for none; only kernels get
    /// one, and none that another process has `taken`.
    fn cpu_slots(
        &self,
        config: &PipelineConfig,
        plan: &Plan,
        processes: &[Vec<usize>],
        is_kept: impl Fn(&[usize]) -> bool,
        taken: &[usize],
    ) -> Vec<Option<usize>> {
        let first_of = |process: &[usize]| process.first().and_then(|&index| plan.nodes.get(index));
        if let Some(slots) = &self.options.cpu_slots {
            let slot_of = |node: &NodePlan| slots.get(&node.spec.name).copied().flatten();
            let slots = processes
                .iter()
                .map(|process| first_of(process).and_then(slot_of));
            return slots.collect();
        }
        if config.placement.policy == PlacementPolicy::None {
            return vec![None; processes.len()];
        }
        let is_placed = |process: &[usize]| {
            let is_placed =
                |node: &NodePlan| node.role == Role::Kernel && node.placement.cpus.is_none();
            !is_kept(process) && first_of(process).is_some_and(is_placed)
        };
        let wanting = processes
            .iter()
            .filter(|process| is_placed(process))
            .count();
        // Without knowing the CPUs there is nothing to choose from.
        let mut allowed = affinity::allowed_cpus().unwrap_or_default();
        allowed.retain(|cpu| !taken.contains(cpu));
        let mut round = round_robin(wanting, &allowed, config.placement.offset).into_iter();
        let slots = processes
            .iter()
            .map(|process| is_placed(process).then(|| round.next().flatten()).flatten());
        slots.collect()
    }
}
