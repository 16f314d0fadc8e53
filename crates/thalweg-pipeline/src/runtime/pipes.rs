//! The two pipes between a worker and its supervisor, out of reach of the node's own code.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, OnceLock, PoisonError};

use thalweg_kernels::NodeError;
use thalweg_os::clock::monotonic_ns;
use thalweg_os::descriptor;

use super::message::{GO, WorkerOrder, WorkerReport};
use super::worker::WorkerFailure;

/// Longest report that can be given up rather than waited for: what a pipe with room takes at once.
const MAX_OPTIONAL_BYTES: usize = 4096;

/// How often a source that waits for its start looks whether it is to end instead.
const GO_SLICE_NS: u64 = 50_000_000;

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
    let mut orders = pipes.orders.lock().unwrap_or_else(PoisonError::into_inner);
    let line = read_line(&mut orders).map_err(WorkerFailure::of)?;
    drop(orders);
    order_of(&line)
}

fn order_of(line: &str) -> Result<WorkerOrder, WorkerFailure> {
    serde_json::from_str(line).map_err(|error| {
        let own = env!("CARGO_PKG_VERSION");
        let told: Option<String> = serde_json::from_str::<serde_json::Value>(line)
            .ok()
            .and_then(|order| Some(order.get("version")?.as_str()?.to_owned()));
        let told = told.unwrap_or_else(|| "that names no version".to_owned());
        WorkerFailure::of(format!(
            "the order of the supervisor is not readable: {error}; the supervisor is a thalweg \
             {told}, this worker is a thalweg {own}: run a pipeline with one version of both"
        ))
    })
}

/// Waits for the supervisor's word that everybody is ready; false if `is_told_to_stop` comes first.
pub(super) fn wait_for_go(is_told_to_stop: impl Fn() -> bool) -> Result<bool, WorkerFailure> {
    let mut input = pipes()?
        .orders
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    await_go(&mut input, is_told_to_stop)
}

fn await_go(
    input: &mut BufReader<File>,
    is_told_to_stop: impl Fn() -> bool,
) -> Result<bool, WorkerFailure> {
    // It may have come together with the order.
    while input.buffer().is_empty() {
        if is_told_to_stop() {
            return Ok(false);
        }
        let slice_end_ns = monotonic_ns() + GO_SLICE_NS;
        let pipe = input.get_ref().as_fd();
        let readable = descriptor::wait_readable(&[pipe], Some(slice_end_ns));
        if readable.map_err(WorkerFailure::of)?.contains(&true) {
            break;
        }
    }
    let line = read_line(input).map_err(WorkerFailure::of)?;
    if line == GO {
        Ok(true)
    } else if is_told_to_stop() {
        Ok(false)
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

fn read_line(input: &mut BufReader<File>) -> io::Result<String> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    Ok(line)
}

fn line_of(report: &WorkerReport) -> io::Result<String> {
    let mut line = serde_json::to_string(report)?;
    line.push('\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn pipe() -> (BufReader<File>, io::PipeWriter) {
        let (reader, writer) = io::pipe().unwrap();
        (BufReader::new(File::from(OwnedFd::from(reader))), writer)
    }

    #[test]
    fn the_word_is_heard_with_the_order_and_after_it() {
        let (mut input, mut supervisor) = pipe();
        supervisor
            .write_all(format!("order\n{GO}").as_bytes())
            .unwrap();
        assert_eq!(read_line(&mut input).unwrap(), "order\n");
        assert!(await_go(&mut input, || false).unwrap());
        let late = std::thread::spawn(move || supervisor.write_all(GO.as_bytes()));
        assert!(await_go(&mut input, || false).unwrap());
        late.join().unwrap().unwrap();
    }

    #[test]
    fn a_stop_ends_the_wait_for_the_word() {
        let (mut input, supervisor) = pipe();
        let is_told = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| await_go(&mut input, || is_told.load(Ordering::Relaxed)));
            is_told.store(true, Ordering::Relaxed);
            assert!(!waiting.join().unwrap().unwrap());
        });
        // Without a word or a stop nobody wants anything any more.
        drop(supervisor);
        let gone = await_go(&mut input, || false).unwrap_err();
        assert!(gone.error.contains("went away"), "{}", gone.error);
    }

    #[test]
    fn an_order_of_another_version_names_both() {
        let own = env!("CARGO_PKG_VERSION");
        for (line, told) in [
            (r#"{"version": "99.1.2", "work": []}"#, "99.1.2"),
            (r#"{"work": []}"#, "that names no version"),
            ("no JSON at all", "that names no version"),
        ] {
            let error = order_of(line).unwrap_err().error;
            assert!(error.contains(&format!("a thalweg {told}, ")), "{error}");
            assert!(error.contains(&format!("a thalweg {own}: ")), "{error}");
        }
    }
}
