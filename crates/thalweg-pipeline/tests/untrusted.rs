//! Documents may come from anybody: whatever they are, reading them ends soon, in little memory,
//! and with a clear message.

#[path = "untrusted/document.rs"]
mod document;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde_json::json;
use thalweg_pipeline::config::PipelineConfig;

fn first_problem(text: &str) -> String {
    let problems = PipelineConfig::from_yaml_str(text, Path::new("p.yaml"));
    problems.expect_err("not a pipeline").0[0].to_string()
}

#[test]
fn aliases_of_aliases_are_bounded() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..20 {
        let before = level - 1;
        writeln!(
            text,
            "a{level}: &a{level} [{}]",
            vec![format!("*a{before}"); 10].join(", ")
        )
        .expect("a string takes everything");
    }
    let problem = first_problem(&text);
    assert!(
        problem.contains("the document takes more than 67108864 bytes"),
        "{problem}"
    );
}

#[test]
fn aliases_of_long_text_are_bounded() {
    let long = "x".repeat(1 << 20);
    let text = format!("a: &a {long}\nb: [{}]\n", vec!["*a"; 1000].join(", "));
    let problem = first_problem(&text);
    assert!(
        problem.contains("the document takes more than 67108864 bytes"),
        "{problem}"
    );
}

#[test]
fn merges_of_merges_are_bounded() {
    let keys: Vec<String> = (0..1000).map(|key| format!("k{key}: 1")).collect();
    let mut text = format!("m0: &m0 {{{}}}\n", keys.join(", "));
    for level in 1..2000 {
        let before = level - 1;
        writeln!(
            text,
            "m{level}: &m{level} {{<<: *m{before}, own{level}: 1}}"
        )
        .expect("a string takes everything");
    }
    let problem = first_problem(&text);
    assert!(
        problem.contains("the document takes more than 67108864 bytes"),
        "{problem}"
    );
}

#[test]
fn depth_is_bounded() {
    let block: String = (0..1000)
        .map(|depth| format!("{}- \n", " ".repeat(depth)))
        .collect();
    for (text, expected) in [
        ("[".repeat(100_000), "recursion limit exceeded"),
        ("{a: ".repeat(100_000), "recursion limit exceeded"),
        ("? ".repeat(100_000), "recursion limit exceeded"),
        ("- ".repeat(100_000), "recursion limit exceeded"),
        (block, "recursion limit exceeded"),
        (
            format!("{}{}{}", "- ".repeat(40), "[".repeat(40), "]".repeat(40)),
            "more than 64 deep",
        ),
    ] {
        let problem = first_problem(&text);
        let shown: String = text.chars().take(20).collect();
        assert!(problem.contains(expected), "{shown}: {problem}");
    }
}

#[test]
fn a_deep_json_value_is_refused() {
    let mut value = json!(1);
    for _ in 0..1000 {
        value = json!([value]);
    }
    let document = json!({"shared_memory": [{"name": "a", "shape": value}]});
    let problems = PipelineConfig::from_json(&document, Path::new("/")).expect_err("too deep");
    assert!(
        problems.to_string().contains("nested more than 64 deep"),
        "{problems}"
    );
}

#[test]
fn many_streams_are_quick() {
    let count = 20_000;
    let mut text = "shared_memory:\n".to_owned();
    for index in 0..count {
        writeln!(text, "- {{name: s{index}, shape: [4]}}").expect("a string takes everything");
    }
    text += "kernels:\n";
    for index in 1..count {
        let before = index - 1;
        writeln!(
            text,
            "- {{name: k{index}, kind: cpu.copy, input: s{before}, output: s{index}}}"
        )
        .expect("a string takes everything");
    }
    let config = PipelineConfig::from_yaml_str(&text, Path::new("p.yaml"));
    assert_eq!(config.expect("valid").kernels.len(), count - 1);
}

#[test]
fn many_mistakes_are_quick() {
    let count = 20_000;
    let mut text = "shared_memory:\n".to_owned();
    for index in 0..count {
        writeln!(text, "- {{name: s{index}, shape: [4], shap{index}: 1}}")
            .expect("a string takes everything");
    }
    text += "kernels:\n";
    for index in 0..count {
        writeln!(
            text,
            "- {{name: k{index}, kind: k, input: t{index}, output: u{index}, x: 1, x: 2}}"
        )
        .expect("a string takes everything");
    }
    let problems = PipelineConfig::from_yaml_str(&text, Path::new("p.yaml")).expect_err("invalid");
    assert_eq!(problems.0.len(), 5 * count);
}

#[test]
fn a_streams_size_costs_nothing() {
    // 1 TiB each: had anybody allocated it, this would not end well.
    let text = "
shared_memory:
  - {name: a, shape: [1048576, 131072], slots: 2, initial: {pattern: normal}}
  - {name: b, shape: [1048576, 131072], slots: 2, initial: {pattern: identity}}
sinks: [{name: k, kind: null.sink, stream: a}]
";
    let config = PipelineConfig::from_yaml_str(text, Path::new("p.yaml")).expect("valid");
    assert_eq!(config.streams[0].payload_bytes(), Some(1 << 40));
    let text = text.replace("pattern: normal", "pattern: values, values: [1]");
    let problems = PipelineConfig::from_yaml_str(&text, Path::new("p.yaml")).expect_err("invalid");
    assert_eq!(problems.0.len(), 1, "{problems}");
    assert_eq!(problems.0[0].path, "shared_memory[0].initial.values");
}

#[test]
fn files_that_are_no_documents_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pipeline.yaml");
    let load = || {
        let problems = PipelineConfig::from_yaml_file(&path).expect_err("no document");
        let text = problems.to_string();
        let start = format!("{}:", path.display());
        text.strip_prefix(&start)
            .expect("the file's name")
            .to_owned()
    };
    assert!(
        load().contains("cannot read the configuration: No such file"),
        "{}",
        load()
    );
    fs::write(&path, b"shared_memory:\n  - {name: caf\xe9}\n").expect("writable");
    assert_eq!(
        load(),
        "2:15: line 2 is not UTF-8 text (hint: save the file as UTF-8)"
    );
    fs::write(&path, b"\xff\xfe").expect("writable");
    assert_eq!(
        load(),
        "1:1: line 1 is not UTF-8 text (hint: save the file as UTF-8)"
    );
    let as_file = PipelineConfig::from_yaml_file(folder.path()).expect_err("a folder");
    assert!(as_file.to_string().contains("Is a directory"), "{as_file}");
}

#[test]
fn line_ends_and_byte_order_marks_do_not_matter() {
    let text = "shared_memory:\n  - name: a\n    shape: [4]\nsinks:\n  - {name: k, kind: null.sink, stream: a}\n";
    let read = |text: &str| {
        PipelineConfig::from_yaml_str(text, Path::new("p.yaml")).unwrap_or_else(|p| panic!("{p}"))
    };
    let plain = read(text);
    for other in [text.replace('\n', "\r\n"), format!("\u{feff}{text}")] {
        let config = read(&other);
        assert_eq!(config, plain);
        let at =
            |config: &PipelineConfig| config.positions.span("sinks[0].stream").map(|at| at.line);
        assert_eq!(at(&config), at(&plain));
    }
}

fn valid_document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/documents/every_field.yaml");
    fs::read_to_string(path).expect("the document")
}

/// Words that mean something in a document, to make the interesting mistakes likely.
const WORDS: [&str; 30] = [
    "null",
    "[",
    "]",
    "{",
    "}",
    ": ",
    "- ",
    "&a ",
    "*a",
    "<<: ",
    "? ",
    "| ",
    "\n  ",
    "\t",
    "\"",
    "'",
    "!!int ",
    "1e999",
    "0x",
    "-1",
    "99999999999999999999999999999999999999999999",
    ".nan",
    "# ",
    "input: ",
    "restart: ",
    "placement: ",
    "cpus: ",
    "group: ",
    "wait: spin",
    "always",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens to a document, it is read or refused with a message, and what is read
    /// survives the way there and back.
    #[test]
    fn damaged_documents_are_read_or_refused(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..12, 0..WORDS.len()), 1..6),
    ) {
        let mut text: Vec<char> = valid_document().chars().collect();
        for (place, removed, word) in edits {
            let start = place.index(text.len() + 1);
            let end = (start + removed).min(text.len());
            text.splice(start..end, WORDS[word].chars());
        }
        document::check(&text.into_iter().collect::<String>());
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[\\PC\\n\\t]{0,200}") {
        document::check(&text);
    }

    /// Any name and any parameter text survives being written as YAML.
    #[test]
    fn any_text_survives_the_yaml_writer(name in "\\PC{1,20}", value in any::<String>()) {
        let name = format!("{name}x");
        let document = json!({
            "shared_memory": [{"name": name, "shape": [1], "dtype": "float32"}],
            "sinks": [{"name": name, "kind": "k", "stream": name, "parameters": {"v": value, &name: 1}}],
        });
        let config = PipelineConfig::from_json(&document, Path::new("/"));
        let config = config.unwrap_or_else(|problems| panic!("{problems}"));
        let yaml = config.to_yaml().expect("writable");
        let again = PipelineConfig::from_yaml_str(&yaml, Path::new("p.yaml"));
        prop_assert_eq!(again, Ok(config), "{}", yaml);
    }
}
