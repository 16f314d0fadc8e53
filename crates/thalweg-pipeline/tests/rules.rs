//! Every rule of the configuration grammar, as data: `tests/rules/*.txt`.
//!
//! A file holds cases. A case starts with `### ` and what it shows, goes on with a document, and ends
//! with one line `==> ` per expected problem, as `line:column: path: message (hint: ...)`; a case
//! without such a line is a valid document. The text under `### ...` at the head of a file is
//! appended to the document of every case, so that cases can be about one section only.
//! `THALWEG_BLESS=1 cargo test -p thalweg-pipeline --test rules` rewrites the expectations.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use thalweg_pipeline::config::PipelineConfig;

struct Case {
    title: String,
    document: String,
    expected: Vec<String>,
}

fn read_cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("### ") {
            cases.push(Case {
                title: title.to_owned(),
                document: String::new(),
                expected: Vec::new(),
            });
            continue;
        }
        let case = cases.last_mut().expect("a file starts with a case");
        match line.strip_prefix("==> ") {
            Some(problem) => case.expected.push(problem.to_owned()),
            None => {
                assert!(
                    case.expected.is_empty() || line.trim().is_empty(),
                    "{}: a document goes on after its problems",
                    case.title
                );
                writeln!(case.document, "{line}").expect("a string takes everything");
            }
        }
    }
    cases
}

/// Problems of a document, without the file name they all start with.
fn problems_of(document: &str) -> Vec<String> {
    match PipelineConfig::from_yaml_str(document, Path::new("p.yaml")) {
        Ok(_) => Vec::new(),
        Err(problems) => problems
            .0
            .iter()
            .map(|problem| {
                let text = problem.to_string();
                let text = text.strip_prefix("p.yaml:").expect("the file's name");
                text.trim_start().to_owned()
            })
            .collect(),
    }
}

fn check(file: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/rules")
        .join(file);
    let text = fs::read_to_string(&path).expect("the cases");
    let mut cases = read_cases(&text);
    let appended = if cases[0].title == "..." {
        cases.remove(0).document
    } else {
        String::new()
    };
    let mut blessed = String::new();
    if !appended.is_empty() {
        write!(blessed, "### ...\n{appended}").expect("a string takes everything");
    }
    let mut failures = Vec::new();
    for case in &cases {
        let document = case.document.trim_end();
        let found = problems_of(&format!("{document}\n{appended}"));
        write!(blessed, "### {}\n{document}\n", case.title).expect("a string takes everything");
        for problem in &found {
            writeln!(blessed, "==> {problem}").expect("a string takes everything");
        }
        blessed.push('\n');
        if found != case.expected {
            failures.push(format!(
                "{}\n  expected: {:#?}\n  found: {found:#?}",
                case.title, case.expected
            ));
        }
    }
    if std::env::var_os("THALWEG_BLESS").is_some() {
        fs::write(&path, blessed.trim_end().to_owned() + "\n").expect("the cases are writable");
    } else {
        assert!(failures.is_empty(), "{file}: {}", failures.join("\n"));
        assert!(!cases.is_empty());
    }
}

macro_rules! rule_files {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                check(concat!(stringify!($name), ".txt"));
            }
        )*
    };
}

rule_files!(
    root,
    shared_memory,
    initial,
    kernels,
    synchronization,
    sources,
    sinks,
    yaml
);
