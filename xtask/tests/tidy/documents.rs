//! Documents keep up with the code they describe.

use crate::repository::{assert_none, members, metadata, read, root, tracked_files};

#[test]
fn the_architecture_names_every_crate() {
    let document = read("docs/architecture.md");
    let findings: Vec<String> = members(&metadata())
        .into_iter()
        .filter(|(name, _)| !document.contains(&format!("\n### `{name}`\n")))
        .map(|(name, _)| format!("docs/architecture.md: expected a section ### `{name}`"))
        .collect();
    assert_none(&findings);
}

#[test]
fn the_changelog_has_room_for_the_next_change() {
    let changelog = read("CHANGELOG.md");
    assert!(
        changelog.contains("\n## [Unreleased]\n"),
        "CHANGELOG.md: expected a section ## [Unreleased]"
    );
}

#[test]
fn both_licences_are_here() {
    assert!(read("LICENSE-MIT").starts_with("MIT License"));
    assert!(read("LICENSE-APACHE").contains("Apache License"));
}

/// Targets of the inline links in a Markdown text.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target)
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut findings = Vec::new();
    for file in &tracked_files() {
        let Some(text) = file.text().filter(|_| file.path.ends_with(".md")) else {
            continue;
        };
        let place = root().join(&file.path);
        for link in links(text) {
            let path = link.split('#').next().unwrap_or_default();
            let is_elsewhere = link.contains("://") || path.is_empty();
            if !is_elsewhere && !place.with_file_name(path).exists() {
                findings.push(format!("{}: the link to `{link}` leads nowhere", file.path));
            }
        }
    }
    assert_none(&findings);
}

#[test]
fn links_are_found() {
    let found: Vec<&str> = links("[a](b.md) and [c](d/e.md#f), not (g.md)").collect();
    assert_eq!(found, ["b.md", "d/e.md#f"]);
}
