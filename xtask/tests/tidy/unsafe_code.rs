//! Unsafe code stays on the floors made for it.
//!
//! The workspace denies the lint `unsafe_code`, so the compiler finds every use that no attribute
//! lets through. These tests look at the attributes.

use crate::repository::{TrackedFile, assert_none, tracked_files};

/// Crates whose roots shut unsafe code out for good.
const FORBIDDING: [&str; 5] = [
    "crates/thalweg/src/lib.rs",
    "crates/thalweg-cli/src/main.rs",
    "crates/thalweg-pipeline/src/lib.rs",
    "xtask/src/main.rs",
    "xtask/tests/tidy/main.rs",
];

/// Modules of the kernel crates that hold SIMD code, and the one that exports buffers to Python.
const UNSAFE_MODULES: [&str; 4] = [
    "crates/thalweg-kernels/src/centroid/",
    "crates/thalweg-kernels/src/matrix_vector/",
    "crates/thalweg-kernels/src/simd/",
    "crates/thalweg-py/src/buffer/",
];

/// True if this file may let unsafe code through: everything on the two bottom floors, and the
/// modules named above.
fn may_be_unsafe(path: &str) -> bool {
    ["crates/thalweg-os/", "crates/thalweg-shm/"]
        .iter()
        .chain(&UNSAFE_MODULES)
        .any(|place| path.starts_with(place))
}

/// Lines of a file that let unsafe code through.
fn exemptions(file: &TrackedFile) -> impl Iterator<Item = usize> {
    let text = file.text().unwrap_or_default();
    // One attribute may spread over several lines; its lint names come before the reason.
    let mut open_attribute = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let line = line.trim_start();
        if line.starts_with("#[") || line.starts_with("#![") {
            open_attribute = line.contains("expect(") || line.contains("allow(");
        }
        let exempts = open_attribute && line.contains("unsafe_code");
        open_attribute &= !line.contains(")]");
        exempts.then_some(index + 1)
    })
}

#[test]
fn only_the_named_modules_allow_unsafe_code() {
    let mut findings = Vec::new();
    for file in tracked_files().iter().filter(|file| file.is_rust()) {
        if may_be_unsafe(&file.path) {
            continue;
        }
        findings.extend(exemptions(file).map(|line| {
            format!(
                "{}:{line}: lets unsafe code through outside of thalweg-os, thalweg-shm and \
                 UNSAFE_MODULES of this test: move it there",
                file.path
            )
        }));
    }
    assert_none(&findings);
}

#[test]
fn safe_crates_forbid_unsafe_code() {
    let files = tracked_files();
    let mut findings = Vec::new();
    for path in FORBIDDING {
        let forbids = files
            .iter()
            .find(|file| file.path == path)
            .and_then(TrackedFile::text)
            .is_some_and(|text| text.lines().any(|line| line == "#![forbid(unsafe_code)]"));
        if !forbids {
            findings.push(format!(
                "{path}: expected the line `#![forbid(unsafe_code)]`"
            ));
        }
    }
    assert_none(&findings);
}

#[test]
fn exemptions_are_found_in_every_spelling() {
    let lines_of = |text: &str| -> Vec<usize> {
        exemptions(&TrackedFile {
            path: "x.rs".to_owned(),
            bytes: text.as_bytes().to_vec(),
        })
        .collect()
    };
    assert_eq!(lines_of("#![expect(unsafe_code, reason = \"x\")]"), [1]);
    assert_eq!(lines_of("#[allow(\n    unsafe_code,\n)]\nfn f() {}"), [2]);
    assert_eq!(lines_of("#[cfg_attr(x, allow(unsafe_code))]"), [1]);
    assert!(lines_of("#![forbid(unsafe_code)]\n// unsafe_code").is_empty());
    assert!(lines_of("#[expect(dead_code)]\n// no unsafe_code").is_empty());
}
