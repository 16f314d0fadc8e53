//! Crates form floors, and a dependency only points down.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::repository::{array, assert_none, members, metadata, text};

/// Every crate and its floor. A crate may depend on those of lower floors only, whether to build
/// or to test, so crates of one floor never know each other.
const FLOORS: [(&str, u32); 9] = [
    ("thalweg-os", 0),
    ("thalweg-shm", 1),
    ("thalweg-kernels", 2),
    ("thalweg-ao", 3),
    ("thalweg-pipeline", 3),
    ("thalweg", 4),
    ("thalweg-cli", 5),
    ("thalweg-py", 5),
    ("xtask", 6),
];

#[test]
fn dependencies_point_down() {
    let metadata = metadata();
    let floors = BTreeMap::from(FLOORS);
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for package in array(&metadata["packages"]) {
        let name = text(&package["name"]);
        let Some(floor) = floors.get(name) else {
            continue;
        };
        seen.insert(name);
        for dependency in array(&package["dependencies"]) {
            let dependency = text(&dependency["name"]);
            if let Some(below) = floors.get(dependency)
                && below >= floor
            {
                findings.push(format!(
                    "{name} (floor {floor}) depends on {dependency} (floor {below}): expected a \
                     lower floor; move what is shared further down"
                ));
            }
        }
    }
    for (name, _) in members(&metadata) {
        if !floors.contains_key(name.as_str()) {
            findings.push(format!(
                "{name} has no floor: add it to FLOORS in this test"
            ));
        }
    }
    for name in floors.keys().filter(|name| !seen.contains(*name)) {
        findings.push(format!("{name} has a floor but is gone: remove it here"));
    }
    assert_none(&findings);
}

#[test]
fn only_the_python_module_links_python() {
    let metadata = metadata();
    let names: BTreeMap<&str, &str> = array(&metadata["packages"])
        .iter()
        .map(|package| (text(&package["id"]), text(&package["name"])))
        .collect();
    let links_python: BTreeSet<&str> = array(&metadata["packages"])
        .iter()
        .filter(|package| package["links"] == "python")
        .map(|package| text(&package["id"]))
        .collect();
    assert!(!links_python.is_empty(), "nothing links Python any more");

    let linking: BTreeSet<&str> = array(&metadata["workspace_members"])
        .iter()
        .map(text)
        .filter(|member| !reachable(&metadata, member).is_disjoint(&links_python))
        .map(|member| names[member])
        .collect();
    assert_eq!(linking, BTreeSet::from(["thalweg-py"]));
}

/// Everything that is built for the package with this id, directly or indirectly.
fn reachable<'a>(metadata: &'a Value, id: &'a str) -> BTreeSet<&'a str> {
    let edges: BTreeMap<&str, &Value> = array(&metadata["resolve"]["nodes"])
        .iter()
        .map(|node| (text(&node["id"]), &node["dependencies"]))
        .collect();
    let mut found = BTreeSet::new();
    let mut open = vec![id];
    while let Some(id) = open.pop() {
        if found.insert(id) {
            open.extend(array(edges[id]).iter().map(text));
        }
    }
    found
}

#[test]
fn every_crate_inherits_lints_and_metadata() {
    let inherited = [
        "[lints]\nworkspace = true\n",
        "version.workspace = true\n",
        "edition.workspace = true\n",
        "rust-version.workspace = true\n",
        "license.workspace = true\n",
        "description = ",
    ];
    let mut findings = Vec::new();
    for (name, manifest) in members(&metadata()) {
        let manifest = std::fs::read_to_string(manifest).unwrap();
        for line in inherited {
            if !manifest.contains(line) {
                findings.push(format!("{name}: expected `{}` in Cargo.toml", line.trim()));
            }
        }
    }
    assert_none(&findings);
}
