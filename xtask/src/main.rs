//! `cargo xtask`: the developer commands of this repository, one file per verb.
//!
//! [`cli`] is what can be typed, [`command`] starts every other program. Words for the developer
//! go to stderr, so that stdout stays free for data.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a command for developers: progress and summary belong on the terminal"
)]

mod bench;
mod chaos;
mod cli;
mod command;
mod docs;
mod fuzz;
mod python;
mod sanitize;
mod test;
mod wheel;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    if let Err(problem) = command::enter_root() {
        eprintln!("error: {problem}");
        return ExitCode::FAILURE;
    }
    match cli::Cli::parse().verb {
        cli::Verb::Test(options) => test::run(&options),
        cli::Verb::Bench(options) => bench::run(&options),
        cli::Verb::Chaos(options) => chaos::run_chaos(&options),
        cli::Verb::Fuzz(options) => fuzz::run_fuzz(&options),
        cli::Verb::Sanitize => sanitize::run_sanitize(),
        cli::Verb::Docs => docs::run(),
        cli::Verb::Wheel => wheel::run(),
    }
}
