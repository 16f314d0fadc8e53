//! Changing a running pipeline: all or nothing, and whoever is not concerned goes on.
//!
//! What is new is made and started first, and waits. Only when all of it is ready do the nodes end
//! that are replaced or removed, and what is new begins where they stopped. Up to then everything
//! can be taken back without anybody having noticed.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use thalweg_shm::counters::command;

use super::error::PipelineError;
use super::options::NodeHost;
use super::pipeline::{Built, Pipeline};
use super::plan::{NodePlan, Plan, mixed_groups};
use super::status::PipelineState;
use crate::config::{Diagnostics, KernelConfig, PipelineConfig, StreamConfig, validate_hosted};

/// How long replaced and removed nodes may take to end before they are killed.
const END_TIMEOUT: Duration = Duration::from_secs(5);

impl Pipeline {
    /// Adds `kernel`, and the streams it needs that are not there yet.
    ///
    /// # Errors
    ///
    /// As [`Pipeline::change`].
    pub fn add_kernel(
        &mut self,
        kernel: KernelConfig,
        streams: Vec<StreamConfig>,
    ) -> Result<(), PipelineError> {
        let mut config = self.config.clone();
        config.kernels.push(kernel);
        config.streams.extend(streams);
        self.change(config, self.options.hosts.clone())
    }

    /// Puts `kernel` in the place of the one with its name. The new one begins with a fresh state,
    /// with the first frame that the old one did not take.
    ///
    /// # Errors
    ///
    /// As [`Pipeline::change`].
    pub fn replace_kernel(&mut self, kernel: KernelConfig) -> Result<(), PipelineError> {
        let mut config = self.config.clone();
        let name = kernel.name.clone();
        match config.kernels.iter_mut().find(|old| old.name == name) {
            Some(old) => *old = kernel,
            None => return Err(self.no_such_kernel(&name)),
        }
        self.change(config, self.options.hosts.clone())
    }

    /// Removes the kernel `name`; its streams stay.
    ///
    /// # Errors
    ///
    /// As [`Pipeline::change`].
    pub fn remove_kernel(&mut self, name: &str) -> Result<(), PipelineError> {
        let mut config = self.config.clone();
        config.kernels.retain(|kernel| kernel.name != name);
        if config.kernels.len() == self.config.kernels.len() {
            return Err(self.no_such_kernel(name));
        }
        let mut hosts = self.options.hosts.clone();
        hosts.remove(name);
        self.change(config, hosts)
    }

    fn no_such_kernel(&self, name: &str) -> PipelineError {
        let known: Vec<&str> = self
            .config
            .kernels
            .iter()
            .map(|one| one.name.as_str())
            .collect();
        PipelineError::Change {
            reason: format!(
                "there is no kernel '{name}'; there are {}",
                known.join(", ")
            ),
        }
    }

    /// Makes the running pipeline that of `config`, with `hosts` for nodes that run elsewhere. Nodes
    /// and streams that are the same in both are not touched.
    ///
    /// # Errors
    ///
    /// The pipeline is neither running nor paused; `config` is invalid, or changes the namespace or
    /// a stream that is there already; something that is new could not be made or did not become
    /// ready. Then the pipeline runs on as it was.
    pub fn change(
        &mut self,
        config: PipelineConfig,
        hosts: BTreeMap<String, NodeHost>,
    ) -> Result<(), PipelineError> {
        self.expect(
            "change",
            "RUNNING or PAUSED",
            &[PipelineState::Running, PipelineState::Paused],
        )?;
        let is_hosted = |name: &str| hosts.contains_key(name);
        let problems = validate_hosted(&config, &self.registry, &is_hosted);
        if !problems.is_empty() {
            return Err(Diagnostics(problems).into());
        }
        let plan = Plan::new(&config).map_err(Diagnostics)?;
        let problems = mixed_groups(&plan, &hosts);
        if !problems.is_empty() {
            return Err(Diagnostics(problems).into());
        }
        self.refuse_impossible(&config)?;
        let kept = self.kept_rows(&config, &hosts, &plan);
        let rows = self.rows_for(&plan, &kept)?;
        let old_hosts = std::mem::replace(&mut self.options.hosts, hosts);
        match self.begin(&config, &plan, &rows, &kept) {
            Ok(()) => {
                self.take_over(config, plan, rows, &kept);
                Ok(())
            }
            Err(error) => {
                self.options.hosts = old_hosts;
                Err(error)
            }
        }
    }

    fn refuse_impossible(&self, config: &PipelineConfig) -> Result<(), PipelineError> {
        let refuse = |reason: String| Err(PipelineError::Change { reason });
        if config.namespace != self.config.namespace {
            return refuse("the namespace is part of the names of all its streams; stop it".into());
        }
        for stream in &self.config.streams {
            if config.stream(&stream.name).is_some_and(|new| new != stream) {
                return refuse(format!(
                    "stream '{}' is in use as it is; give the new one another name, or stop the pipeline",
                    stream.name
                ));
            }
        }
        Ok(())
    }

    /// Rows of the nodes of `plan` that go on as they are, by their index in it. A group is kept or
    /// replaced as a whole.
    fn kept_rows(
        &self,
        config: &PipelineConfig,
        hosts: &BTreeMap<String, NodeHost>,
        plan: &Plan,
    ) -> Vec<Option<usize>> {
        let is_same = |name: &str| {
            let new = config.nodes().find(|node| node.name() == name);
            let old = self.config.nodes().find(|node| node.name() == name);
            new == old && hosts.get(name) == self.options.hosts.get(name)
        };
        let row_of = |node: &NodePlan| {
            let mut known = self.plan.nodes.iter().zip(&self.rows);
            let (_, row) = known.find(|(old, _)| old.spec.name == node.spec.name)?;
            is_same(&node.spec.name).then_some(*row)
        };
        let mut kept: Vec<Option<usize>> = plan.nodes.iter().map(row_of).collect();
        let old_members = |group: &str| {
            let nodes = self.plan.nodes.iter();
            nodes
                .filter(|node| node.group.as_deref() == Some(group))
                .count()
        };
        for process in plan.processes() {
            let Some(group) = process
                .first()
                .and_then(|&first| plan.nodes.get(first)?.group.clone())
            else {
                continue;
            };
            let is_whole = process.len() == old_members(&group)
                && process.iter().all(|&index| kept[index].is_some());
            if !is_whole {
                process.iter().for_each(|&index| kept[index] = None);
            }
        }
        kept
    }

    /// A row for every node: that of a kept one, or one that nobody uses.
    fn rows_for(&self, plan: &Plan, kept: &[Option<usize>]) -> Result<Vec<usize>, PipelineError> {
        let capacity = self
            .built
            .as_ref()
            .map_or(0, |built| built.counters.node_count());
        let mut free = (0..capacity).filter(|row| !self.rows.contains(row));
        let rows: Option<Vec<usize>> = kept.iter().map(|row| row.or_else(|| free.next())).collect();
        rows.ok_or_else(|| PipelineError::Change {
            reason: format!(
                "there is no room for so many new nodes at once ({} of {}); change it in steps, or \
                 stop it",
                kept.iter().filter(|row| row.is_none()).count(),
                plan.nodes.len()
            ),
        })
    }

    /// Makes what is new and has it wait; takes everything back if that fails.
    fn begin(
        &mut self,
        config: &PipelineConfig,
        plan: &Plan,
        rows: &[usize],
        kept: &[Option<usize>],
    ) -> Result<(), PipelineError> {
        let directory = self.options.directory.clone();
        let Some(built) = &mut self.built else {
            return Ok(());
        };
        let new_streams = built.streams.add(plan, &directory)?;
        let new_rows = new_rows(rows, kept);
        let launches = self.launches(config, plan, rows, |row| new_rows.contains(&row));
        let timeout = self.start_timeout();
        let Some(built) = &mut self.built else {
            return Ok(());
        };
        for &row in &new_rows {
            let counters = built.counters.node(row);
            counters.clear();
            counters.command.store(command::PAUSE, Ordering::Release);
        }
        for launch in launches {
            built.supervisor.start(launch);
        }
        let Err(reason) = built.wait_until_ready(&new_rows, timeout) else {
            return Ok(());
        };
        built.end(&new_rows, Instant::now());
        for &row in &new_rows {
            built
                .board()
                .update(row, |state| *state = Default::default());
        }
        built.streams.forget(&new_streams);
        let names = plan.nodes.iter().zip(rows);
        let name_of = |row: usize| {
            let mut names = names.clone();
            names
                .find(|(_, own)| **own == row)
                .map(|(node, _)| node.spec.name.clone())
        };
        Err(self.not_ready(reason, name_of))
    }

    /// Ends what is replaced or removed, and lets what is new begin.
    fn take_over(
        &mut self,
        config: PipelineConfig,
        plan: Plan,
        rows: Vec<usize>,
        kept: &[Option<usize>],
    ) {
        let new_rows = new_rows(&rows, kept);
        let old_plan = std::mem::replace(&mut self.plan, plan);
        let old_rows = std::mem::replace(&mut self.rows, rows);
        self.config = config;
        let ending: Vec<usize> = old_rows
            .iter()
            .copied()
            .filter(|row| !self.rows.contains(row))
            .collect();
        let wanted = if self.is_paused {
            command::PAUSE
        } else {
            command::RUN
        };
        if let Some(built) = &mut self.built {
            built.end(&ending, Instant::now() + END_TIMEOUT);
            for (node, &row) in self.plan.nodes.iter().zip(&self.rows) {
                if new_rows.contains(&row) {
                    let old = old_plan.nodes.iter().zip(&old_rows);
                    hand_over(built, node, row, old);
                    built.command(row, wanted);
                }
            }
            for &row in &ending {
                built
                    .board()
                    .update(row, |state| *state = Default::default());
            }
            let streams: Vec<String> = built
                .streams
                .names()
                .filter(|name| self.config.stream(name).is_none())
                .map(str::to_owned)
                .collect();
            built.streams.forget(&streams);
        }
        self.let_sources_go(&new_rows);
        self.describe_rows();
    }
}

fn new_rows(rows: &[usize], kept: &[Option<usize>]) -> Vec<usize> {
    let new = rows.iter().zip(kept).filter(|(_, kept)| kept.is_none());
    new.map(|(row, _)| *row).collect()
}

/// A node that takes the place of another goes on after the last frame that one took.
fn hand_over<'plan>(
    built: &Built,
    node: &NodePlan,
    row: usize,
    mut old: impl Iterator<Item = (&'plan NodePlan, &'plan usize)>,
) {
    let predecessor = old.find(|(old, _)| {
        old.spec.name == node.spec.name && old.inputs.first() == node.inputs.first()
    });
    if let Some((_, &old_row)) = predecessor {
        let taken = built
            .counters
            .node(old_row)
            .input_count
            .load(Ordering::Acquire);
        // One that took none has nothing to go on from: what was there before its start is not new.
        if taken > 0 {
            let counters = built.counters.node(row);
            counters
                .resume_after
                .store(taken.saturating_add(1), Ordering::Relaxed);
        }
    }
}
