//! Every rule of the configuration grammar: the cases are in `tests/rules/*.txt`, in the format of
//! [`support`].

mod support;

use std::path::Path;

use support::{DOCUMENT_NAME, check};
use thalweg_pipeline::config::{Diagnostic, PipelineConfig};

fn problems_of(document: &str) -> Vec<Diagnostic> {
    match PipelineConfig::from_yaml_str(document, Path::new(DOCUMENT_NAME)) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.0,
    }
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
    yaml
);
