//! The `thalweg` command.
//!
//! Data goes to standard output, everything else to standard error. Exit status: 0 all is well, 1
//! the pipeline failed or its configuration is invalid, 2 wrong usage, 130 interrupted.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command talks to its user"
)]

mod cli;
mod command;
mod default_pipeline;
mod plugins;
mod table;

use std::process::ExitCode;

use clap::Parser;
use thalweg::kernels::NodeRole;

use cli::{Cli, Command};
use command::Failed;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(arguments) => command::run::run(&arguments),
        Command::Benchmark(arguments) => command::benchmark::benchmark(&arguments),
        Command::Validate(arguments) => command::validate::validate(&arguments),
        Command::Describe(arguments) => command::describe::describe(&arguments),
        Command::Schema(arguments) => command::schema::schema(&arguments),
        Command::Kinds(arguments) => command::kinds::kinds(NodeRole::Kernel, &arguments),
        Command::Sources(arguments) => command::kinds::kinds(NodeRole::Source, &arguments),
        Command::Sinks(arguments) => command::kinds::kinds(NodeRole::Sink, &arguments),
        Command::List(arguments) => command::list::list(&arguments),
        Command::Stat(arguments) => command::stat::stat(&arguments),
        Command::Watch(arguments) => command::watch::watch(&arguments),
        Command::Top(arguments) => command::top::top(&arguments),
        Command::Dump(arguments) => command::dump::dump(&arguments),
        Command::Record(arguments) => command::record::record(&arguments),
        Command::Replay(arguments) => command::replay::replay(&arguments),
        Command::Doctor(arguments) => command::doctor::doctor(&arguments),
        Command::Unlink(arguments) => command::unlink::unlink(&arguments),
        Command::Purge(arguments) => command::purge::purge(&arguments),
        Command::Worker => return command::worker::worker(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed { message, status }) => {
            if let Some(message) = message {
                eprintln!("error: {message}");
            }
            ExitCode::from(status)
        }
    }
}
