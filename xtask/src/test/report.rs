//! How the steps ended, the summary of it, and the exit code.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

/// How one step ended.
pub(crate) type StepResult = Result<(), NotPassed>;

/// Why a step did not pass.
#[derive(Debug)]
pub(crate) enum NotPassed {
    /// It ran and found something wrong, or could not run through.
    Failed(String),
    /// A tool is missing on this machine; the text names it and how to get it.
    MissingTool(String),
    /// This step needs an earlier one, which did not pass and has told why.
    Blocked(&'static str),
}

impl From<String> for NotPassed {
    fn from(failure: String) -> Self {
        Self::Failed(failure)
    }
}

impl fmt::Display for NotPassed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(reason) => f.write_str(reason),
            Self::MissingTool(tool) => write!(f, "missing {tool}"),
            Self::Blocked(needed) => write!(f, "needs `{needed}`, which did not pass"),
        }
    }
}

/// The steps that ran so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    name: &'static str,
    took: Duration,
    result: StepResult,
}

impl Report {
    /// Adds a step.
    pub(super) fn add(&mut self, name: &'static str, took: Duration, result: StepResult) {
        self.lines.push(Line { name, took, result });
    }

    /// True if a step of this name ran and passed.
    pub(super) fn has_passed(&self, name: &str) -> bool {
        self.lines
            .iter()
            .any(|line| line.name == name && line.result.is_ok())
    }

    /// Success if nothing failed; `strict` makes a missing tool a failure.
    pub(super) fn exit_code(&self, strict: bool) -> ExitCode {
        if self.is_success(strict) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    fn is_success(&self, strict: bool) -> bool {
        !self.lines.iter().any(|line| match line.result {
            Err(NotPassed::Failed(_)) => true,
            Err(NotPassed::MissingTool(_)) => strict,
            // The step it waited for decides.
            Ok(()) | Err(NotPassed::Blocked(_)) => false,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        writeln!(f, "summary")?;
        for line in &self.lines {
            let verdict = match &line.result {
                Ok(()) => {
                    passed += 1;
                    "passed"
                }
                Err(NotPassed::Failed(_)) => {
                    failed += 1;
                    "FAILED"
                }
                Err(NotPassed::MissingTool(_) | NotPassed::Blocked(_)) => {
                    skipped += 1;
                    "skipped"
                }
            };
            let took_s = line.took.as_secs_f64();
            write!(f, "  {verdict:<8} {:<20} {took_s:>7.1} s", line.name)?;
            if let Err(reason) = &line.result {
                write!(f, "  {reason}")?;
            }
            writeln!(f)?;
        }
        let total_s: f64 = self.lines.iter().map(|line| line.took.as_secs_f64()).sum();
        write!(
            f,
            "{passed} passed, {failed} failed, {skipped} skipped in {total_s:.0} s"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(results: impl IntoIterator<Item = StepResult>) -> Report {
        let mut report = Report::default();
        for result in results {
            report.add("step", Duration::from_millis(1500), result);
        }
        report
    }

    fn missing_tool() -> StepResult {
        Err(NotPassed::MissingTool("python3".to_owned()))
    }

    #[test]
    fn a_failure_fails_and_a_missing_tool_only_under_strict() {
        assert!(report([Ok(()), Ok(())]).is_success(true));
        assert!(!report([Ok(()), Err("wrong".to_owned().into()), Ok(())]).is_success(false));
        assert!(report([Ok(()), missing_tool()]).is_success(false));
        assert!(!report([Ok(()), missing_tool()]).is_success(true));
    }

    #[test]
    fn a_blocked_step_leaves_the_verdict_to_what_blocked_it() {
        let blocked = || Err(NotPassed::Blocked("install"));
        assert!(report([missing_tool(), blocked()]).is_success(false));
        assert!(!report([missing_tool(), blocked()]).is_success(true));
        assert!(!report([Err("broken".to_owned().into()), blocked()]).is_success(false));
    }

    #[test]
    fn the_summary_counts_and_gives_every_reason() {
        let text = report([
            Ok(()),
            Err("`cargo x` ended with exit status: 1".to_owned().into()),
            missing_tool(),
            Err(NotPassed::Blocked("install")),
        ])
        .to_string();
        let expected = "summary\n  \
            passed   step                     1.5 s\n  \
            FAILED   step                     1.5 s  `cargo x` ended with exit status: 1\n  \
            skipped  step                     1.5 s  missing python3\n  \
            skipped  step                     1.5 s  needs `install`, which did not pass\n\
            1 passed, 1 failed, 2 skipped in 6 s";
        assert_eq!(text, expected);
    }

    #[test]
    fn only_a_passed_step_unblocks_others() {
        assert!(report([Ok(())]).has_passed("step"));
        assert!(!report([missing_tool()]).has_passed("step"));
        assert!(!Report::default().has_passed("step"));
    }
}
