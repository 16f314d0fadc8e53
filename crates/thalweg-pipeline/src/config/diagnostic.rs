//! Problems of a configuration, each with the place where it is mended.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::document::Span;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration cannot be used.
    #[default]
    Error,
    /// It can, but hardly says what was meant.
    Warning,
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where in the document's structure, such as `kernels[1].parameters.factor`; empty for the
    /// document as a whole.
    pub path: String,
    /// The file, if the document came from one.
    pub file: Option<PathBuf>,
    /// Line, counted from 1; `None` when the document was no text.
    pub line: Option<u32>,
    /// Column in characters, counted from 1.
    pub column: Option<u32>,
    /// What is wrong: expected and found.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// An error at `path` whose line is not known (yet).
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            path: path.into(),
            file: None,
            line: None,
            column: None,
            message: message.into(),
            hint: None,
        }
    }

    /// Makes a warning of it.
    #[must_use]
    pub fn as_warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Whether it keeps the configuration from being used.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Adds how to mend it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds line and column, if they are known.
    #[must_use]
    pub fn at(mut self, span: Option<Span>) -> Self {
        self.line = span.map(|span| span.line);
        self.column = span.map(|span| span.column);
        self
    }

    /// Adds the file, if there is one.
    #[must_use]
    pub fn in_file(mut self, file: Option<&Path>) -> Self {
        self.file = file.map(Path::to_owned);
        self
    }
}

/// `pipeline.yaml:12:9: kernels[0].input: what is wrong (hint: how to mend it)`, each part where it
/// is known; `warning: ` comes after the place.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line, self.column) {
            (Some(file), Some(line), Some(column)) => {
                write!(f, "{}:{line}:{column}: ", file.display())?;
            }
            (Some(file), ..) => write!(f, "{}: ", file.display())?,
            (None, Some(line), Some(column)) => write!(f, "line {line}, column {column}: ")?,
            (None, ..) => {}
        }
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a configuration, in the order of the document; displayed with one
/// problem per line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// `problems` in the order of the document; those without a line come first, in the order they
    /// were found.
    pub(super) fn sorted(mut problems: Vec<Diagnostic>) -> Self {
        problems.sort_by_key(|problem| (problem.line, problem.column));
        Self(problems)
    }

    /// Adds the file to every problem.
    #[must_use]
    pub(super) fn in_file(self, file: &Path) -> Self {
        let problems = self.0.into_iter();
        Self(
            problems
                .map(|problem| problem.in_file(Some(file)))
                .collect(),
        )
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_what_is_known_about_its_place() {
        let problem = Diagnostic::new("kernels[0].input", "no such stream").with_hint("declare it");
        let span = Span {
            line: 12,
            column: 9,
        };
        let file = Some(Path::new("pipeline.yaml"));
        for (problem, expected) in [
            (
                problem.clone().at(Some(span)).in_file(file),
                "pipeline.yaml:12:9: kernels[0].input: no such stream (hint: declare it)",
            ),
            (
                problem.clone().in_file(file),
                "pipeline.yaml: kernels[0].input: no such stream (hint: declare it)",
            ),
            (
                problem.clone().at(Some(span)),
                "line 12, column 9: kernels[0].input: no such stream (hint: declare it)",
            ),
            (
                problem,
                "kernels[0].input: no such stream (hint: declare it)",
            ),
            (Diagnostic::new("", "empty"), "empty"),
            (
                Diagnostic::new("a", "odd")
                    .at(Some(span))
                    .in_file(file)
                    .as_warning(),
                "pipeline.yaml:12:9: warning: a: odd",
            ),
        ] {
            assert_eq!(problem.to_string(), expected);
        }
    }
}
