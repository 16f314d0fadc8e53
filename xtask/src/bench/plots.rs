//! `cargo xtask bench plots`: figures and tables from records, so that nobody types a number.

use std::fs;
use std::path::{Path, PathBuf};

use super::environment::{pip, python_environment, relative};
use super::page;
use crate::command::{command, run, target_directory};

const REQUIREMENT: &str = "matplotlib==3.11.2";

/// Draws `docs/figures/` and fills the tables of `docs/performance.md` from `bench/results/`; with
/// `is_quick`, the same from quick records into the build directory.
pub(super) fn make(is_quick: bool) -> Result<(), String> {
    let target = relative(target_directory()?);
    let source = Path::new("docs").join("performance.md");
    let (records, page, figures): (PathBuf, PathBuf, PathBuf) = if is_quick {
        let folder = target.join("bench");
        (
            folder.clone(),
            folder.join("performance.md"),
            folder.join("figures"),
        )
    } else {
        let docs = Path::new("docs");
        (
            Path::new("bench").join("results"),
            source.clone(),
            docs.join("figures"),
        )
    };
    let python = python_environment(&target.join("bench-plots"))?;
    run(pip(&python).args(["install", "--quiet", REQUIREMENT]))?;
    run(command(&python)
        .arg("bench/plots.py")
        .args([&records, &figures]))?;

    let text = fs::read_to_string(&source)
        .map_err(|error| format!("cannot read {}: {error}", source.display()))?;
    let filled = page::fill(&text, &records, &figures)?;
    fs::write(&page, filled)
        .map_err(|error| format!("cannot write {}: {error}", page.display()))?;
    eprintln!("written to {} and {}", page.display(), figures.display());
    Ok(())
}
