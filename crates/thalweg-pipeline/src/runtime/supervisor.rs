//! Starts workers and watches them, from one thread that lives as long as the run.
//!
//! One thread, because the kernel's parent-death signal follows the thread that started a process,
//! and because everything that can happen to a worker then happens in one loop: a request, a line
//! on one of its pipes, its end.

use std::collections::VecDeque;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use serde::Serialize;
use thalweg_kernels::Figure;
use thalweg_os::{descriptor, process};

use super::message::{GO, Role, WorkerOrder, WorkerReport};

/// The program workers run, and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerProgram {
    /// The `thalweg` binary.
    pub program: PathBuf,
    /// Arguments that make it a worker.
    pub arguments: Vec<String>,
}

impl WorkerProgram {
    /// The `thalweg` binary at `program`.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: vec!["worker".to_owned()],
        }
    }
}

/// A worker that could not go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Name of the kernel, source or sink.
    pub node: String,
    /// Its role.
    pub role: Role,
    /// Its kind.
    pub kind: String,
    /// Pid of the process.
    pub pid: Option<u32>,
    /// What happened.
    pub error: String,
    /// Where an exception was raised, as the language of the node prints it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceback: Option<String>,
    /// The last lines the process wrote to its standard error.
    pub stderr: Vec<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let noun = match self.role {
            Role::Kernel => "worker",
            role => role.noun(),
        };
        write!(f, "{noun} '{}' failed: {}", self.node, self.error)?;
        for line in &self.stderr {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// Never started, or forgotten.
    #[default]
    Absent,
    /// Started, not ready yet.
    Starting,
    /// At work.
    Ready,
    /// A source that came to its end.
    Finished,
    /// Ended, as it was told to.
    Stopped,
    /// Ended otherwise.
    Failed,
}

impl Phase {
    /// True while there is a process.
    pub(super) fn is_running(self) -> bool {
        matches!(self, Self::Starting | Self::Ready)
    }
}

/// What is known about one node.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeState {
    pub(super) phase: Phase,
    pub(super) pid: Option<u32>,
    pub(super) exit_code: Option<i32>,
    pub(super) figures: Vec<Figure>,
    pub(super) failure: Option<Failure>,
    /// True once the node was told to end: then its end is no failure.
    pub(super) is_stopping: bool,
}

#[derive(Debug, Default)]
struct Shared {
    nodes: Mutex<Vec<NodeState>>,
    changed: Condvar,
}

impl Shared {
    fn nodes(&self) -> MutexGuard<'_, Vec<NodeState>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, node: usize, change: impl FnOnce(&mut NodeState)) {
        if let Some(state) = self.nodes().get_mut(node) {
            change(state);
        }
        self.changed.notify_all();
    }
}

enum Request {
    Start(Box<WorkerOrder>, WorkerProgram),
    Go(usize),
    Kill(usize),
    End,
}

/// The supervising thread, as its owner sees it.
#[derive(Debug)]
pub(super) struct Supervisor {
    requests: SyncSender<Request>,
    bell: PipeWriter,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Supervisor {
    /// Starts the thread, for `nodes` nodes.
    pub(super) fn new(nodes: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        shared.nodes().resize_with(nodes, NodeState::default);
        let (requests, received) = sync_channel(2 * nodes + 16);
        let (ear, bell) = io::pipe()?;
        let mut watch = Watch {
            shared: Arc::clone(&shared),
            requests: received,
            ear,
            workers: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name("thalweg-supervisor".to_owned())
            .spawn(move || watch.run())?;
        Ok(Self {
            requests,
            bell,
            shared,
            thread: Some(thread),
        })
    }

    fn request(&self, request: Request) {
        // The thread lives as long as self; a full bell pipe rings anyway.
        if self.requests.send(request).is_ok() {
            (&self.bell).write_all(&[1]).ok();
        }
    }

    /// What a node in the caller's own process says about itself.
    pub(super) fn board(&self) -> Board {
        Board(Arc::clone(&self.shared))
    }

    /// Starts a worker that runs `program`.
    pub(super) fn start(&self, order: WorkerOrder, program: WorkerProgram) {
        let node = order.node;
        self.shared.update(node, |state| {
            *state = NodeState {
                phase: Phase::Starting,
                ..NodeState::default()
            };
        });
        self.request(Request::Start(Box::new(order), program));
    }

    /// Lets a source begin.
    pub(super) fn go(&self, node: usize) {
        self.request(Request::Go(node));
    }

    /// The end of `node` is wanted from now on.
    pub(super) fn expect_end(&self, node: usize) {
        self.shared.update(node, |state| state.is_stopping = true);
    }

    /// Kills the worker of `node`.
    pub(super) fn kill(&self, node: usize) {
        self.request(Request::Kill(node));
    }

    /// What is known about every node.
    pub(super) fn nodes(&self) -> Vec<NodeState> {
        self.shared.nodes().clone()
    }

    /// Waits until `is_done` says so about the nodes, or until `deadline`; whether it did.
    pub(super) fn wait_until(
        &self,
        deadline: Option<Instant>,
        mut is_done: impl FnMut(&[NodeState]) -> bool,
    ) -> bool {
        let mut nodes = self.shared.nodes();
        loop {
            if is_done(&nodes) {
                return true;
            }
            nodes = match deadline {
                None => self
                    .shared
                    .changed
                    .wait(nodes)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return false;
                    }
                    self.shared
                        .changed
                        .wait_timeout(nodes, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
    }
}

/// Where nodes without a process of their own make known how they are.
#[derive(Clone, Debug)]
pub(super) struct Board(Arc<Shared>);

impl Board {
    pub(super) fn update(&self, node: usize, change: impl FnOnce(&mut NodeState)) {
        self.0.update(node, change);
    }
}

impl Drop for Supervisor {
    /// Kills what still runs.
    fn drop(&mut self) {
        self.request(Request::End);
        if let Some(thread) = self.thread.take() {
            // It has no reason to panic; if it did, its workers die with it.
            thread.join().ok();
        }
    }
}

/// One process under watch.
struct WatchedWorker {
    order: WorkerOrder,
    child: Child,
    ended: OwnedFd,
    output: Option<Lines<ChildStdout>>,
    errors: Option<Lines<ChildStderr>>,
    last_errors: VecDeque<String>,
    reported: Option<(String, Option<String>)>,
    has_finished: bool,
}

/// Lines kept of a worker's standard error.
const ERROR_LINES: usize = 20;

struct Watch {
    shared: Arc<Shared>,
    requests: Receiver<Request>,
    ear: PipeReader,
    workers: Vec<WatchedWorker>,
}

impl Watch {
    fn run(&mut self) {
        loop {
            self.wait_for_something();
            while let Ok(request) = self.requests.try_recv() {
                match request {
                    Request::Start(order, program) => self.start(*order, &program),
                    Request::Go(node) => self.go(node),
                    Request::Kill(node) => self.kill(node),
                    Request::End => {
                        self.kill_all();
                        return;
                    }
                }
            }
            for worker in &mut self.workers {
                worker.read_reports(&self.shared);
            }
            self.bury();
        }
    }

    /// Sleeps until a request, a line or an end.
    fn wait_for_something(&mut self) {
        let mut descriptors: Vec<BorrowedFd<'_>> = vec![self.ear.as_fd()];
        for worker in &self.workers {
            descriptors.push(worker.ended.as_fd());
            descriptors.extend(worker.output.iter().map(|lines| lines.source.as_fd()));
            descriptors.extend(worker.errors.iter().map(|lines| lines.source.as_fd()));
        }
        let rang = descriptor::wait_readable(&descriptors, None)
            .is_ok_and(|readable| readable.first() == Some(&true));
        if rang {
            // However often it rang: all requests are taken at once, and surplus rings only cause
            // another look.
            let mut ring = [0u8; 1];
            self.ear.read_exact(&mut ring).ok();
        }
    }

    fn start(&mut self, order: WorkerOrder, program: &WorkerProgram) {
        let node = order.node;
        match WatchedWorker::start(program, order.clone()) {
            Ok(worker) => {
                let pid = worker.child.id();
                self.shared.update(node, |state| state.pid = Some(pid));
                self.workers.push(worker);
            }
            Err(error) => {
                let failure = Failure {
                    node: order.spec.name.clone(),
                    role: order.role,
                    kind: order.spec.kind.clone(),
                    pid: None,
                    error: format!(
                        "cannot start the worker program {}: {error}",
                        program.program.display()
                    ),
                    traceback: None,
                    stderr: Vec::new(),
                };
                self.shared.update(node, |state| {
                    state.phase = Phase::Failed;
                    state.failure = Some(failure);
                });
            }
        }
    }

    fn go(&mut self, node: usize) {
        let worker = self
            .workers
            .iter_mut()
            .find(|worker| worker.order.node == node);
        if let Some(input) = worker.and_then(|worker| worker.child.stdin.as_mut()) {
            // If it has ended meanwhile, its end says so.
            input.write_all(GO.as_bytes()).ok();
        }
    }

    fn kill(&mut self, node: usize) {
        let worker = self
            .workers
            .iter_mut()
            .find(|worker| worker.order.node == node);
        if let Some(worker) = worker {
            worker.child.kill().ok();
        }
    }

    fn kill_all(&mut self) {
        for worker in &mut self.workers {
            worker.child.kill().ok();
            worker.child.wait().ok();
        }
    }

    /// Takes note of the workers that have ended.
    fn bury(&mut self) {
        let mut index = 0;
        while index < self.workers.len() {
            match self.workers[index].child.try_wait() {
                Ok(None) | Err(_) => index += 1,
                Ok(Some(status)) => {
                    let mut worker = self.workers.swap_remove(index);
                    worker.read_reports(&self.shared);
                    worker.note_end(status, &self.shared);
                }
            }
        }
    }
}

impl WatchedWorker {
    fn start(program: &WorkerProgram, order: WorkerOrder) -> io::Result<Self> {
        let mut line = serde_json::to_string(&order)?;
        line.push('\n');
        let mut child = Command::new(&program.program)
            .args(&program.arguments)
            // One worker is one core: libraries must not start a thread per CPU in each.
            .env("OMP_NUM_THREADS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let ended = process::watch(child.id());
        // An order is far smaller than a pipe, so this does not wait for the worker to read it.
        let written = match child.stdin.as_mut() {
            Some(input) => input.write_all(line.as_bytes()),
            None => Ok(()),
        };
        let ended = match (ended, written) {
            (Ok(ended), Ok(())) => ended,
            (Err(error), _) | (_, Err(error)) => {
                child.kill().ok();
                child.wait().ok();
                return Err(error);
            }
        };
        Ok(Self {
            output: child.stdout.take().map(Lines::new),
            errors: child.stderr.take().map(Lines::new),
            order,
            child,
            ended,
            last_errors: VecDeque::new(),
            reported: None,
            has_finished: false,
        })
    }

    /// Takes whatever the worker has said so far.
    fn read_reports(&mut self, shared: &Shared) {
        for line in Lines::take(&mut self.output) {
            let node = self.order.node;
            match serde_json::from_str(&line) {
                Ok(WorkerReport::Ready { figures }) => shared.update(node, |state| {
                    state.phase = Phase::Ready;
                    state.figures = figures;
                }),
                Ok(WorkerReport::Finished) => self.has_finished = true,
                Ok(WorkerReport::Failed { error, traceback }) => {
                    self.reported = Some((error, traceback));
                }
                // Something a library printed.
                Err(_) => self.note_error_line(line),
            }
        }
        for line in Lines::take(&mut self.errors) {
            self.note_error_line(line);
        }
    }

    fn note_error_line(&mut self, line: String) {
        if self.last_errors.len() == ERROR_LINES {
            self.last_errors.pop_front();
        }
        self.last_errors.push_back(line);
    }

    fn note_end(self, status: ExitStatus, shared: &Shared) {
        let (has_finished, has_reported) = (self.has_finished, self.reported.is_some());
        let (error, traceback) = self.reported.unwrap_or_else(|| (describe(status), None));
        let failure = Failure {
            node: self.order.spec.name.clone(),
            role: self.order.role,
            kind: self.order.spec.kind.clone(),
            pid: Some(self.child.id()),
            error,
            traceback,
            stderr: self.last_errors.into(),
        };
        shared.update(self.order.node, |state| {
            state.exit_code = status
                .code()
                .or_else(|| status.signal().map(|signal| -signal));
            state.phase = if state.is_stopping && !has_reported {
                Phase::Stopped
            } else if has_finished && status.success() {
                Phase::Finished
            } else {
                state.failure = Some(failure);
                Phase::Failed
            };
        });
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("worker exited with code {code}"),
        (None, Some(signal)) => format!("worker was killed by signal {signal}"),
        (None, None) => "worker ended".to_owned(),
    }
}

/// Whole lines from a pipe, without waiting for them.
struct Lines<R> {
    source: R,
    partial: Vec<u8>,
}

/// Longest line kept; what a worker reports is far shorter.
const MAX_LINE_BYTES: usize = 1 << 20;

impl<R: Read + AsFd> Lines<R> {
    fn new(source: R) -> Self {
        Self {
            source,
            partial: Vec::new(),
        }
    }

    /// All complete lines there are now. At the end of the pipe `lines` becomes `None`.
    fn take(lines: &mut Option<Self>) -> Vec<String> {
        let mut taken = Vec::new();
        while let Some(this) = lines {
            let is_readable = descriptor::wait_readable(&[this.source.as_fd()], Some(0))
                .is_ok_and(|readable| readable == [true]);
            if !is_readable {
                break;
            }
            let mut bytes = [0u8; 4096];
            match this.source.read(&mut bytes) {
                Ok(0) | Err(_) => {
                    if !this.partial.is_empty() {
                        taken.push(String::from_utf8_lossy(&this.partial).into_owned());
                    }
                    *lines = None;
                }
                Ok(count) => {
                    this.partial.extend_from_slice(&bytes[..count]);
                    while let Some(end) = this.partial.iter().position(|&byte| byte == b'\n') {
                        let line: Vec<u8> = this.partial.drain(..=end).collect();
                        taken.push(String::from_utf8_lossy(&line[..end]).into_owned());
                    }
                    this.partial.truncate(MAX_LINE_BYTES);
                }
            }
        }
        taken
    }
}
