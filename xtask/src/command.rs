//! The one place that starts other programs.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Moves this process to the root of the repository, where every command line is meant to run.
///
/// # Errors
///
/// The folder is gone: the program was built in another place.
pub(crate) fn enter_root() -> Result<(), String> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    std::env::set_current_dir(root)
        .map_err(|error| format!("the repository is no longer at `{root}`: {error}"))
}

/// A command in the environment a developer's shell would give it.
///
/// `cargo run`, which started this program, describes the package `xtask` in environment
/// variables; children must not take them for their own.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// `cargo` with these arguments.
pub(crate) fn cargo<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = command("cargo");
    command.args(arguments);
    command
}

/// Shows the command line, runs it and passes its output through.
///
/// # Errors
///
/// The command line and how it ended, when it could not be started or did not succeed.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let line = shell_line(command);
    eprintln!("$ {line}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{line}` ended with {status}")),
        Err(error) => Err(format!("`{line}` could not be started: {error}")),
    }
}

/// Runs the command without a word; true if it could be started and succeeded.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The folder cargo builds into, wherever configuration and environment put it.
///
/// # Errors
///
/// What cargo complained about, or that its answer could not be read.
pub(crate) fn target_directory() -> Result<PathBuf, String> {
    let mut command = cargo(["metadata", "--format-version=1", "--no-deps"]);
    let line = shell_line(&command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("`{line}` could not be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("`{line}` ended with {}", output.status));
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("`{line}` did not print JSON: {error}"))?;
    metadata["target_directory"]
        .as_str()
        .map(PathBuf::from)
        .ok_or_else(|| format!("`{line}` named no target_directory"))
}

/// The developer's own value of a variable with `flags` added.
pub(crate) fn appended(variable: &str, flags: &str) -> String {
    match std::env::var(variable) {
        Ok(own) if !own.trim().is_empty() => format!("{own} {flags}"),
        _ => flags.to_owned(),
    }
}

/// The command as it can be pasted into a shell in the root of the repository.
pub(crate) fn shell_line(command: &Command) -> String {
    let set = command.get_envs().filter_map(|(name, value)| {
        Some(format!(
            "{}={}",
            name.to_string_lossy(),
            quoted(&value?.to_string_lossy())
        ))
    });
    let words = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| quoted(&word.to_string_lossy()));
    set.chain(words).collect::<Vec<_>>().join(" ")
}

/// The word as a POSIX shell has to see it.
fn quoted(word: &str) -> String {
    let is_plain =
        |character: char| character.is_ascii_alphanumeric() || "-_./=:,+@%".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_lines_survive_a_shell() {
        let mut command = command("printf");
        command.args(["%s|%s|%s|%s", "plain", "two words", "loom_*", "it's"]);
        command.env("SHOWN", "--cfg loom");
        let line = shell_line(&command);
        assert!(line.starts_with("SHOWN='--cfg loom' printf '"), "{line}");

        let output = Command::new("sh").arg("-c").arg(&line).output().unwrap();
        assert_eq!(output.stdout, b"plain|two words|loom_*|it's");
    }

    #[test]
    fn children_do_not_inherit_the_package_of_xtask() {
        // Cargo sets CARGO_PKG_NAME for tests as it does for `cargo run`.
        assert!(std::env::var_os("CARGO_PKG_NAME").is_some());
        let output = command("env").output().unwrap();
        let environment = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!environment.contains("CARGO_PKG_NAME="), "{environment}");
    }

    #[test]
    fn failures_name_the_command_line() {
        let failure = run(command("sh").args(["-c", "exit 7"])).unwrap_err();
        assert_eq!(failure, "`sh -c 'exit 7'` ended with exit status: 7");
        let failure = run(&mut command("no-such-program-here")).unwrap_err();
        assert!(failure.starts_with("`no-such-program-here` could not be started: "));
        assert!(!succeeds(&mut command("no-such-program-here")));
    }
}
