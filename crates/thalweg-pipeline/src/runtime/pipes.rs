//! The two pipes between a worker and its supervisor, out of reach of the node's own code.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use thalweg_kernels::NodeError;
use thalweg_os::descriptor;

use super::message::{GO, WorkerOrder, WorkerReport};
use super::worker::WorkerFailure;

/// Longest report that can be given up rather than waited for: what a pipe with room takes at once.
const MAX_OPTIONAL_BYTES: usize = 4096;

struct Pipes {
    orders: Mutex<BufReader<File>>,
    reports: Mutex<File>,
}

/// A process is the worker of one supervisor.
static PIPES: OnceLock<Pipes> = OnceLock::new();

/// Reads the order on standard input. From then on standard input is empty and standard output is
/// standard error: libraries, and nodes in other languages, read and print what they like.
pub(super) fn take_order() -> Result<WorkerOrder, WorkerFailure> {
    let (input, output) = descriptor::take_standard_streams().map_err(WorkerFailure::of)?;
    let pipes = PIPES.get_or_init(|| Pipes {
        orders: Mutex::new(BufReader::new(input)),
        reports: Mutex::new(output),
    });
    // Ends a line that something left unfinished on standard output while the process started.
    pipes.write(b"\n").map_err(WorkerFailure::of)?;
    let line = read_line(pipes).map_err(WorkerFailure::of)?;
    serde_json::from_str(&line).map_err(|error| {
        WorkerFailure::of(format!(
            "the order of the supervisor is not readable: {error}"
        ))
    })
}

/// Waits for the supervisor's word that everybody is ready.
pub(super) fn wait_for_go() -> Result<(), WorkerFailure> {
    let line = read_line(pipes()?).map_err(WorkerFailure::of)?;
    if line == GO {
        Ok(())
    } else {
        Err(WorkerFailure::of(
            "the supervisor went away before the start",
        ))
    }
}

/// Says something to the supervisor.
pub(super) fn report(report: &WorkerReport) -> io::Result<()> {
    let line = line_of(report)?;
    pipes().map_err(io::Error::other)?.write(line.as_bytes())
}

/// Tells the supervisor what went wrong beside the loop of the node. Such a worker has to end with a
/// status other than 0.
pub fn report_failure(error: NodeError) -> io::Result<()> {
    let WorkerFailure {
        row,
        error,
        traceback,
    } = error.into();
    report(&WorkerReport::Failed {
        row,
        error,
        traceback,
    })
}

/// Tells the supervisor what a node of a kind of its own measures about itself. Never waits: false if
/// there is no room, or the text is longer than a page.
pub fn report_metrics(metrics: serde_json::Value) -> io::Result<bool> {
    let line = line_of(&WorkerReport::Metrics { metrics })?;
    let pipes = pipes().map_err(io::Error::other)?;
    let mut output = pipes.reports.lock().unwrap_or_else(PoisonError::into_inner);
    let fits = line.len() <= MAX_OPTIONAL_BYTES && descriptor::has_room(&*output);
    if fits {
        output.write_all(line.as_bytes())?;
    }
    Ok(fits)
}

impl Pipes {
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut output = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        output.write_all(bytes)
    }
}

fn pipes() -> Result<&'static Pipes, WorkerFailure> {
    PIPES
        .get()
        .ok_or_else(|| WorkerFailure::of("this process is no worker: it has no order"))
}

fn read_line(pipes: &Pipes) -> io::Result<String> {
    let mut line = String::new();
    let mut input = pipes.orders.lock().unwrap_or_else(PoisonError::into_inner);
    input.read_line(&mut line)?;
    Ok(line)
}

fn line_of(report: &WorkerReport) -> io::Result<String> {
    let mut line = serde_json::to_string(report)?;
    line.push('\n');
    Ok(line)
}
