//! Starts workers, watches them and starts them again, from one thread that lives as long as the
//! run.
//!
//! One thread, because the kernel's parent-death signal follows the thread that started a process,
//! and because everything that can happen to a worker then happens in one loop: a request, a line
//! on one of its pipes, its end.

mod board;
mod failure;
mod lines;
mod process;
mod restart;
mod watch;

use std::io::{self, PipeWriter, Write};
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::message::WorkerOrder;
use super::plugin_output::PluginOutput;
use crate::config::Restart;

pub(super) use board::{Board, NodeState, Phase};
pub use board::{Event, EventKind};
pub use failure::Failure;
use watch::Watch;

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

/// A process to be started, and what happens when it ends.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    pub(super) order: WorkerOrder,
    pub(super) program: WorkerProgram,
    pub(super) restart: Restart,
    /// How long a worker that is started again may take to become ready.
    pub(super) start_timeout: Duration,
}

/// `duration` after `now`, or as late as there is a moment for.
pub(super) fn after(now: Instant, duration: Duration) -> Instant {
    const LATE: Duration = Duration::from_secs(1 << 32);
    now.checked_add(duration.min(LATE)).unwrap_or(now)
}

enum Request {
    Start(Box<Launch>),
    Go(usize),
    Cancel(usize),
    Kill(usize),
    End,
}

/// The supervising thread, as its owner sees it. Nodes go by their rows in the counters.
#[derive(Debug)]
pub(super) struct Supervisor {
    requests: SyncSender<Request>,
    bell: PipeWriter,
    board: Board,
    thread: Option<JoinHandle<()>>,
}

/// Requests that may wait to be taken; more wait to be made.
const PENDING_REQUESTS: usize = 1024;

impl Supervisor {
    /// Starts the thread.
    pub(super) fn new(board: Board, output: PluginOutput) -> io::Result<Self> {
        let (requests, received) = sync_channel(PENDING_REQUESTS);
        let (ear, bell) = io::pipe()?;
        let mut watch = Watch {
            board: board.clone(),
            requests: received,
            ear,
            output,
            units: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name("thalweg-supervisor".to_owned())
            .spawn(move || watch.run())?;
        Ok(Self {
            requests,
            bell,
            board,
            thread: Some(thread),
        })
    }

    fn request(&self, request: Request) {
        // The thread lives as long as self; a full bell pipe rings anyway.
        if self.requests.send(request).is_ok() {
            (&self.bell).write_all(&[1]).ok();
        }
    }

    /// What is known about the nodes.
    pub(super) fn board(&self) -> &Board {
        &self.board
    }

    /// Starts a process.
    pub(super) fn start(&self, launch: Launch) {
        for node in &launch.order.nodes {
            self.board.update(node.row, |state| {
                *state = NodeState {
                    phase: Phase::Starting,
                    ..NodeState::default()
                };
            });
        }
        self.request(Request::Start(Box::new(launch)));
    }

    /// Lets a source begin.
    pub(super) fn go(&self, row: usize) {
        self.request(Request::Go(row));
    }

    /// The end of the node is wanted from now on.
    pub(super) fn expect_end(&self, row: usize) {
        self.board.update(row, |state| state.is_stopping = true);
        self.request(Request::Cancel(row));
    }

    /// Kills the process of the node.
    pub(super) fn kill(&self, row: usize) {
        self.request(Request::Kill(row));
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
