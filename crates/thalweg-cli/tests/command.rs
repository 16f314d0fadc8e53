//! The command as a user meets it: exit status, what is printed where, what is left behind.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

struct Scratch {
    streams: tempfile::TempDir,
    files: tempfile::TempDir,
}

impl Scratch {
    fn new() -> Self {
        let streams = tempfile::Builder::new()
            .prefix("thalweg-test-")
            .tempdir_in("/dev/shm")
            .unwrap();
        Self {
            streams,
            files: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn thalweg(&self, arguments: &[&str]) -> Output {
        self.thalweg_in(self.streams.path(), arguments)
    }

    fn thalweg_in(&self, streams: &Path, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_thalweg"))
            .args(arguments)
            .env("THALWEG_SHM_DIR", streams)
            .current_dir(self.files.path())
            .output()
            .unwrap()
    }

    /// Runs the command, expects this exit status and these words on standard error, and nothing
    /// left behind.
    fn refuses(&self, status: i32, arguments: &[&str], words: &[&str]) {
        let output = self.thalweg(arguments);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {error}");
        for word in words {
            assert!(
                error.contains(word),
                "{arguments:?}: no {word:?} in {error}"
            );
        }
        assert!(!error.contains("panicked"), "{error}");
        assert_eq!(self.leftovers(), Vec::<String>::new());
    }

    fn leftovers(&self) -> Vec<String> {
        std::fs::read_dir(self.streams.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with("thalweg-permits."))
            .collect()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn pipeline(shape: &str, kind: &str) -> String {
    format!(
        "shared_memory:\n  - {{name: raw, shape: {shape}, dtype: float32}}\n  - {{name: out, shape: [4], dtype: float32}}\nkernels:\n  - {{name: stage, kind: {kind}, input: raw, output: out, parameters: {{factor: 2.0}}}}\n"
    )
}

#[test]
fn a_missing_file_is_named() {
    let scratch = Scratch::new();
    scratch.refuses(
        1,
        &["run", "nowhere.yaml"],
        &["nowhere.yaml", "No such file"],
    );
}

#[test]
fn bad_yaml_is_shown_with_its_line() {
    let scratch = Scratch::new();
    let path = scratch.file("bad.yaml", "shared_memory:\n  - {name: raw\n");
    scratch.refuses(1, &["run", &path], &["bad.yaml:"]);
}

#[test]
fn an_unknown_kind_and_a_wrong_shape_are_both_reported() {
    let scratch = Scratch::new();
    let path = scratch.file("kind.yaml", &pipeline("[4]", "cpu.scael"));
    scratch.refuses(
        1,
        &["run", &path],
        &["kind.yaml:5:", "cpu.scael", "cpu.scale"],
    );
    let path = scratch.file("shape.yaml", &pipeline("[5]", "cpu.scale"));
    scratch.refuses(1, &["run", &path], &["shape.yaml:5:", "[5]", "[4]"]);
}

#[test]
fn a_full_file_system_is_told_with_numbers() {
    let scratch = Scratch::new();
    // More than any machine has, less than what the grammar allows.
    let text = "shared_memory:\n  - {name: a, shape: [1000], dtype: float32}\n  - {name: huge, shape: [4194304, 1048576], dtype: uint8}\nsources:\n  - {name: s, kind: synthetic.array, stream: a}\n";
    let path = scratch.file("huge.yaml", text);
    scratch.refuses(1, &["run", &path], &["huge", "bytes needed", "bytes free"]);
}

#[test]
fn an_unwritable_folder_is_named() {
    let scratch = Scratch::new();
    let path = scratch.file("fine.yaml", &pipeline("[4]", "cpu.scale"));
    let output = scratch.thalweg_in(Path::new("/proc"), &["run", &path]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("/proc"), "{error}");
}

#[test]
fn wrong_usage_exits_with_2() {
    let scratch = Scratch::new();
    scratch.refuses(2, &["run", "--duration", "-1"], &["--duration"]);
    scratch.refuses(2, &["walk"], &["walk"]);
    scratch.refuses(2, &["unlink"], &["NAMES"]);
    scratch.refuses(2, &[], &["Usage"]);
}

#[test]
fn an_input_for_a_stream_that_is_not_there_is_refused() {
    let scratch = Scratch::new();
    let path = scratch.file("fine.yaml", &pipeline("[4]", "cpu.scale"));
    scratch.refuses(
        1,
        &["run", &path, "--input", "rwa=x.npy"],
        &["rwa", "raw, out"],
    );
    scratch.refuses(1, &["run", &path, "--input", "raw=x.npy"], &["x.npy"]);
}

#[test]
fn validate_and_describe_the_built_in_pipeline() {
    let scratch = Scratch::new();
    let output = scratch.thalweg(&["validate"]);
    assert!(output.status.success());
    assert!(text(&output.stdout).starts_with("Validation passed"));
    let output = scratch.thalweg(&["describe"]);
    assert!(text(&output.stdout).contains("Pipeline Graph"));
    let output = scratch.thalweg(&["describe", "--json"]);
    let graph: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        graph["edges"]
            .as_array()
            .is_some_and(|edges| edges.len() > 10)
    );
}

#[test]
fn a_bounded_run_prints_pure_json() {
    let scratch = Scratch::new();
    let text = "shared_memory:\n  - {name: raw, shape: [4], dtype: float32}\n  - {name: out, shape: [4], dtype: float32}\nsources:\n  - {name: source, kind: synthetic.array, stream: raw, parameters: {pattern: ramp, rate_hz: 2000}}\nkernels:\n  - {name: stage, kind: cpu.scale, input: raw, output: out, parameters: {factor: 2.0}}\nsinks:\n  - {name: end, kind: null.sink, stream: out}\n";
    let path = scratch.file("synthetic.yaml", text);
    let output = scratch.thalweg(&["run", &path, "--frames", "50", "--json"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(status["completed_frames"].as_u64() >= Some(50));
    assert_eq!(status["nodes"].as_array().map(Vec::len), Some(3));
    assert_eq!(scratch.leftovers(), Vec::<String>::new());
}

#[test]
fn a_replayed_file_ends_the_run_by_itself() {
    let scratch = Scratch::new();
    let path = scratch.file("fine.yaml", &pipeline("[4]", "cpu.scale"));
    // Version 1.0 of the format: magic, header padded to 128 bytes, 30 frames of four floats.
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (30, 4), }";
    bytes.extend(format!("{header:<117}\n").bytes());
    for value in 0..120u16 {
        bytes.extend(f32::from(value).to_le_bytes());
    }
    let frames = scratch.files.path().join("frames.npy");
    std::fs::write(&frames, bytes).unwrap();
    let output = scratch.thalweg(&[
        "run",
        &path,
        "--input",
        "raw=frames.npy",
        "--rate",
        "200",
        "--json",
    ]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let source = &status["nodes"][0];
    assert_eq!(
        (source["frames"].as_u64(), source["health"].as_str()),
        (Some(30), Some("finished"))
    );
    assert_eq!(scratch.leftovers(), Vec::<String>::new());
}

#[test]
fn streams_are_listed_shown_and_removed() {
    let scratch = Scratch::new();
    let output = scratch.thalweg(&["list"]);
    assert!(output.status.success() && output.stdout.is_empty());
    assert!(text(&output.stderr).contains("no streams found"));
    let directory = thalweg::StreamDirectory::new(scratch.streams.path());
    let options = thalweg::StreamOptions::new(thalweg::DType::Uint16, &[480, 640]);
    for name in ["camera/1", "camera/2", "other"] {
        directory.create(name, &options).unwrap();
    }
    let output = scratch.thalweg(&["list"]);
    assert_eq!(text(&output.stdout), "camera/1\ncamera/2\nother\n");
    let output = scratch.thalweg(&["stat", "camera/1", "--json"]);
    let stat: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&stat["shape"][1], &stat["dtype"]),
        (&640.into(), &"uint16".into())
    );
    assert_eq!(scratch.thalweg(&["stat", "nothing"]).status.code(), Some(1));
    assert!(text(&scratch.thalweg(&["stat", "other"]).stdout).contains("count:      0"));
    let output = scratch.thalweg(&["unlink", "other", "nothing"]);
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(0), "unlinked other\n".into())
    );
    let output = scratch.thalweg(&["purge", "camera/", "--dry-run"]);
    assert_eq!(
        text(&output.stdout),
        "would remove camera/1\nwould remove camera/2\n"
    );
    let output = scratch.thalweg(&["purge", "camera/"]);
    assert_eq!(text(&output.stdout), "removed camera/1\nremoved camera/2\n");
    assert_eq!(scratch.leftovers(), Vec::<String>::new());
}
