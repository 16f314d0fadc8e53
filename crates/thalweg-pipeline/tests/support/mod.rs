//! Cases as data: documents and the problems they are expected to have.
//!
//! A file holds cases. A case starts with `### ` and what it shows, goes on with a document, and ends
//! with one line `==> ` per expected problem, as `line:column: path: message (hint: ...)`; a case
//! without such a line has no problem. The text under `### ...` at the head of a file is appended
//! to the document of every case, so that cases can be about one section only.
//! With `THALWEG_BLESS=1` in the environment the expectations are rewritten instead of checked.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use thalweg_pipeline::config::Diagnostic;

/// What documents are called in the problems of the cases.
pub(crate) const DOCUMENT_NAME: &str = "p.yaml";

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

/// The problem without the file name that all of them start with.
fn shown(problem: &Diagnostic) -> String {
    let text = problem.to_string();
    let text = text
        .strip_prefix(&format!("{DOCUMENT_NAME}:"))
        .unwrap_or_else(|| panic!("no file name: {text}"));
    text.trim_start().to_owned()
}

/// Checks the cases of `tests/<file>` against what `problems_of` finds.
pub(crate) fn check(file: &str, problems_of: impl Fn(&str) -> Vec<Diagnostic>) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
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
        let problems = problems_of(&format!("{document}\n{appended}"));
        let found: Vec<String> = problems.iter().map(shown).collect();
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
