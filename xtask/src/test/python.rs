//! The steps of the Python package, in a virtual environment of the repository's own (`.venv`).

use std::process::Command;

use super::report::{NotPassed, StepResult};
use crate::command::{command, run, succeeds};

const INTERPRETER: &str = ".venv/bin/python";

/// Makes the virtual environment once and installs the package into it, with what its tests need.
///
/// Editable: the native parts are built anew, the Python sources are used where they lie.
pub(super) fn install() -> StepResult {
    if !succeeds(&mut venv_python(["-m", "pip", "--version"])) {
        require(
            ["-c", "import sys; sys.exit(sys.version_info < (3, 11))"],
            "CPython 3.11 or newer (as `python3` on PATH)",
        )?;
        require(
            ["-c", "import ensurepip, venv"],
            "the Python modules `venv` and `ensurepip` (Debian: `apt-get install python3-venv`)",
        )?;
        run(command("python3").args(["-m", "venv", "--clear", ".venv"]))?;
    }
    Ok(run(&mut venv_python([
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--editable",
        ".[docs,test]",
    ]))?)
}

/// The Python tests.
pub(super) fn tests() -> StepResult {
    Ok(run(&mut venv_python(["-m", "pytest", "python/tests"]))?)
}

/// The package's annotations agree with each other.
pub(super) fn types() -> StepResult {
    Ok(run(&mut venv_python(["-m", "mypy", "python/thalweg"]))?)
}

/// The type stubs of the native module say what the module really offers.
pub(super) fn stubs() -> StepResult {
    Ok(run(&mut venv_python([
        "-m",
        "mypy.stubtest",
        "thalweg._native",
    ]))?)
}

/// The documentation builds: every page is in it and every link leads somewhere.
pub(super) fn documentation() -> StepResult {
    Ok(run(&mut venv_python([
        "-m",
        "sphinx",
        "-W",
        "-q",
        "-b",
        "html",
        "docs",
        "docs/_build/html",
    ]))?)
}

/// The interpreter of the virtual environment with these arguments.
fn venv_python<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = command(INTERPRETER);
    command.args(arguments);
    command
}

fn require<const N: usize>(probe: [&str; N], tool: &str) -> StepResult {
    if succeeds(command("python3").args(probe)) {
        Ok(())
    } else {
        Err(NotPassed::MissingTool(tool.to_owned()))
    }
}
