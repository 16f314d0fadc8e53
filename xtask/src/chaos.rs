//! `cargo xtask chaos`: the long form of the test that kills processes at random moments.

use std::process::ExitCode;

use crate::cli::ChaosOptions;
use crate::command::{cargo, run};

/// Runs it, optimised; its table goes to stdout.
pub(crate) fn run_chaos(options: &ChaosOptions) -> ExitCode {
    let mut command = cargo([
        "test",
        "--quiet",
        "--package=thalweg-shm",
        "--release",
        "--test=chaos",
        "--",
        "--nocapture",
        "whoever_is_killed",
    ]);
    command.env("THALWEG_CHAOS_KILLS", options.kills.to_string());
    command.env("THALWEG_CHAOS_SECONDS", options.seconds.to_string());
    if let Some(seed) = options.seed {
        command.env("THALWEG_CHAOS_SEED", seed.to_string());
    }
    match run(&mut command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
