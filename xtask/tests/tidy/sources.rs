//! What every tracked file has to look like.

use crate::repository::{TrackedFile, assert_none, root, tracked_files};

const LARGEST_FILE_BYTES: usize = 1 << 20;

/// Lock files are written by tools and name the registry.
fn is_lock_file(path: &str) -> bool {
    path.ends_with("Cargo.lock") || path.ends_with("package-lock.json")
}

/// Every line of every text file that `problem` has something to say about.
fn lines_with(problem: impl Fn(&TrackedFile, &str) -> Option<String>) -> Vec<String> {
    let mut findings = Vec::new();
    for file in &tracked_files() {
        let Some(text) = file.text() else { continue };
        for (index, line) in text.split('\n').enumerate() {
            if let Some(what) = problem(file, line) {
                findings.push(format!("{}:{}: {what}", file.path, index + 1));
            }
        }
    }
    findings
}

#[test]
fn rust_files_say_what_they_are() {
    let findings: Vec<String> = tracked_files()
        .iter()
        .filter(|file| file.is_rust() && !file.text().unwrap_or_default().starts_with("//! "))
        .map(|file| format!("{}:1: expected module docs (`//! …`) at the top", file.path))
        .collect();
    assert_none(&findings);
}

#[test]
fn lines_end_cleanly() {
    assert_none(&lines_with(|_, line| {
        (line != line.trim_end()).then(|| "white space at the end of the line".to_owned())
    }));
}

#[test]
fn text_files_end_with_one_newline() {
    let findings: Vec<String> = tracked_files()
        .iter()
        .filter(|file| {
            file.text().is_some_and(|text| {
                !text.is_empty() && (!text.ends_with('\n') || text.ends_with("\n\n"))
            })
        })
        .map(|file| format!("{}: expected exactly one newline at the end", file.path))
        .collect();
    assert_none(&findings);
}

#[test]
fn files_stay_small() {
    let findings: Vec<String> = tracked_files()
        .iter()
        .filter(|file| file.bytes.len() > LARGEST_FILE_BYTES)
        .map(|file| {
            format!(
                "{}: {} bytes, expected at most {LARGEST_FILE_BYTES}: generate it instead",
                file.path,
                file.bytes.len()
            )
        })
        .collect();
    assert_none(&findings);
}

/// Words that would tie the repository to one machine or one registry.
fn foreign_words() -> Vec<String> {
    let here = root().display().to_string();
    [
        "/root/",
        "/home/",
        "/Users/",
        "registry+",
        "index-url",
        "static.crates.io",
        "index.crates.io",
        "files.pythonhosted.org",
        "pypi.org/simple",
        "registry.npmjs.org",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([here])
    .collect()
}

/// True if `word` stands in `line` and does not merely end a longer path or name.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        let continues = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let starts_anew = !before.is_some_and(|c| continues(c) || c == '.' || c == '~');
        let ends_here = word.ends_with(['/', '+']) || !after.is_some_and(continues);
        starts_anew && ends_here
    })
}

#[test]
fn nothing_is_tied_to_one_machine() {
    let words = foreign_words();
    assert_none(&lines_with(|file, line| {
        if is_lock_file(&file.path) || file.path.ends_with("tidy/sources.rs") {
            return None;
        }
        let word = words.iter().find(|word| names(line, word))?;
        Some(format!(
            "`{word}` exists on one machine only: use a relative path, or leave it out"
        ))
    }));
}

#[test]
fn words_are_told_from_parts_of_words() {
    assert!(names("see /home/me/x", "/home/"));
    assert!(names("path=\"/srv/thalweg\"", "/srv/thalweg"));
    assert!(!names("docs/home/x", "/home/"));
    assert!(!names("/srv/thalweg-2", "/srv/thalweg"));
    assert!(names("registry+https", "registry+"));
}
