//! The repository's own virtual environment (`.venv`), with the Python packages installed in it.

use std::process::Command;

use crate::command::{command, run, succeeds};
use crate::test::{NotPassed, StepResult};

const INTERPRETER: &str = ".venv/bin/python";

/// Makes the virtual environment, once.
pub(crate) fn environment() -> StepResult {
    if !succeeds(&mut interpreter(["-m", "pip", "--version"])) {
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
    Ok(())
}

/// Installs the packages into the virtual environment, with what their tests and the documentation
/// need.
///
/// Editable: the native parts are built anew, the Python sources are used where they lie.
pub(crate) fn install() -> StepResult {
    environment()?;
    Ok(run(&mut interpreter([
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--editable",
        ".[docs,test]",
        "--editable",
        "python/compat",
    ]))?)
}

/// The interpreter of the virtual environment with these arguments.
pub(crate) fn interpreter<const N: usize>(arguments: [&str; N]) -> Command {
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
