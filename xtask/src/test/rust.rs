//! The steps that need nothing but the Rust toolchain.

use super::report::{NotPassed, StepResult};
use crate::command::{appended, cargo, run, succeeds, target_directory};
use crate::docs;

/// The sources are formatted.
pub(super) fn formatting() -> StepResult {
    require(
        ["fmt", "--version"],
        "rustfmt (`rustup component add rustfmt`)",
    )?;
    Ok(run(&mut cargo(["fmt", "--all", "--check"]))?)
}

/// No lint speaks up anywhere, tests and benchmarks included.
pub(super) fn lints() -> StepResult {
    require(
        ["clippy", "--version"],
        "clippy (`rustup component add clippy`)",
    )?;
    Ok(run(&mut cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?)
}

/// Unit and integration tests: by nextest, which gives every test a process and a time limit,
/// or by `cargo test` where nextest is not installed.
pub(super) fn tests() -> StepResult {
    if succeeds(&mut cargo(["nextest", "--version"])) {
        return Ok(run(&mut cargo(["nextest", "run", "--workspace"]))?);
    }
    eprintln!("cargo-nextest is not installed: using `cargo test`, which has no time limits");
    Ok(run(&mut cargo([
        "test",
        "--workspace",
        "--lib",
        "--bins",
        "--tests",
    ]))?)
}

/// The examples in documentation comments compile and hold.
pub(super) fn doctests() -> StepResult {
    Ok(run(&mut cargo(["test", "--workspace", "--doc"]))?)
}

/// The models of the lock-free protocol. They replace its atomics by those of loom, so they build
/// into a folder of their own; optimised, because a model runs through millions of orders, but not
/// across crates, which takes a minute longer to build and makes no model faster.
pub(super) fn loom_models() -> StepResult {
    let target_directory = target_directory()?.join("loom");
    let mut command = cargo([
        "test",
        "--package=thalweg-shm",
        "--release",
        "--test=loom_*",
        "--target-dir",
    ]);
    command.arg(target_directory);
    command.env("CARGO_PROFILE_RELEASE_LTO", "off");
    command.env("RUSTFLAGS", appended("RUSTFLAGS", "--cfg loom"));
    Ok(run(&mut command)?)
}

/// The API documentation builds, and every link in it leads somewhere.
pub(super) fn documentation() -> StepResult {
    Ok(docs::rust_reference()?)
}

/// A skip if this cargo subcommand is missing.
fn require<const N: usize>(probe: [&str; N], tool: &str) -> StepResult {
    if succeeds(&mut cargo(probe)) {
        Ok(())
    } else {
        Err(NotPassed::MissingTool(tool.to_owned()))
    }
}
