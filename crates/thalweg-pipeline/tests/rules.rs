//! Every rule of the configuration grammar: the cases are in `tests/rules/*.txt`, in the format of
//! [`support`].

mod support;

use std::fs;
use std::path::Path;

use support::{DOCUMENT_NAME, check};
use thalweg_pipeline::config::{Diagnostic, PipelineConfig};

/// What reading says; that most documents here leave dtypes out is not worth a word.
fn problems_of(document: &str) -> Vec<Diagnostic> {
    let reading = PipelineConfig::read_yaml_str(document, Path::new(DOCUMENT_NAME));
    let mut diagnostics = reading.diagnostics;
    diagnostics.retain(|it| it.is_error() || !it.message.ends_with("has no 'dtype': float64"));
    diagnostics
}

macro_rules! rule_files {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                check(concat!("rules/", stringify!($name), ".txt"), problems_of);
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
    execution,
    yaml
);

/// Programs match on these parts of messages.
#[test]
fn messages_keep_their_well_known_parts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules");
    let files = fs::read_dir(folder).expect("the cases");
    let text: String = files
        .map(|file| fs::read_to_string(file.expect("a file").path()).expect("the cases"))
        .collect();
    let problems: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("==> "))
        .collect();
    for parts in [
        &["pipeline config must define a non-empty shared_memory list"][..],
        &["either 'input' or 'inputs'"],
        &["either 'output' or"],
        &["either 'stream'"],
        &["contains unsupported fields"],
        &["undefined shared memory: missing"],
        &["same shared memory for both input and output"],
        &["same output stream"],
        &["identity", "2D"],
        &["requires trigger_policy"],
        &["'mode'"],
        &["'poll_interval'"],
        &["'read_timeout'"],
        &["'consume_timeout'"],
        &["YAML", "line 4"],
    ] {
        let holds = |problem: &&str| parts.iter().all(|part| problem.contains(part));
        assert!(problems.iter().any(holds), "{parts:?}");
    }
}
