//! `thalweg run`: builds a pipeline, runs it, watches it, and says how it went.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use thalweg::kernels::{NodeRole, Registry};
use thalweg::pipeline::config::{PipelineConfig, SourceConfig, warnings};
use thalweg::pipeline::runtime::{
    NodeStatus, Pipeline, PipelineState, Role, RunOptions, Status, WorkerProgram,
};
use thalweg_os::signal::StopSignals;

use super::{Failed, load};
use crate::cli::{ConfigArgument, RunArguments};
use crate::default_pipeline::{DEFAULT_FRAMES, Judge, Verdict};
use crate::plugins;
use crate::table::{Table, duration, rate};

/// How long workers get to end by themselves.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Kind of source that reads `--input` files.
const REPLAY_KIND: &str = "replay.file";

pub(crate) fn run(arguments: &RunArguments) -> Result<(), Failed> {
    // Before any thread exists, so that every thread has the signals blocked.
    let signals = StopSignals::block().map_err(Failed::because)?;
    let registry = thalweg::registry();
    let config = configure(arguments, &registry)?;
    for warning in warnings(&config, &registry) {
        eprintln!("{warning}");
    }
    let options = options(&config)?;
    let mut pipeline = start(config, options)?;
    let mut watch = Watch::new(arguments);
    let end = watch.until_end(&mut pipeline, &signals);
    let last = watch.finish(&mut pipeline);
    pipeline.shutdown(true, false);
    report(
        arguments,
        &last,
        watch.judge.as_ref().and_then(Judge::verdict),
        end,
    )
}

/// Workers run this program, but for kinds that plugins offer.
pub(super) fn options(config: &PipelineConfig) -> Result<RunOptions, Failed> {
    let hosts = plugins::hosts(config, &thalweg::registry()).map_err(Failed::because)?;
    let program = std::env::current_exe()
        .map_err(|error| Failed::because(format!("cannot find this program: {error}")))?;
    Ok(RunOptions {
        hosts,
        ..RunOptions::new(WorkerProgram::new(program))
    })
}

/// A running pipeline.
pub(super) fn start(config: PipelineConfig, options: RunOptions) -> Result<Pipeline, Failed> {
    let registry = thalweg::registry();
    let mut pipeline = Pipeline::new(config, &registry, options).map_err(Failed::because)?;
    pipeline.build().map_err(Failed::because)?;
    pipeline.start().map_err(Failed::because)?;
    Ok(pipeline)
}

/// The configuration with what the command line adds to it.
fn configure(arguments: &RunArguments, registry: &Registry) -> Result<PipelineConfig, Failed> {
    let mut config = load(&ConfigArgument {
        config: arguments.config.clone(),
    })
    .map_err(Failed::because)?;
    for (stream, file) in &arguments.input {
        add_input(&mut config, stream, file)?;
    }
    if let Some(rate_hz) = arguments.rate {
        for source in &mut config.sources {
            let is_paced = registry
                .get(NodeRole::Source, &source.kind)
                .is_some_and(|kind| kind.parameters.iter().any(|one| one.name == "rate_hz"));
            if is_paced {
                source
                    .parameters
                    .insert("rate_hz".to_owned(), json!(rate_hz));
            }
        }
    }
    Ok(config)
}

fn add_input(config: &mut PipelineConfig, stream: &str, file: &PathBuf) -> Result<(), Failed> {
    if config.stream(stream).is_none() {
        let known: Vec<&str> = config.streams.iter().map(|one| one.name.as_str()).collect();
        return Err(Failed::because(format!(
            "--input names the stream `{stream}`, which the pipeline does not have; it has {}",
            known.join(", ")
        )));
    }
    // Relative to where the user is, not to where the configuration lies.
    let path = std::path::absolute(file).map_err(Failed::because)?;
    let mut source = SourceConfig::new(format!("input:{stream}"), REPLAY_KIND, [stream]);
    source
        .parameters
        .insert("path".to_owned(), json!(path.display().to_string()));
    config.sources.push(source);
    Ok(())
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Enough frames or time, or the sources came to their end.
    Complete,
    /// A worker failed.
    Failed,
    /// Somebody wants it to end.
    Interrupted,
}

struct Watch {
    poll_interval: Duration,
    duration: Option<Duration>,
    frames: Option<u64>,
    judge: Option<Judge>,
    progress: ProgressBar,
    next_line: Instant,
}

impl Watch {
    fn new(arguments: &RunArguments) -> Self {
        let is_default = arguments.config.is_none();
        let is_bounded = arguments.duration.is_some() || arguments.frames.is_some();
        let progress = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            progress.set_style(style);
        }
        Self {
            poll_interval: Duration::from_secs_f64(arguments.poll_interval),
            duration: arguments.duration.map(Duration::from_secs_f64),
            frames: if is_default && !is_bounded {
                Some(DEFAULT_FRAMES)
            } else {
                arguments.frames
            },
            judge: is_default.then(Judge::default),
            progress,
            next_line: Instant::now(),
        }
    }

    fn until_end(&mut self, pipeline: &mut Pipeline, signals: &StopSignals) -> End {
        let began = Instant::now();
        loop {
            let status = pipeline.status();
            self.show(&status);
            if signals.take().is_some() {
                return End::Interrupted;
            }
            if status.state == PipelineState::Failed {
                return End::Failed;
            }
            let is_long_enough = self.duration.is_some_and(|limit| began.elapsed() >= limit);
            let has_enough = self
                .frames
                .is_some_and(|wanted| status.completed_frames() >= wanted);
            if is_long_enough || has_enough || pipeline.is_drained() {
                return End::Complete;
            }
            let left = self.duration.map_or(self.poll_interval, |limit| {
                limit.saturating_sub(began.elapsed())
            });
            // Short enough to stop close to the wanted frame, long enough not to be noticed.
            let shortest = Duration::from_millis(20);
            pipeline.wait_for_change(self.poll_interval.min(left).min(shortest));
        }
    }

    /// Redraws the live table on a terminal; elsewhere a line per second.
    fn show(&mut self, status: &Status) {
        if let Some(judge) = &mut self.judge {
            judge.look(status);
        }
        let now = Instant::now();
        if now < self.next_line {
            return;
        }
        if self.progress.is_hidden() {
            self.next_line = now + Duration::from_secs(1);
            eprintln!("{}", headline(status));
        } else {
            self.next_line = now + self.poll_interval;
            let text = format!("{}\n{}", headline(status), stage_table(status));
            self.progress.set_message(text);
            self.progress.tick();
        }
    }

    /// Stops the pipeline and takes the final figures.
    fn finish(&mut self, pipeline: &mut Pipeline) -> Status {
        self.progress.finish_and_clear();
        let last = pipeline.status();
        if let Some(judge) = &mut self.judge {
            judge.look(&last);
        }
        // It is running or has failed, and can be stopped in both states.
        pipeline.stop(STOP_TIMEOUT).ok();
        last
    }
}

fn headline(status: &Status) -> String {
    let frames = status.completed_frames();
    let mean_hz = if status.runtime_s > 0.0 {
        frames as f64 / status.runtime_s
    } else {
        0.0
    };
    format!(
        "{} for {:.1} s: {frames} frames, {}",
        status.state.name(),
        status.runtime_s,
        rate(mean_hz)
    )
}

fn stage_table(status: &Status) -> String {
    let mut table = Table::new(&[
        "stage", "rate", "frames", "exec p50", "exec p99", "missed", "health",
    ]);
    for node in &status.nodes {
        table.row(vec![
            node.name.clone(),
            rate(node.rate_hz),
            node.frames.to_string(),
            duration(node.execution.p50_ns),
            duration(node.execution.p99_ns),
            node.missed.to_string(),
            node.health.name().to_owned(),
        ]);
    }
    table.render()
}

fn report(
    arguments: &RunArguments,
    status: &Status,
    verdict: Option<Verdict>,
    end: End,
) -> Result<(), Failed> {
    if arguments.json {
        let mut document = serde_json::to_value(status).map_err(Failed::because)?;
        document["completed_frames"] = json!(status.completed_frames());
        document["wavefront"] = json!(verdict);
        println!("{document:#}");
    } else {
        println!("{}\n{}", headline(status), stage_table(status));
        for node in status.nodes.iter().filter(|node| is_end(node)) {
            println!(
                "latency from origin to `{}`: p50 {}, p99 {}, p99.9 {}",
                node.name,
                duration(node.latency.p50_ns),
                duration(node.latency.p99_ns),
                duration(node.latency.p99_9_ns),
            );
        }
        if let Some(verdict) = verdict {
            println!("{verdict}");
        }
    }
    for failure in &status.failures {
        eprintln!("error: Pipeline run failed: {failure}");
    }
    match end {
        End::Interrupted => Err(Failed::silently(Failed::INTERRUPTED)),
        End::Failed => Err(Failed::silently(1)),
        End::Complete => judge_frames(arguments, status, verdict),
    }
}

fn is_end(node: &NodeStatus) -> bool {
    node.is_terminal && node.role != Role::Source
}

/// A run is only a success if real frames came through, and the demonstration only if they were
/// right.
fn judge_frames(
    arguments: &RunArguments,
    status: &Status,
    verdict: Option<Verdict>,
) -> Result<(), Failed> {
    if arguments.config.is_some() {
        return Ok(());
    }
    if status.completed_frames() == 0 {
        return Err(Failed::because(
            "no frame came out at the end of the pipeline",
        ));
    }
    match verdict {
        Some(verdict) if verdict.is_closed => Ok(()),
        Some(_) => Err(Failed::because("the loop did not close")),
        None => Err(Failed::because("too few frames to judge the loop")),
    }
}
