//! What can be typed after `cargo xtask`; only types, no behaviour.

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Developer commands of the thalweg repository.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// One developer command.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run every check and test there is, then print one summary.
    ///
    /// Each step shows its command line, so that it can be repeated alone. All steps run, even
    /// if one fails. The exit code is 0 if none failed.
    Test(TestOptions),

    /// Measure thalweg beside the machine's limits and beside today's libraries.
    ///
    /// Everything runs optimised, in alternating rounds; the table shows medians of the rounds'
    /// ratios and asserts nothing. Peers are installed into a folder of the build directory; what
    /// cannot be had is skipped. The record goes to `bench/results/`; `plots` makes the tables and
    /// figures of `docs/performance.md` from what lies there.
    Bench(BenchOptions),

    /// Kill processes around shared streams at random moments, and count what breaks.
    ///
    /// Writers, readers, borrowers, lock holders, waiters, openers and creators are killed and
    /// started again, over and over, on one kind of stream after the other. The table says what
    /// happened and what was found; the exit code is 0 if nothing was torn, lost, stuck or left
    /// behind. The bounded form is one of the ordinary tests.
    Chaos(ChaosOptions),

    /// Feed the parsers of foreign bytes, and the protocol, with what a fuzzer comes up with.
    ///
    /// Needs cargo-fuzz, and installs it into the build directory if it is missing. Inputs that
    /// fail go to `fuzz/artifacts`.
    Fuzz(FuzzOptions),

    /// Run the tests of the floors with unsafe code under AddressSanitizer.
    ///
    /// Builds into a folder of its own in the build directory.
    Sanitize,

    /// Build the documentation: guides, Python reference and Rust reference as one site.
    ///
    /// Warnings are errors. Prints the path of the first page and opens nothing.
    Docs,

    /// Build the Python package as one file that installs without Rust.
    ///
    /// One wheel for all CPythons from 3.11 on. Prints its path.
    Wheel,
}

/// Options of `cargo xtask test`.
#[derive(Args, Debug)]
pub(crate) struct TestOptions {
    /// Count a step that a missing tool skips as failed (missing hardware never is).
    #[arg(long)]
    pub(crate) strict: bool,

    /// Run only this group of steps; may be given several times.
    #[arg(long, value_enum, value_name = "GROUP")]
    pub(crate) only: Vec<Group>,
}

/// Steps of `cargo xtask test` that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// Formatting of the Rust sources.
    Fmt,
    /// Lints of the whole workspace.
    Clippy,
    /// Rust unit and integration tests, the tidy tests among them.
    Rust,
    /// Examples in Rust documentation comments.
    Doctest,
    /// Exhaustive models of the lock-free protocol.
    Loom,
    /// The Rust API documentation builds without warnings.
    Docs,
    /// The Python package: installation, tests, types, documentation pages.
    Python,
    /// The wheel: built, installed into an empty environment, tried.
    Wheel,
}

/// Options of `cargo xtask chaos`.
#[derive(Args, Debug)]
pub(crate) struct ChaosOptions {
    /// How many processes to kill.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) kills: u64,

    /// Random numbers to begin with; chosen and printed if not given. The same ones choose the
    /// same victims, but the machine decides what those are doing.
    #[arg(long)]
    pub(crate) seed: Option<u64>,

    /// Longest time to go on killing, in seconds.
    #[arg(long, default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: u64,
}

/// Options of `cargo xtask fuzz`.
#[derive(Args, Debug)]
pub(crate) struct FuzzOptions {
    /// What to feed; everything, one after the other, if not given.
    #[arg(value_enum)]
    pub(crate) target: Option<FuzzTarget>,

    /// Time for each target, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: u64,
}

/// Programs in `fuzz/fuzz_targets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FuzzTarget {
    /// Configurations.
    Document,
    /// Identities of segments.
    Header,
    /// Names of streams.
    Name,
    /// Shared words, and operations on them.
    Words,
}

impl FuzzTarget {
    pub(crate) const ALL: [Self; 4] = [Self::Document, Self::Header, Self::Name, Self::Words];

    /// The word that is typed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::Header => "header",
            Self::Name => "name",
            Self::Words => "words",
        }
    }
}

/// Options of `cargo xtask bench`.
#[derive(Args, Debug)]
pub(crate) struct BenchOptions {
    /// What to measure, or `plots`.
    #[arg(value_enum)]
    pub(crate) suite: Suite,

    /// Few and short rounds, to try things out; the record goes to the build directory, and
    /// `plots` reads it there and leaves the page alone.
    #[arg(long)]
    pub(crate) quick: bool,

    /// Only the tables whose titles contain this; the record goes to the build directory, in a file
    /// of its own.
    #[arg(long, value_name = "WORDS")]
    pub(crate) only: Option<String>,
}

/// Figures that are measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// Hand-offs between two processes, from Rust and from Python; about four minutes.
    Streams,
    /// Whole pipelines, their start, and matrix-vector products; about six minutes.
    Pipeline,
    /// Nothing: draws the figures and fills the tables of `docs/performance.md`.
    Plots,
}

impl Suite {
    /// The word that is typed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Streams => "streams",
            Self::Pipeline => "pipeline",
            Self::Plots => "plots",
        }
    }
}
