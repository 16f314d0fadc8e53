//! `cargo xtask wheel`: the Python package as one file, which needs no Rust to be installed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::command::{command, run as run_command, target_directory};
use crate::python;
use crate::test::StepResult;

/// What a user does first, run with the interpreter the wheel was installed for.
const QUICK_STARTS: &str = "python/tests/wheel_quick_starts.py";

/// Builds the wheel and prints its path.
pub(crate) fn run() -> ExitCode {
    match python::environment()
        .map_err(|reason| reason.to_string())
        .and_then(|()| build())
    {
        Ok(wheel) => {
            println!("{}", wheel.display());
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Installs the wheel into an environment that has nothing else and finds no compiler, and makes
/// the first steps of both guides there.
pub(crate) fn test() -> StepResult {
    python::environment()?;
    let wheel = build()?;
    let environment = target_directory()?.join("wheel-environment");
    run_command(
        command("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment),
    )?;
    let interpreter = environment.join("bin/python");
    run_command(
        command(&interpreter)
            .args([
                "-m",
                "pip",
                "install",
                "--disable-pip-version-check",
                "--quiet",
            ])
            .arg(&wheel),
    )?;
    let script = Path::new(QUICK_STARTS)
        .canonicalize()
        .map_err(|error| format!("expected `{QUICK_STARTS}`: {error}"))?;
    let mut steps = command(&interpreter);
    steps
        // Not where the sources lie, which would be found first.
        .current_dir(&environment)
        .env("PATH", "/usr/bin:/bin")
        .env_remove("PYTHONPATH")
        .env_remove("VIRTUAL_ENV")
        .args(["-I".as_ref(), script.as_os_str()]);
    Ok(run_command(&mut steps)?)
}

/// Builds the wheel into the build directory; its path.
fn build() -> Result<PathBuf, String> {
    let folder = target_directory()?.join("wheels");
    let mut build = python::interpreter([
        "-m",
        "pip",
        "wheel",
        "--disable-pip-version-check",
        "--no-deps",
        "--wheel-dir",
    ]);
    run_command(build.arg(&folder).arg("."))?;
    newest(&folder)
}

/// The wheel that was built last; earlier ones of other versions may lie beside it.
fn newest(folder: &Path) -> Result<PathBuf, String> {
    let unreadable = |error| format!("cannot read `{}`: {error}", folder.display());
    let mut wheels = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            let metadata = entry.metadata().map_err(unreadable)?;
            wheels.push((metadata.modified().map_err(unreadable)?, path));
        }
    }
    wheels
        .into_iter()
        .max()
        .map(|(_, path)| path)
        .ok_or_else(|| format!("pip has left no wheel in `{}`", folder.display()))
}
