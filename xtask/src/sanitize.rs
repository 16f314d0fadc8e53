//! `cargo xtask sanitize`: the tests of the floors with unsafe code, watched by AddressSanitizer.

use std::process::ExitCode;

use crate::command::{appended, cargo, command, run, target_directory};

/// Tests that AddressSanitizer cannot watch: loom's need another build, and a process that is
/// stepped through single instructions would be stepped through the sanitizer's as well.
const EXCLUDED: [&str; 2] = ["loom_", "step_kill"];

/// Builds into a folder of its own and runs the tests.
pub(crate) fn run_sanitize() -> ExitCode {
    match sanitize() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn sanitize() -> Result<(), String> {
    let mut command = cargo([
        "test",
        "--package=thalweg-os",
        "--package=thalweg-shm",
        "--lib",
        "--no-fail-fast",
        // With a target of its own, build scripts and macros stay without the sanitizer.
        "--target",
        &host()?,
        "--target-dir",
    ]);
    command.arg(target_directory()?.join("sanitize"));
    for test in integration_tests("crates/thalweg-shm/tests")? {
        command.arg("--test").arg(test);
    }
    // Stable compilers have sanitizers but do not offer them.
    command.env("RUSTC_BOOTSTRAP", "1");
    // With `fuzzing` bytes are copied where the sanitizer sees it.
    let flags = "-Zsanitizer=address --cfg fuzzing";
    command.env("RUSTFLAGS", appended("RUSTFLAGS", flags));
    // A forked child that ends leaves the memory of its parent's threads behind: no leak of anybody's.
    command.env("ASAN_OPTIONS", "detect_leaks=0");
    run(&mut command)
}

/// Names of the integration tests in `folder`, without the excluded ones.
fn integration_tests(folder: &str) -> Result<Vec<String>, String> {
    let unreadable = |error| format!("the folder `{folder}` cannot be read: {error}");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let is_test = path.join("main.rs").exists() || path.extension().is_some_and(|e| e == "rs");
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if is_test && !EXCLUDED.iter().any(|excluded| name.starts_with(excluded)) {
            names.push(name.into_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The platform the compiler itself runs on.
fn host() -> Result<String, String> {
    let output = command("rustc").arg("-vV").output();
    let output = output.map_err(|error| format!("`rustc -vV` could not be started: {error}"))?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
        .ok_or_else(|| "`rustc -vV` named no host".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_and_some_left_out() {
        crate::command::enter_root().unwrap();
        let names = integration_tests("crates/thalweg-shm/tests").unwrap();
        assert!(names.iter().any(|name| name == "stream"));
        assert!(names.iter().any(|name| name == "chaos"));
        assert!(
            !names
                .iter()
                .any(|name| name == "step_kill" || name.starts_with("loom"))
        );
        assert!(integration_tests("no/such/folder").is_err());
    }
}
