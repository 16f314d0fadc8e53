//! Counters of one node.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::{Histogram, MAX_FIGURES, Text};

/// Longest description, in words of eight bytes.
const DESCRIPTION_WORDS: usize = 128;

/// Counters of one node, written by its worker unless said otherwise.
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct NodeCounters {
    /// What the supervisor wants: [`command`]. Written by the supervisor.
    pub command: AtomicU32,
    /// Pid of the worker.
    pub pid: AtomicU32,
    /// Frames completed.
    pub frames: AtomicU64,
    /// Publications of the trigger streams that were replaced before they were looked at.
    pub missed: AtomicU64,
    /// Count of the newest publication taken from the first trigger stream.
    pub input_count: AtomicU64,
    /// Count of the newest publication on the first output stream.
    pub output_count: AtomicU64,
    /// Monotonic time in ns of the last completed frame; 0 before the first.
    pub last_frame_ns: AtomicU64,
    /// Monotonic time in ns at which the worker was ready.
    pub ready_ns: AtomicU64,
    /// 1 more than the publication of the first trigger after which a worker that takes over from
    /// another goes on; 0 for one that does not. Written by the supervisor before it lets the worker
    /// run.
    pub resume_after: AtomicU64,
    /// Frames published later than their deadline.
    pub deadline_missed: AtomicU64,
    /// Times that triggers whose frame ids have to match did not.
    pub skew_events: AtomicU64,
    /// Frame ids given up because other triggers were ahead of them.
    pub skew_skipped: AtomicU64,
    /// Times that everything at hand was given up, because ids were too far apart or for too long.
    pub skew_timeouts: AtomicU64,
    /// Where the node is in its life, as the supervisor numbers it. Written by the supervisor.
    pub phase: AtomicU32,
    /// Workers started after the first. Written by the supervisor.
    pub restarts: AtomicU32,
    /// 1 more than the CPU that the worker is tied to; 0 if it is not tied to one.
    pub cpu: AtomicU32,
    _reserved: AtomicU32,
    /// What the node is: JSON. Written by the supervisor.
    pub description: Text<DESCRIPTION_WORDS>,
    figures_version: AtomicU64,
    figures: [AtomicU64; MAX_FIGURES],
    /// Time in ns a frame was computed in.
    pub execution: Histogram,
    /// Time in ns waited for the trigger.
    pub wait: Histogram,
    /// Time in ns from the origin of the data to its publication by this node (for a sink: to the
    /// end of its consumption).
    pub latency: Histogram,
    /// Time in ns the last frame was computed in.
    pub last_execution_ns: AtomicU64,
    /// Monotonic time in ns since when the node is at work on a frame; 0 while it is not.
    pub busy_since_ns: AtomicU64,
}

/// Values of [`NodeCounters::command`].
pub mod command {
    /// Process frames.
    pub const RUN: u32 = 0;
    /// Stay, but process nothing.
    pub const PAUSE: u32 = 1;
    /// End.
    pub const STOP: u32 = 2;
}

impl NodeCounters {
    /// Counts the time in ns a frame was computed in.
    pub fn record_execution(&self, execution_ns: u64) {
        self.execution.record(execution_ns);
        self.last_execution_ns
            .store(execution_ns, Ordering::Relaxed);
    }

    /// Publishes the node's own measurements, at most [`MAX_FIGURES`] of them.
    pub fn set_figures(&self, values: &[f64]) {
        // A sequence lock with one writer: odd while it writes.
        // A worker that was killed while writing leaves an odd one.
        let writing = self.figures_version.load(Ordering::Relaxed) | 1;
        self.figures_version.store(writing, Ordering::Relaxed);
        // Pairs with the Acquire fence in `figures`.
        std::sync::atomic::fence(Ordering::Release);
        for (word, value) in self.figures.iter().zip(values) {
            word.store(value.to_bits(), Ordering::Relaxed);
        }
        // Pairs with the first Acquire load in `figures`.
        self.figures_version
            .store(writing.wrapping_add(1), Ordering::Release);
    }

    /// The node's first `count` measurements, all of one moment; `None` while its worker keeps
    /// changing them, or died doing so.
    pub fn figures(&self, count: usize) -> Option<Vec<f64>> {
        (0..1000).find_map(|_| {
            let before = self.figures_version.load(Ordering::Acquire);
            let values = self.figures[..count.min(MAX_FIGURES)]
                .iter()
                .map(|word| f64::from_bits(word.load(Ordering::Relaxed)))
                .collect();
            std::sync::atomic::fence(Ordering::Acquire);
            let after = self.figures_version.load(Ordering::Relaxed);
            (before == after && before.is_multiple_of(2)).then_some(values)
        })
    }

    /// Forgets what an earlier worker of this node counted.
    pub fn clear(&self) {
        for word in [
            &self.frames,
            &self.missed,
            &self.input_count,
            &self.output_count,
            &self.last_frame_ns,
            &self.ready_ns,
            &self.resume_after,
            &self.deadline_missed,
            &self.skew_events,
            &self.skew_skipped,
            &self.skew_timeouts,
            &self.last_execution_ns,
        ] {
            word.store(0, Ordering::Relaxed);
        }
        for word in [&self.restarts, &self.pid, &self.cpu] {
            word.store(0, Ordering::Relaxed);
        }
        for histogram in [&self.execution, &self.wait, &self.latency] {
            histogram.clear();
        }
        self.set_figures(&[0.0; MAX_FIGURES]);
    }
}
