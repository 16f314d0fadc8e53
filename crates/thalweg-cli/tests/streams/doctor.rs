//! `thalweg doctor`: every finding says what, why, and how to mend it.

use crate::support::Scratch;
use serde_json::Value;

#[test]
fn every_finding_explains_itself() {
    let scratch = Scratch::new();
    let output = scratch.succeeds(&["doctor", "--json"]);
    let findings: Vec<Value> = output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let topics: Vec<&str> = findings
        .iter()
        .map(|one| one["topic"].as_str().unwrap())
        .collect();
    for topic in [
        "CPUs",
        "streams' folder",
        "locked memory",
        "futex_waitv",
        "waking",
        "timers",
    ] {
        assert!(topics.contains(&topic), "no {topic} in {topics:?}");
    }
    for finding in &findings {
        let verdict = finding["verdict"].as_str().unwrap();
        let is_well = verdict == "ok";
        assert!(
            is_well || ["note", "problem"].contains(&verdict),
            "{finding}"
        );
        assert_eq!(is_well, finding["mend"].is_null(), "{finding}");
        assert!(!finding["found"].as_str().unwrap().is_empty(), "{finding}");
        assert!(!finding["why"].as_str().unwrap().is_empty(), "{finding}");
    }
}

#[test]
fn a_folder_that_is_no_tmpfs_is_a_problem() {
    let scratch = Scratch::new();
    let output = scratch
        .command(&["doctor"])
        .env("THALWEG_SHM_DIR", "/proc")
        .output()
        .unwrap();
    let shown = crate::support::text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "findings are no failure");
    assert!(shown.contains("/proc is not in memory"), "{shown}");
    assert!(shown.contains("THALWEG_SHM_DIR"), "{shown}");
    assert!(
        shown.lines().last().unwrap().contains("checks: "),
        "{shown}"
    );
}
