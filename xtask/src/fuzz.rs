//! `cargo xtask fuzz`: the targets in `fuzz/`, by cargo-fuzz on the toolchain that is there.

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::cli::{FuzzOptions, FuzzTarget};
use crate::command::{cargo, command, run, succeeds, target_directory};

/// Runs one target, or all of them.
pub(crate) fn run_fuzz(options: &FuzzOptions) -> ExitCode {
    let targets = match options.target {
        Some(target) => vec![target],
        None => FuzzTarget::ALL.to_vec(),
    };
    match fuzz(&targets, options.seconds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn fuzz(targets: &[FuzzTarget], seconds: u64) -> Result<(), String> {
    let build = target_directory()?;
    for target in targets {
        let mut command = cargo_fuzz(&build.join("tools"))?;
        command.args(["run", "--fuzz-dir=fuzz", "--target-dir"]);
        command.arg(build.join("fuzz"));
        command.arg(target.name());
        command.args(["--", &format!("-max_total_time={seconds}"), "-timeout=10"]);
        // cargo-fuzz asks for a sanitizer, which stable compilers have but do not offer.
        command.env("RUSTC_BOOTSTRAP", "1");
        run(&mut command)?;
    }
    Ok(())
}

/// cargo-fuzz, installed into `tools` unless it is there or on PATH.
fn cargo_fuzz(tools: &Path) -> Result<Command, String> {
    if succeeds(&mut cargo(["fuzz", "--version"])) {
        return Ok(cargo(["fuzz"]));
    }
    let own = tools.join("bin").join("cargo-fuzz");
    if !own.exists() {
        let mut install = cargo(["install", "cargo-fuzz", "--locked", "--root"]);
        run(install.arg(tools))?;
    }
    let mut command = command(own);
    command.arg("fuzz");
    Ok(command)
}
