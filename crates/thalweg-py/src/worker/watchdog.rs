//! The time limit of one call into a node.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use thalweg::kernels::NodeError;
use thalweg::pipeline::runtime::{Commands, Wanted, report_failure};
use thalweg_os::clock::monotonic_ns;

/// Watches how long calls take, from a thread that needs no interpreter: a call that is stuck may
/// have it.
pub(super) struct Watchdog {
    /// When the call under way began; 0 between calls.
    busy_since_ns: Arc<AtomicU64>,
}

impl Watchdog {
    /// Ends the process when a call of `what` takes longer than `limit`, the value of `field`.
    pub(super) fn start(
        what: &'static str,
        field: &'static str,
        limit: Duration,
        commands: Commands,
    ) -> io::Result<Self> {
        let busy_since_ns = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&busy_since_ns);
        std::thread::Builder::new()
            .name("thalweg-watchdog".to_owned())
            .spawn(move || watch(what, field, limit, &commands, &seen))?;
        Ok(Self { busy_since_ns })
    }

    /// A call begins.
    pub(super) fn begin(&self) {
        self.busy_since_ns.store(monotonic_ns(), Ordering::Relaxed);
    }

    /// It has ended.
    pub(super) fn end(&self) {
        self.busy_since_ns.store(0, Ordering::Relaxed);
    }
}

fn watch(what: &str, field: &str, limit: Duration, commands: &Commands, busy_since_ns: &AtomicU64) {
    let slice = (limit / 4).clamp(Duration::from_millis(1), Duration::from_millis(100));
    loop {
        std::thread::sleep(slice);
        let since_ns = busy_since_ns.load(Ordering::Relaxed);
        let spent = Duration::from_nanos(monotonic_ns().saturating_sub(since_ns));
        // At a stop the supervisor has a limit of its own.
        if since_ns == 0 || spent <= limit || commands.wanted() == Wanted::Stop {
            continue;
        }
        let message = format!(
            "timeout: {what} did not return within {field} ({} s)",
            limit.as_secs_f64()
        );
        // If nobody listens any more, there is nobody to tell.
        report_failure(NodeError::Failed(message)).ok();
        // Has the traceback of every thread printed, without the interpreter, and ends the process.
        std::process::abort();
    }
}
