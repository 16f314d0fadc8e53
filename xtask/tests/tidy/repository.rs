//! What the checks look at: the tracked files and cargo's view of the workspace.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// One tracked file.
pub(crate) struct TrackedFile {
    /// Path below the root, with `/`.
    pub(crate) path: String,
    /// Contents; empty for a symbolic link.
    pub(crate) bytes: Vec<u8>,
}

impl TrackedFile {
    /// Contents as text; `None` for binary files.
    pub(crate) fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }

    /// True for a Rust source.
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// All files that git tracks or would track, without those deleted in the working tree.
pub(crate) fn tracked_files() -> Vec<TrackedFile> {
    // The clone may belong to another user than the one testing it, as in many containers.
    let safe = format!("safe.directory={}", root().display());
    let listing = stdout(
        Command::new("git")
            .args(["-c", &safe, "ls-files", "-z"])
            .args(["--cached", "--others", "--exclude-standard"])
            .current_dir(root()),
    );
    let listing = String::from_utf8(listing).unwrap();
    let files: Vec<TrackedFile> = listing
        .split_terminator('\0')
        .map(|path| (path, root().join(path)))
        .filter(|(_, place)| place.is_file())
        .map(|(path, place)| TrackedFile {
            path: path.to_owned(),
            bytes: std::fs::read(place).unwrap(),
        })
        .collect();
    assert!(
        files.iter().any(|file| file.path == "Cargo.toml"),
        "git lists no Cargo.toml"
    );
    files
}

/// The contents of a file that has to exist.
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| panic!("{path}: expected a text file: {error}"))
}

/// What `cargo metadata` says about the workspace and everything it links.
pub(crate) fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let json = stdout(
        Command::new(cargo)
            .args(["metadata", "--format-version=1", "--all-features"])
            .current_dir(root()),
    );
    serde_json::from_slice(&json).unwrap()
}

/// Names and manifests of the workspace's own packages.
pub(crate) fn members(metadata: &Value) -> Vec<(String, PathBuf)> {
    let ids = array(&metadata["workspace_members"]);
    let members: Vec<(String, PathBuf)> = array(&metadata["packages"])
        .iter()
        .filter(|package| ids.contains(&package["id"]))
        .map(|package| {
            (
                text(&package["name"]).to_owned(),
                PathBuf::from(text(&package["manifest_path"])),
            )
        })
        .collect();
    assert!(!members.is_empty(), "cargo metadata lists no members");
    members
}

/// The value as a JSON array.
pub(crate) fn array(value: &Value) -> &[Value] {
    value.as_array().expect("an array in cargo metadata")
}

/// The value as a JSON string.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().expect("a string in cargo metadata")
}

/// Fails with every finding, if there is one.
#[track_caller]
pub(crate) fn assert_none(findings: &[String]) {
    assert!(findings.is_empty(), "\n  {}\n", findings.join("\n  "));
}

fn stdout(command: &mut Command) -> Vec<u8> {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}
