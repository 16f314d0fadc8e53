//! `thalweg top`: how the stages of running pipelines are doing.
//!
//! Everything comes from the counters that workers keep anyway: looking costs them nothing.

use serde_json::json;
use thalweg::StreamDirectory;
use thalweg::pipeline::runtime::{Durations, ObservedRun, Status};

use super::Failed;
use super::live::{Shown, look_repeatedly};
use crate::cli::TopArguments;
use crate::table::{Table, bars, duration, rate};

pub(crate) fn top(arguments: &TopArguments) -> Result<(), Failed> {
    let directory = StreamDirectory::default();
    let mut runs: Vec<ObservedRun> = Vec::new();
    look_repeatedly(&arguments.live, |show| {
        let found = ObservedRun::all(&directory).map_err(|error| {
            Failed::because(format!(
                "cannot read {}: {error}",
                directory.path().display()
            ))
        })?;
        // Those already known remember the look before.
        runs.retain(|run| found.iter().any(|other| other.is_same(run)));
        for run in found {
            if !runs.iter().any(|known| known.is_same(&run)) {
                runs.push(run);
            }
        }
        let is_wanted = |run: &&mut ObservedRun| arguments.pid.is_none_or(|pid| pid == run.pid());
        let shown: Vec<Run> = runs.iter_mut().filter(is_wanted).map(Run::of).collect();
        match arguments.pid {
            Some(pid) if shown.is_empty() => Err(Failed::because(format!(
                "process {pid} runs no pipeline; `thalweg top` shows all there are"
            ))),
            _ => show(&Look {
                runs: shown,
                interval_s: arguments.live.interval,
            }),
        }
    })?;
    Ok(())
}

struct Look {
    runs: Vec<Run>,
    interval_s: f64,
}

struct Run {
    pid: u32,
    label: String,
    status: Status,
}

impl Run {
    fn of(run: &mut ObservedRun) -> Self {
        Self {
            pid: run.pid(),
            label: run.label(),
            status: run.look(),
        }
    }

    fn headline(&self) -> String {
        let label = if self.label.is_empty() {
            "a pipeline"
        } else {
            &self.label
        };
        format!(
            "{label} (process {}): {} for {:.1} s",
            self.pid,
            self.status.state.name(),
            self.status.runtime_s
        )
    }

    fn table(&self, with_bars: bool) -> String {
        let mut headings = vec![
            "stage",
            "health",
            "rate",
            "frames",
            "missed",
            "late",
            "restarts",
            "cpu",
            "exec p50",
            "exec p99",
            "wait p50",
            "latency p50",
            "latency p99",
        ];
        if with_bars {
            headings.push("latencies");
        }
        let mut table = Table::new(&headings);
        for node in &self.status.nodes {
            let mut cells = vec![
                node.name.clone(),
                node.health.name().to_owned(),
                rate(node.rate_hz),
                node.frames.to_string(),
                node.missed.to_string(),
                node.deadline_missed.to_string(),
                node.restarts.to_string(),
                node.placement
                    .cpus
                    .iter()
                    .map(usize::to_string)
                    .collect::<Vec<_>>()
                    .join(","),
                duration(node.execution.p50_ns),
                duration(node.execution.p99_ns),
                duration(node.wait.p50_ns),
                duration(node.latency.p50_ns),
                duration(node.latency.p99_ns),
            ];
            if with_bars {
                cells.push(latencies(&node.latency));
            }
            table.row(cells);
        }
        table.render()
    }
}

/// The distribution as bars, one per power of two of nanoseconds, with its ends.
fn latencies(durations: &Durations) -> String {
    let (Some(first), Some(last)) = (durations.octaves.first(), durations.octaves.last()) else {
        return String::new();
    };
    let counts = durations.octaves.iter().map(|octave| octave.count as f64);
    format!(
        "{} {} {}",
        duration(Some(first.from_ns)),
        bars(counts),
        duration(Some(last.from_ns.saturating_mul(2)))
    )
}

impl Shown for Look {
    fn to_json(&self) -> serde_json::Value {
        let runs = self
            .runs
            .iter()
            .map(|run| json!({"pid": run.pid, "label": run.label, "status": run.status}));
        json!({"runs": runs.collect::<Vec<_>>()})
    }

    fn to_lines(&self) -> String {
        if self.runs.is_empty() {
            return "no pipeline is running".to_owned();
        }
        let runs = self
            .runs
            .iter()
            .map(|run| format!("{}\n{}", run.headline(), run.table(false)));
        runs.collect::<Vec<_>>().join("\n\n")
    }

    fn to_screen(&self, hint: &str) -> String {
        let headline = format!(
            "{} running pipelines; rates and durations of the last {} s{hint}",
            self.runs.len(),
            self.interval_s
        );
        let runs = self
            .runs
            .iter()
            .map(|run| format!("\n{}\n{}", run.headline(), run.table(true)));
        std::iter::once(headline)
            .chain(runs)
            .collect::<Vec<_>>()
            .join("\n")
    }
}
