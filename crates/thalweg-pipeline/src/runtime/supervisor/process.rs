//! One process of workers: its pipes, its reports and its end.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use thalweg_os::{descriptor, process};

use super::super::message::{GO, WorkerOrder, WorkerReport};
use super::WorkerProgram;
use super::lines::Lines;

/// Lines kept of a worker's standard error.
const ERROR_LINES: usize = 20;

/// A running process.
pub(super) struct WorkerProcess {
    child: Child,
    input: Arc<Mutex<ChildStdin>>,
    ended: OwnedFd,
    output: Option<Lines<ChildStdout>>,
    errors: Option<Lines<ChildStderr>>,
    last_errors: VecDeque<String>,
    has_ended: bool,
}

/// How a process ended.
pub(super) struct End {
    pub(super) pid: u32,
    /// `None` if somebody else has asked for it.
    pub(super) status: Option<ExitStatus>,
}

impl End {
    /// The exit status; a signal as a negative number.
    pub(super) fn exit_code(&self) -> Option<i32> {
        let status = self.status?;
        let by_signal = || status.signal().map(|signal| -signal);
        status.code().or_else(by_signal)
    }

    /// In words.
    pub(super) fn describe(&self) -> String {
        let code = self.status.and_then(|status| status.code());
        let signal = self.status.and_then(|status| status.signal());
        match (code, signal) {
            (Some(code), _) => format!("worker exited with code {code}"),
            (None, Some(signal)) => format!("worker was killed by signal {signal}"),
            (None, None) => "worker ended, and its exit status is not known".to_owned(),
        }
    }
}

impl WorkerProcess {
    /// Starts `program` with `order`; with `goes` sources need not wait for a word.
    pub(super) fn start(
        program: &WorkerProgram,
        order: &WorkerOrder,
        goes: bool,
    ) -> io::Result<Self> {
        let mut lines = serde_json::to_string(order)?;
        lines.push('\n');
        if goes {
            lines.push_str(GO);
        }
        let mut child = Command::new(&program.program)
            .args(&program.arguments)
            // One worker is one core: libraries must not start a thread per CPU in each.
            .env("OMP_NUM_THREADS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let ended = process::watch(child.id());
        let written = match child.stdin.take() {
            Some(input) => send_order(input, lines),
            None => Err(io::Error::other("the worker has no standard input")),
        };
        match (ended, written) {
            (Ok(ended), Ok(input)) => Ok(Self {
                input,
                output: child.stdout.take().map(Lines::new),
                errors: child.stderr.take().map(Lines::new),
                child,
                ended,
                last_errors: VecDeque::new(),
                has_ended: false,
            }),
            (Err(error), _) | (_, Err(error)) => {
                child.kill().ok();
                child.wait().ok();
                Err(error)
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Becomes readable when there is something to be done about this process.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let output = self.output.iter().map(|lines| lines.source.as_fd());
        let errors = self.errors.iter().map(|lines| lines.source.as_fd());
        std::iter::once(self.ended.as_fd())
            .chain(output)
            .chain(errors)
    }

    /// Lets a source begin.
    pub(super) fn go(&mut self) {
        // If it has ended meanwhile, its end says so.
        let go = |input: &mut ChildStdin| input.write_all(GO.as_bytes()).ok();
        match self.input.try_lock() {
            Ok(mut input) => {
                go(&mut input);
            }
            // Its order is still being written, which may take for ever.
            Err(_) => {
                let input = Arc::clone(&self.input);
                let later = std::thread::Builder::new().name("thalweg-order".to_owned());
                later
                    .spawn(move || go(&mut input.lock().unwrap_or_else(PoisonError::into_inner)))
                    .ok();
            }
        }
    }

    pub(super) fn kill(&mut self) {
        // By its descriptor: somebody may have waited for it already, and its pid be another's.
        process::kill_watched(self.ended.as_fd()).ok();
    }

    /// Kills and waits.
    pub(super) fn end(&mut self) {
        self.kill();
        self.child.wait().ok();
    }

    /// Whatever the process has printed since the last time.
    pub(super) fn printed(&mut self) -> Vec<String> {
        let printed = if self.has_ended {
            Lines::take_rest(&mut self.errors)
        } else {
            Lines::take(&mut self.errors)
        };
        for line in &printed {
            self.note_error_line(line.clone());
        }
        printed
    }

    /// Whatever the process has reported since the last time.
    pub(super) fn reports(&mut self) -> Vec<WorkerReport> {
        let mut reports = Vec::new();
        let lines = if self.has_ended {
            Lines::take_rest(&mut self.output)
        } else {
            Lines::take(&mut self.output)
        };
        for line in lines {
            match serde_json::from_str(&line) {
                Ok(report) => reports.push(report),
                // Something a library printed while the process started.
                Err(_) => self.note_error_line(line),
            }
        }
        reports
    }

    fn note_error_line(&mut self, line: String) {
        if line.trim().is_empty() {
            return;
        }
        if self.last_errors.len() == ERROR_LINES {
            self.last_errors.pop_front();
        }
        self.last_errors.push_back(line);
    }

    /// How it ended, once it has.
    pub(super) fn take_end(&mut self) -> Option<End> {
        let status = match self.child.try_wait() {
            Ok(None) => return None,
            Ok(status) => status,
            // The program ignores SIGCHLD, or has waited for all its children.
            Err(_) => {
                let has_ended = descriptor::wait_readable(&[self.ended.as_fd()], Some(0))
                    .is_ok_and(|readable| readable == [true]);
                if !has_ended {
                    return None;
                }
                None
            }
        };
        self.has_ended = true;
        Some(End {
            pid: self.child.id(),
            status,
        })
    }

    /// The last lines it has printed.
    pub(super) fn last_errors(&mut self) -> Vec<String> {
        std::mem::take(&mut self.last_errors).into()
    }
}

/// Less than a pipe holds: written without waiting for the reader.
const SHORT_ORDER_BYTES: usize = 32 << 10;

/// Writes an order. One that carries the class of a plugin may be longer than a pipe, and then takes
/// until the worker reads it: that is for a thread of its own, which ends at the latest with the
/// worker.
fn send_order(mut input: ChildStdin, lines: String) -> io::Result<Arc<Mutex<ChildStdin>>> {
    if lines.len() <= SHORT_ORDER_BYTES {
        match input.write_all(lines.as_bytes()) {
            // If it has ended already, its end says so, and its last words why.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => return Ok(Arc::new(Mutex::new(input))),
        }
    }
    let input = Arc::new(Mutex::new(input));
    let shared = Arc::clone(&input);
    std::thread::Builder::new()
        .name("thalweg-order".to_owned())
        .spawn(move || {
            let mut input = shared.lock().unwrap_or_else(PoisonError::into_inner);
            // If the worker has ended meanwhile, its end says so.
            input.write_all(lines.as_bytes()).ok();
        })?;
    Ok(input)
}
