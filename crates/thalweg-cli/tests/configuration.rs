//! The verbs about configurations: `validate`, `describe`, `schema`, `kinds`, `sources`, `sinks`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

use serde_json::Value as Json;

fn thalweg(folder: &tempfile::TempDir, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_thalweg"))
        .args(arguments)
        .current_dir(folder.path())
        .output()
        .unwrap()
}

/// Exit status, standard output and standard error.
fn outcome(folder: &tempfile::TempDir, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = thalweg(folder, arguments);
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

const FINE: &str = "\
shared_memory:
  - {name: raw, shape: [4], dtype: float32}
  - {name: out, shape: [4], dtype: float32}
kernels:
  - {name: stage, kind: cpu.scale, input: raw, output: out, parameters: {factor: 2.0}}
";

const ODD: &str = "\
shared_memory:
  - {name: raw, shape: [4], dtype: float32}
  - {name: out, shape: [4], dtype: float32}
  - {name: spare, shape: [4], dtype: float32}
kernels:
  - {name: stage, kind: cpu.scale, input: raw, output: out, operation: sum, parameters: {factor: 2.0, facto: 3}}
";

const ODD_WARNINGS: &str = "
- odd.yaml:4:12: warning: shared_memory[2].name: shared memory 'spare' is neither written nor read by any node (hint: remove it, or wire it)
- odd.yaml:6:72: warning: kernels[0].operation: kernel 'stage': the kind 'cpu.scale' takes no 'operation' and ignores it (hint: use `cpu.custom_operation`, or move it into `parameters`)
- odd.yaml:6:110: warning: kernels[0].parameters.facto: kernel 'stage': the kind 'cpu.scale' has no parameter 'facto' and ignores it (hint: did you mean `factor`?)
";

const WRONG: &str = "\
shared_memory:
  - {name: raw, shape: [4]}
  - {name: out, shape: [5], dtype: float32}
kernels:
  - {name: stage, kind: cpu.scal, input: raw, output: out}
";

#[test]
fn validation_passes() {
    let folder = folder_with(&[("fine.yaml", FINE)]);
    for strict in [&[][..], &["--strict"]] {
        let arguments = [&["validate", "fine.yaml"], strict].concat();
        let expected = "Validation passed: fine.yaml\n".to_owned();
        assert_eq!(
            outcome(&folder, &arguments),
            (Some(0), expected, String::new())
        );
    }
}

#[test]
fn warnings_fail_only_where_they_should() {
    let folder = folder_with(&[("odd.yaml", ODD)]);
    let passed = format!("Validation passed: odd.yaml{ODD_WARNINGS}");
    assert_eq!(
        outcome(&folder, &["validate", "odd.yaml"]),
        (Some(0), passed, String::new())
    );
    let failed = format!("Validation failed: odd.yaml{ODD_WARNINGS}");
    assert_eq!(
        outcome(&folder, &["validate", "--strict", "odd.yaml"]),
        (Some(1), failed, String::new())
    );
}

#[test]
fn validation_fails_with_everything_there_is_to_say() {
    let folder = folder_with(&[("wrong.yaml", WRONG), ("empty.yaml", "")]);
    let failed = "\
Validation failed: wrong.yaml
- wrong.yaml:2:5: warning: shared_memory[0]: shared memory 'raw' has no 'dtype': float64 (hint: add `dtype: float64`, or the one that is meant)
- wrong.yaml:5:25: kernels[0].kind: kernel 'stage': unknown kernel kind 'cpu.scal' (hint: did you mean `cpu.scale`?)
";
    assert_eq!(
        outcome(&folder, &["validate", "wrong.yaml"]),
        (Some(1), failed.to_owned(), String::new())
    );
    let empty = "Validation failed: empty.yaml\n- empty.yaml: pipeline config must define a non-empty shared_memory list\n";
    assert_eq!(
        outcome(&folder, &["validate", "empty.yaml"]),
        (Some(1), empty.to_owned(), String::new())
    );
    let (status, out, error) = outcome(&folder, &["validate", "absent.yaml"]);
    assert_eq!((status, error.as_str()), (Some(1), ""));
    assert!(
        out.starts_with("Validation failed: absent.yaml\n- absent.yaml: cannot read"),
        "{out}"
    );
}

#[test]
fn validation_as_json() {
    let folder = folder_with(&[("odd.yaml", ODD), ("wrong.yaml", WRONG)]);
    let report = |arguments: &[&str]| -> (Option<i32>, Json) {
        let output = thalweg(&folder, arguments);
        (
            output.status.code(),
            serde_json::from_slice(&output.stdout).unwrap(),
        )
    };
    let (status, odd) = report(&["validate", "--json", "odd.yaml"]);
    assert_eq!(status, Some(0));
    assert_eq!(odd["valid"], true);
    assert_eq!(odd["config"], "odd.yaml");
    assert_eq!(odd["diagnostics"].as_array().map(Vec::len), Some(3));
    assert_eq!(
        odd["diagnostics"][2],
        serde_json::json!({
            "severity": "warning",
            "path": "kernels[0].parameters.facto",
            "file": "odd.yaml",
            "line": 6,
            "column": 110,
            "message": "kernel 'stage': the kind 'cpu.scale' has no parameter 'facto' and ignores it",
            "hint": "did you mean `factor`?",
        })
    );
    let (status, strict) = report(&["validate", "--json", "--strict", "odd.yaml"]);
    assert_eq!((status, &strict["valid"]), (Some(1), &Json::Bool(false)));
    let (status, wrong) = report(&["validate", "--json", "wrong.yaml"]);
    assert_eq!((status, &wrong["valid"]), (Some(1), &Json::Bool(false)));
    assert_eq!(wrong["diagnostics"][1]["severity"], "error");
}

#[test]
fn the_built_in_pipeline_gives_no_warning() {
    let folder = folder_with(&[]);
    let (status, out, _) = outcome(&folder, &["validate", "--strict"]);
    assert_eq!(status, Some(0), "{out}");
}

#[test]
fn a_graph_in_every_format() {
    let folder = folder_with(&[("fine.yaml", FINE), ("wrong.yaml", "a: 1\n")]);
    for (format, begin) in [
        ("text", "Pipeline Graph\n\nShared Memory:\n- raw ["),
        ("json", "{\n  \"shared_memory\": ["),
        ("dot", "digraph pipeline {\n"),
        ("mermaid", "flowchart TD\n"),
        ("svg", "<svg xmlns=\"http://www.w3.org/2000/svg\""),
    ] {
        let (status, out, error) = outcome(&folder, &["describe", "fine.yaml", "--format", format]);
        assert_eq!((status, error.as_str()), (Some(0), ""), "{format}");
        assert!(out.starts_with(begin), "{format}: {out}");
        for name in ["raw", "out", "stage", "cpu.scale"] {
            assert!(out.contains(name), "{format}: no {name} in {out}");
        }
    }
    let formatted = outcome(&folder, &["describe", "fine.yaml", "--format", "json"]);
    assert_eq!(
        outcome(&folder, &["describe", "fine.yaml", "--json"]),
        formatted
    );
    let (status, out, error) = outcome(&folder, &["describe", "wrong.yaml"]);
    assert_eq!((status, out.as_str()), (Some(1), ""));
    assert!(
        error.contains("wrong.yaml:1:1: a: pipeline config contains"),
        "{error}"
    );
    let (status, ..) = outcome(&folder, &["describe", "--format", "png", "fine.yaml"]);
    assert_eq!(status, Some(2));
}

#[test]
fn kinds_one_per_line() {
    let folder = folder_with(&[]);
    for (verb, known) in [
        ("kinds", "cpu.scale"),
        ("sources", "synthetic.array"),
        ("sinks", "null.sink"),
    ] {
        let (status, out, _) = outcome(&folder, &[verb]);
        assert_eq!(status, Some(0));
        let kinds: Vec<&str> = out.lines().collect();
        assert!(kinds.contains(&known), "{verb}: {out}");
        assert!(kinds.is_sorted(), "{verb}: {out}");
        assert!(
            kinds.iter().all(|kind| !kind.contains(' ')),
            "{verb}: {out}"
        );
        let (_, long, _) = outcome(&folder, &[verb, "--long"]);
        assert_eq!(long.lines().count(), kinds.len() + 1, "{long}");
        let line = long.lines().find(|line| line.starts_with(known));
        assert!(
            line.is_some_and(|line| line.len() > known.len() + 10),
            "{long}"
        );
    }
    let scale = "cpu.scale (kernel): ";
    for verb in ["kinds", "sinks"] {
        let (status, out, _) = outcome(&folder, &[verb, "cpu.scale"]);
        assert_eq!(status, Some(0));
        assert!(
            out.starts_with(scale) && out.contains("\n  factor: "),
            "{out}"
        );
    }
    let (status, out, error) = outcome(&folder, &["kinds", "cpu.skale"]);
    assert_eq!((status, out.as_str()), (Some(1), ""));
    assert!(error.contains("unknown kind `cpu.skale`"), "{error}");
}

#[test]
fn the_schema_is_json() {
    let folder = folder_with(&[]);
    let schema = |arguments: &[&str]| -> Json {
        serde_json::from_slice(&thalweg(&folder, arguments).stdout).unwrap()
    };
    let (usable, strict) = (schema(&["schema"]), schema(&["schema", "--strict"]));
    assert_eq!(
        usable["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    let required = |schema: &Json| schema["$defs"]["shared_memory"]["required"].clone();
    assert_eq!(required(&usable), serde_json::json!(["name", "shape"]));
    assert_eq!(
        required(&strict),
        serde_json::json!(["name", "shape", "dtype"])
    );
}
