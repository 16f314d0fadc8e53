//! The supervising thread: one loop over requests, reports and ends.

use std::io::{PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::Receiver;
use std::time::Instant;

use thalweg_os::clock::deadline_after;
use thalweg_os::descriptor;

use super::super::message::{NodeOrder, WorkerReport};
use super::super::plugin_output::PluginOutput;
use super::board::{Board, EventKind, NodeState, Phase};
use super::process::{End, WorkerProcess};
use super::restart::{Ending, RestartHistory};
use super::{Failure, Launch, Request, after};

/// What the thread works with.
pub(super) struct Watch {
    pub(super) board: Board,
    pub(super) requests: Receiver<Request>,
    pub(super) ear: PipeReader,
    pub(super) output: PluginOutput,
    pub(super) units: Vec<Unit>,
}

/// One process of workers, whether it runs or waits to be started again.
pub(super) struct Unit {
    launch: Launch,
    process: Option<WorkerProcess>,
    history: RestartHistory,
    /// Sources were let go: those started again need not wait.
    has_gone: bool,
    /// Since when all of its nodes are ready.
    ready_since: Option<Instant>,
    /// When to start it again.
    due: Option<Instant>,
    /// Started again, and to be ready by then.
    ready_by: Option<Instant>,
    /// What a node reported as the reason of its end: its row, the reason, a traceback.
    reported: Option<(Option<usize>, String, Option<String>)>,
    has_finished: bool,
}

impl Unit {
    fn rows(&self) -> impl Iterator<Item = usize> {
        self.launch.order.nodes.iter().map(|node| node.row)
    }

    fn has(&self, row: usize) -> bool {
        self.rows().any(|own| own == row)
    }
}

impl Watch {
    pub(super) fn run(&mut self) {
        loop {
            self.wait_for_something();
            while let Ok(request) = self.requests.try_recv() {
                match request {
                    Request::Start(launch) => self.start(*launch),
                    Request::Go(row) => self.go(row),
                    Request::Cancel(row) => self.cancel(row),
                    Request::Kill(row) => self.kill(row),
                    Request::End => {
                        let processes = self
                            .units
                            .iter_mut()
                            .filter_map(|unit| unit.process.as_mut());
                        processes.for_each(WorkerProcess::end);
                        return;
                    }
                }
            }
            for unit in &mut self.units {
                unit.read_reports(&self.board, &self.output);
            }
            self.bury();
            self.start_again();
        }
    }

    /// Sleeps until a request, a line, an end, or the time to start something again.
    fn wait_for_something(&mut self) {
        let mut descriptors: Vec<BorrowedFd<'_>> = vec![self.ear.as_fd()];
        for process in self.units.iter().filter_map(|unit| unit.process.as_ref()) {
            descriptors.extend(process.descriptors());
        }
        let next = self
            .units
            .iter()
            .flat_map(|unit| [unit.due, unit.ready_by])
            .flatten()
            .min();
        let deadline_ns = next.map(|next| {
            let left = next.saturating_duration_since(Instant::now());
            deadline_after(left)
        });
        let rang = descriptor::wait_readable(&descriptors, deadline_ns)
            .is_ok_and(|readable| readable.first() == Some(&true));
        if rang {
            // However often it rang: all requests are taken at once, and surplus rings only cause
            // another look.
            let mut ring = [0u8; 1];
            self.ear.read_exact(&mut ring).ok();
        }
    }

    fn start(&mut self, launch: Launch) {
        // A process that could not be ended must not be taken for the new one.
        let rows: Vec<usize> = launch.order.nodes.iter().map(|node| node.row).collect();
        self.units.retain_mut(|unit| {
            let is_succeeded = rows.iter().any(|&row| unit.has(row));
            if is_succeeded && let Some(process) = &mut unit.process {
                process.kill();
            }
            !is_succeeded
        });
        let mut unit = Unit {
            launch,
            process: None,
            history: RestartHistory::default(),
            has_gone: false,
            ready_since: None,
            due: None,
            ready_by: None,
            reported: None,
            has_finished: false,
        };
        if unit.start(&self.board) {
            self.units.push(unit);
        }
    }

    fn unit_of(&mut self, row: usize) -> Option<&mut Unit> {
        self.units.iter_mut().find(|unit| unit.has(row))
    }

    fn go(&mut self, row: usize) {
        if let Some(unit) = self.unit_of(row) {
            unit.has_gone = true;
            if let Some(process) = &mut unit.process {
                process.go();
            }
        }
    }

    fn kill(&mut self, row: usize) {
        if let Some(process) = self.unit_of(row).and_then(|unit| unit.process.as_mut()) {
            process.kill();
        }
    }

    /// The end of the node is wanted: one that waits to be started again has ended already.
    fn cancel(&mut self, row: usize) {
        let waits = |unit: &Unit| unit.has(row) && unit.process.is_none();
        if let Some(index) = self.units.iter().position(waits) {
            let unit = self.units.swap_remove(index);
            unit.stopped(&self.board);
        }
    }

    /// Takes note of the processes that have ended.
    fn bury(&mut self) {
        let mut index = 0;
        while index < self.units.len() {
            let unit = &mut self.units[index];
            let end = unit.process.as_mut().and_then(WorkerProcess::take_end);
            let Some(end) = end else {
                index += 1;
                continue;
            };
            // What it said between the last look and its end.
            unit.read_reports(&self.board, &self.output);
            let process = unit.process.take();
            let last_errors = process.map_or_else(Vec::new, |mut process| process.last_errors());
            if unit.ended(&end, &last_errors, &self.board) {
                index += 1;
            } else {
                self.units.swap_remove(index);
            }
        }
    }

    fn start_again(&mut self) {
        let now = Instant::now();
        let mut index = 0;
        while index < self.units.len() {
            let unit = &mut self.units[index];
            if unit.ready_by.is_some_and(|ready_by| ready_by <= now) {
                unit.ready_by = None;
                unit.reported = Some((None, unit.not_ready(), None));
                if let Some(process) = &mut unit.process {
                    process.kill();
                }
            }
            let is_due = unit.due.is_some_and(|due| due <= now);
            if is_due && !unit.start_once_more(&self.board, now) {
                self.units.swap_remove(index);
            } else {
                index += 1;
            }
        }
    }
}

impl Unit {
    /// Starts the process; whether there is one now, or will be.
    fn start(&mut self, board: &Board) -> bool {
        let Launch { order, program, .. } = &self.launch;
        match WorkerProcess::start(program, order, self.has_gone) {
            Ok(process) => {
                for row in self.rows() {
                    board.update(row, |state| {
                        state.phase = Phase::Starting;
                        state.pid = Some(process.pid());
                        state.exit_code = None;
                    });
                }
                self.process = Some(process);
                true
            }
            Err(error) => {
                let error = format!(
                    "cannot start the worker program {}: {error}",
                    program.program.display()
                );
                self.failed(board, None, None, &error, None, &[])
            }
        }
    }

    fn start_once_more(&mut self, board: &Board, now: Instant) -> bool {
        self.due = None;
        self.reported = None;
        self.has_finished = false;
        self.ready_by = Some(after(now, self.launch.start_timeout));
        for row in self.rows() {
            board.update(row, |state| state.restarts += 1);
        }
        self.start(board)
    }

    fn not_ready(&self) -> String {
        let timeout_s = self.launch.start_timeout.as_secs_f64();
        format!("not ready after {timeout_s} s")
    }

    /// Takes whatever the process has said so far.
    fn read_reports(&mut self, board: &Board, output: &PluginOutput) {
        let Some(process) = &mut self.process else {
            return;
        };
        let pid = process.pid();
        let nodes = &self.launch.order.nodes;
        let plugin = nodes.iter().find(|node| !node.plugin.is_null());
        for line in process.printed() {
            if let Some(plugin) = plugin {
                output.print(&plugin.spec.name, &line);
            }
        }
        for report in process.reports() {
            match report {
                WorkerReport::Ready {
                    row,
                    figures,
                    placement,
                } => {
                    if let Some(node) = self.launch.order.nodes.iter().find(|node| node.row == row)
                    {
                        board.update(row, |state| {
                            state.phase = Phase::Ready;
                            state.figures = figures;
                            state.placement = placement;
                        });
                        let kind = EventKind::Started { pid: Some(pid) };
                        board.note(&node.spec.name, self.launch.order.role, kind);
                    }
                }
                WorkerReport::Metrics { metrics } => {
                    if let Some(node) = plugin {
                        board.update(node.row, |state| state.metrics = Some(metrics));
                    }
                }
                WorkerReport::Finished => self.has_finished = true,
                WorkerReport::Failed {
                    row,
                    error,
                    traceback,
                } => self.reported = Some((row, error, traceback)),
            }
        }
        let is_ready = |row: usize| board.node(row).phase == Phase::Ready;
        if self.ready_since.is_none() && self.rows().all(is_ready) {
            self.ready_since = Some(Instant::now());
            self.ready_by = None;
        }
    }

    /// Takes note of the end of its process; false if that is the end of the unit.
    fn ended(&mut self, end: &End, last_errors: &[String], board: &Board) -> bool {
        for row in self.rows() {
            board.update(row, |state| state.exit_code = end.exit_code());
        }
        let is_stopping = self.rows().any(|row| board.node(row).is_stopping);
        let reported = self.reported.take();
        if is_stopping && reported.is_none() {
            self.stopped(board);
            return false;
        }
        if self.has_finished && end.status.is_none_or(|status| status.success()) {
            return self.finished(board);
        }
        let (row, error, traceback) = reported.unwrap_or_else(|| (None, end.describe(), None));
        self.failed(board, Some(end.pid), row, &error, traceback, last_errors)
    }

    fn stopped(&self, board: &Board) {
        self.settle(board, Phase::Stopped, |_| EventKind::Stopped);
    }

    fn settle(&self, board: &Board, phase: Phase, event: impl Fn(&NodeOrder) -> EventKind) {
        for node in &self.launch.order.nodes {
            board.note(&node.spec.name, self.launch.order.role, event(node));
            board.update(node.row, |state| state.phase = phase);
        }
    }

    fn finished(&mut self, board: &Board) -> bool {
        if self.will_start_again(board, Ending::Finished, "it came to its end") {
            return true;
        }
        self.settle(board, Phase::Finished, |_| EventKind::Finished);
        false
    }

    fn failed(
        &mut self,
        board: &Board,
        pid: Option<u32>,
        row: Option<usize>,
        error: &str,
        traceback: Option<String>,
        stderr: &[String],
    ) -> bool {
        if self.will_start_again(board, Ending::Failed, error) {
            return true;
        }
        let order = &self.launch.order;
        let culprit = order.nodes.iter().find(|node| Some(node.row) == row);
        for node in &order.nodes {
            let is_bystander = culprit.is_some_and(|culprit| culprit.row != node.row);
            let failure = Failure {
                node: node.spec.name.clone(),
                role: order.role,
                kind: node.spec.kind.clone(),
                pid,
                error: match culprit {
                    Some(culprit) if is_bystander => {
                        format!("ended with '{}', which is of its group", culprit.spec.name)
                    }
                    _ => error.to_owned(),
                },
                traceback: if is_bystander {
                    None
                } else {
                    traceback.clone()
                },
                stderr: if is_bystander {
                    Vec::new()
                } else {
                    stderr.to_vec()
                },
            };
            let kind = EventKind::Failed {
                failure: failure.clone(),
            };
            board.note(&node.spec.name, order.role, kind);
            board.update(node.row, |state| {
                state.phase = Phase::Failed;
                state.failure = Some(failure);
            });
        }
        false
    }

    /// Plans another start, if there is to be one. A unit that never was ready is not started
    /// again: whoever waits for it is told instead.
    fn will_start_again(&mut self, board: &Board, ending: Ending, error: &str) -> bool {
        let is_stopping = |row: usize| board.node(row).is_stopping;
        let was_ready =
            self.ready_since.is_some() || self.rows().any(|row| board.node(row).restarts > 0);
        if !was_ready || self.rows().any(is_stopping) {
            return false;
        }
        let now = Instant::now();
        let ready_since = self.ready_since.take();
        let rule = &self.launch.restart;
        let Some(delay) = self.history.next(rule, ending, ready_since, now) else {
            return false;
        };
        self.due = Some(after(now, delay));
        self.ready_by = None;
        let event = |_: &NodeOrder| EventKind::Restarting {
            error: error.to_owned(),
            delay_s: delay.as_secs_f64(),
        };
        self.settle(board, Phase::Restarting, event);
        for row in self.rows() {
            board.update(row, |state: &mut NodeState| {
                state.last_error = Some(error.to_owned());
                state.pid = None;
            });
        }
        true
    }
}
