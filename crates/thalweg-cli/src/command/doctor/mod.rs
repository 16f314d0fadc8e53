//! `thalweg doctor`: what hurts latency on this machine, and what mends it.
//!
//! Looks only; it changes nothing. The checks read what the kernel tells about itself, and hand the
//! texts to functions that judge them.

mod cpus;
mod finding;
mod kernel;
mod measure;
mod memory;
mod source;

use super::{Failed, tell};
use crate::cli::DoctorArguments;
use finding::{Finding, Verdict};

pub(crate) fn doctor(arguments: &DoctorArguments) -> Result<(), Failed> {
    let findings: Vec<Finding> = [
        cpus::check(),
        kernel::check(),
        memory::check(),
        measure::check(),
    ]
    .concat();
    if arguments.json {
        for finding in &findings {
            tell(serde_json::to_string(finding).map_err(Failed::because)?)?;
        }
        return Ok(());
    }
    let width = findings
        .iter()
        .map(|finding| finding.topic.len())
        .max()
        .unwrap_or(0);
    for finding in &findings {
        tell(finding.to_text(width))?;
    }
    let number = |verdict| {
        let of_verdict = |finding: &&Finding| finding.verdict == verdict;
        findings.iter().filter(of_verdict).count()
    };
    tell(format_args!(
        "\n{} checks: {} problems, {} notes",
        findings.len(),
        number(Verdict::Problem),
        number(Verdict::Note)
    ))
}
