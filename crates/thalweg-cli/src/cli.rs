//! The command line: what can be typed, nothing of what it does.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Shared-memory arrays and real-time compute pipelines.
#[derive(Debug, Parser)]
#[command(
    name = "thalweg",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a pipeline; without CONFIG the built-in demonstration: a closed adaptive-optics loop
    Run(RunArguments),
    /// Run a pipeline for a while and measure what comes out
    Benchmark(BenchmarkArguments),
    /// Check a configuration without making anything
    Validate(ValidateArguments),
    /// Show the graph of a configuration
    Describe(DescribeArguments),
    /// Print the JSON-Schema of configurations, for editors
    Schema(SchemaArguments),
    /// List the kinds of kernels, or show one kind with its parameters
    Kinds(KindsArguments),
    /// List the kinds of sources
    Sources(KindsArguments),
    /// List the kinds of sinks
    Sinks(KindsArguments),
    /// List the streams of this machine
    List(ListArguments),
    /// Show everything about some streams
    Stat(StatArguments),
    /// Watch streams live: rates, latencies, who holds what
    Watch(WatchArguments),
    /// Watch running pipelines live: rates, latencies, health of every stage
    Top(TopArguments),
    /// Write the newest frame of a stream, or the last few, to a file
    Dump(DumpArguments),
    /// Record every frame of a stream from now on, with its times and ids
    Record(RecordArguments),
    /// Publish a recording into a stream, with its ids
    Replay(ReplayArguments),
    /// Check what hurts latency on this machine, and tell how to mend it
    Doctor(DoctorArguments),
    /// Remove streams by name
    Unlink(UnlinkArguments),
    /// Remove all streams, but for those of running pipelines, and what ended runs have left
    Purge(PurgeArguments),
    /// Be a worker of a pipeline; started by `thalweg run`
    #[command(hide = true)]
    Worker,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// Pipeline configuration (YAML)
    pub(crate) config: Option<PathBuf>,
    /// Stop after this many seconds of running
    #[arg(long, value_name = "SECONDS", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) duration: Option<f64>,
    /// Stop once this many frames have come out at every end of the pipeline
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) frames: Option<u64>,
    /// Wall-clock rate of every source that can be paced; the demonstration then runs free instead
    /// of in lock-step
    #[arg(long, value_name = "HZ", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) rate: Option<f64>,
    /// Feed a stream from a `.npy` file, one frame per entry of its first axis; may be repeated
    #[arg(long, value_name = "STREAM=FILE", value_parser = stream_and_file)]
    pub(crate) input: Vec<(String, PathBuf)>,
    /// Print the final status as JSON on standard output
    #[arg(long, visible_alias = "json-status")]
    pub(crate) json: bool,
    /// Seconds between two looks at the pipeline
    #[arg(long, value_name = "SECONDS", default_value = "0.25", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) poll_interval: f64,
}

/// Arguments of `benchmark`.
#[derive(Debug, Args)]
pub(crate) struct BenchmarkArguments {
    /// Pipeline configuration (YAML); without it the built-in demonstration
    pub(crate) config: Option<PathBuf>,
    /// Seconds to measure
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) duration: f64,
    /// Seconds not to measure at first
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = not_negative, allow_negative_numbers = true)]
    pub(crate) warmup: f64,
    /// Write a test pattern to a stream meanwhile
    #[arg(long, value_name = "STREAM:PATTERN[:RATE_HZ]", value_parser = synthetic_source)]
    pub(crate) source: Option<SyntheticSource>,
    /// The stream to measure; without it the one the pipeline ends in
    #[arg(long, value_name = "STREAM")]
    pub(crate) output_stream: Option<String>,
    /// Accepted for programs that give it; nothing polls
    #[arg(long, value_name = "SECONDS", value_parser = positive, allow_negative_numbers = true, hide = true)]
    pub(crate) poll_interval: Option<f64>,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A test pattern for a stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SyntheticSource {
    /// The stream.
    pub(crate) stream: String,
    /// The pattern.
    pub(crate) pattern: String,
    /// Frames per second; `None` is as fast as possible.
    pub(crate) rate_hz: Option<f64>,
}

/// A configuration, or the built-in one.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgument {
    /// Pipeline configuration (YAML); without it the built-in demonstration
    pub(crate) config: Option<PathBuf>,
}

/// Arguments of `validate`.
#[derive(Debug, Args)]
pub(crate) struct ValidateArguments {
    #[command(flatten)]
    pub(crate) config: ConfigArgument,
    /// Let warnings fail, too
    #[arg(long)]
    pub(crate) strict: bool,
    /// Print JSON: one object with the verdict and all diagnostics
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `describe`.
#[derive(Debug, Args)]
pub(crate) struct DescribeArguments {
    #[command(flatten)]
    pub(crate) config: ConfigArgument,
    /// How to print the graph
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: GraphFormat,
    /// The same as `--format json`
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
}

/// Ways to print a graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    /// Words, one line per stream and node
    #[default]
    Text,
    /// JSON, for programs
    Json,
    /// The language of Graphviz
    Dot,
    /// A Mermaid flowchart, for Markdown
    Mermaid,
    /// A drawing for browsers
    Svg,
}

/// Arguments of `schema`.
#[derive(Debug, Args)]
pub(crate) struct SchemaArguments {
    /// Let nothing through that would give a warning
    #[arg(long)]
    pub(crate) strict: bool,
}

/// Arguments of `kinds`, `sources` and `sinks`.
#[derive(Debug, Args)]
pub(crate) struct KindsArguments {
    /// Show this kind only, with its parameters
    pub(crate) kind: Option<String>,
    /// Say what each kind does
    #[arg(long, short, conflicts_with = "kind")]
    pub(crate) long: bool,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Show layout, count, age and creator, too
    #[arg(long, short)]
    pub(crate) long: bool,
    /// Print JSON, one object per stream and line, as `stat` does
    #[arg(long, conflicts_with = "long")]
    pub(crate) json: bool,
}

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub(crate) struct WatchArguments {
    /// Names of streams; without any, all there are
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) live: LiveArguments,
}

/// Arguments of `top`.
#[derive(Debug, Args)]
pub(crate) struct TopArguments {
    /// Process that runs the pipeline; without it, all pipelines there are
    pub(crate) pid: Option<u32>,
    #[command(flatten)]
    pub(crate) live: LiveArguments,
}

/// How often to look, and in which form.
#[derive(Debug, Args)]
pub(crate) struct LiveArguments {
    /// Seconds between two looks
    #[arg(long, short, value_name = "SECONDS", default_value = "1", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) interval: f64,
    /// Look once
    #[arg(long, conflicts_with = "count")]
    pub(crate) once: bool,
    /// End after this many looks
    #[arg(long, short = 'n', value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Print JSON, one object per look and line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `stat`.
#[derive(Debug, Args)]
pub(crate) struct StatArguments {
    /// Names of streams
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
    /// Print JSON, one object per line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `dump`.
#[derive(Debug, Args)]
pub(crate) struct DumpArguments {
    /// Name of the stream
    pub(crate) name: String,
    /// The file; `-` is standard output; without it NAME-COUNT.npy here
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// The last COUNT frames, as far as the slots still hold them, along a leading axis
    #[arg(long, value_name = "COUNT", value_parser = positive_count)]
    pub(crate) history: Option<usize>,
    /// Wait for a frame published from now on; with `--history`, for COUNT of them
    #[arg(long)]
    pub(crate) new: bool,
    /// Seconds to wait for all of them; without a limit if not given
    #[arg(long, value_name = "SECONDS", requires = "new", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) timeout: Option<f64>,
    /// Format; without it what the name of the file says, else npy
    #[arg(long)]
    pub(crate) format: Option<DumpFormat>,
    /// Overwrite the file if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

/// Arguments of `record`.
#[derive(Debug, Args)]
pub(crate) struct RecordArguments {
    /// Name of the stream
    pub(crate) name: String,
    /// The file, whose name ends with .npy, .fits, .fit or .fts; without it NAME.npy here
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// End after this many frames
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) frames: Option<u64>,
    /// End after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) duration: Option<f64>,
    /// Miss no frame: the writer of the stream waits if the recording is too slow
    #[arg(long)]
    pub(crate) lossless: bool,
    /// Overwrite the file if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArguments {
    /// The recording
    pub(crate) file: PathBuf,
    /// Name of the stream; made if it does not exist
    pub(crate) stream: String,
    /// Frames per second, instead of the distances in time they were recorded with
    #[arg(long, value_name = "HZ", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) rate: Option<f64>,
    /// As fast as possible
    #[arg(long, conflicts_with = "rate")]
    pub(crate) fast: bool,
    /// One frame for every line on standard input
    #[arg(long, conflicts_with_all = ["rate", "fast"])]
    pub(crate) step: bool,
    /// Begin again after the last frame, until interrupted
    #[arg(long = "loop")]
    pub(crate) repeat: bool,
}

/// Formats frames can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DumpFormat {
    /// NumPy's format, any dtype
    Npy,
    /// FITS image with the frame's count, id and times in its header; no complex numbers
    Fits,
}

impl DumpFormat {
    /// How names of such files end.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Npy => "npy",
            Self::Fits => "fits",
        }
    }
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    /// Print JSON, one object per finding and line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `unlink`.
#[derive(Debug, Args)]
pub(crate) struct UnlinkArguments {
    /// Names of streams
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

/// Arguments of `purge`.
#[derive(Debug, Args)]
pub(crate) struct PurgeArguments {
    /// Only streams whose name begins like this
    #[arg(default_value = "")]
    pub(crate) prefix: String,
    /// The same as an option
    #[arg(long = "prefix", value_name = "PREFIX", conflicts_with = "prefix")]
    pub(crate) prefix_option: Option<String>,
    /// Only tell what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value),
        _ => Err("expected a positive number".to_owned()),
    }
}

fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err("expected a number of at least 0".to_owned()),
    }
}

fn synthetic_source(text: &str) -> Result<SyntheticSource, String> {
    let expected = || "expected STREAM:PATTERN[:RATE_HZ], such as camera:random:500".to_owned();
    let mut parts = text.split(':');
    let mut part = || {
        parts
            .next()
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
    };
    let (stream, pattern) = part().zip(part()).ok_or_else(expected)?;
    let rate_hz = match parts.next() {
        Some(rate_hz) => Some(positive(rate_hz).map_err(|_not_a_rate| expected())?),
        None => None,
    };
    if parts.next().is_some() {
        return Err(expected());
    }
    Ok(SyntheticSource {
        stream,
        pattern,
        rate_hz,
    })
}

fn positive_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err("expected a count of at least 1".to_owned()),
    }
}

fn stream_and_file(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((stream, file)) if !stream.is_empty() && !file.is_empty() => {
            Ok((stream.to_owned(), PathBuf::from(file)))
        }
        _ => Err("expected STREAM=FILE, such as camera_frame=frames.npy".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn sources_of_benchmarks() {
        let source = |rate_hz| SyntheticSource {
            stream: "camera".to_owned(),
            pattern: "random".to_owned(),
            rate_hz,
        };
        assert_eq!(synthetic_source("camera:random"), Ok(source(None)));
        assert_eq!(
            synthetic_source("camera:random:500"),
            Ok(source(Some(500.0)))
        );
        for wrong in [
            "camera",
            ":random",
            "camera:",
            "camera:random:",
            "camera:random:x",
            "a:b:1:2",
        ] {
            let message = synthetic_source(wrong).unwrap_err();
            assert!(
                message.contains("STREAM:PATTERN[:RATE_HZ]"),
                "{wrong}: {message}"
            );
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
