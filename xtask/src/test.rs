//! `cargo xtask test`: every check and test, one after the other, and one summary.

mod python;
mod report;
mod rust;

use std::process::ExitCode;
use std::time::Instant;

pub(crate) use report::{NotPassed, StepResult};

use crate::cli::{Group, TestOptions};
use report::Report;

/// One step: something that passes, fails or is skipped as a whole.
struct Step {
    group: Group,
    name: &'static str,
    /// Name of the earlier step without which this one is pointless.
    needs: Option<&'static str>,
    run: fn() -> StepResult,
}

impl Step {
    const fn new(group: Group, name: &'static str, run: fn() -> StepResult) -> Self {
        Self {
            group,
            name,
            needs: None,
            run,
        }
    }

    const fn needs(mut self, name: &'static str) -> Self {
        self.needs = Some(name);
        self
    }
}

const PYTHON_INSTALLATION: &str = "python installation";

/// All steps in their order: quick verdicts first.
const STEPS: [Step; 12] = [
    Step::new(Group::Fmt, "formatting", rust::formatting),
    Step::new(Group::Clippy, "lints", rust::lints),
    Step::new(Group::Rust, "rust tests", rust::tests),
    Step::new(Group::Doctest, "rust doctests", rust::doctests),
    Step::new(Group::Loom, "loom models", rust::loom_models),
    Step::new(Group::Docs, "rust documentation", rust::documentation),
    Step::new(Group::Python, PYTHON_INSTALLATION, crate::python::install),
    Step::new(Group::Python, "python tests", python::tests).needs(PYTHON_INSTALLATION),
    Step::new(Group::Python, "python types", python::types).needs(PYTHON_INSTALLATION),
    Step::new(Group::Python, "python type stubs", python::stubs).needs(PYTHON_INSTALLATION),
    Step::new(Group::Python, "documentation pages", python::documentation)
        .needs(PYTHON_INSTALLATION),
    Step::new(Group::Wheel, "wheel", crate::wheel::test),
];

/// Runs the chosen steps and prints the summary.
pub(crate) fn run(options: &TestOptions) -> ExitCode {
    let chosen: Vec<&Step> = STEPS
        .iter()
        .filter(|step| options.only.is_empty() || options.only.contains(&step.group))
        .collect();
    let mut report = Report::default();
    for (index, step) in chosen.iter().enumerate() {
        eprintln!("\n==> [{}/{}] {}", index + 1, chosen.len(), step.name);
        let started = Instant::now();
        let result = match step.needs {
            Some(needed) if !report.has_passed(needed) => Err(NotPassed::Blocked(needed)),
            _ => (step.run)(),
        };
        if let Err(reason) = &result {
            eprintln!("{reason}");
        }
        report.add(step.name, started.elapsed(), result);
    }
    eprintln!("\n{report}");
    report.exit_code(options.strict)
}
