//! Where everything stands in the document a configuration came from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Diagnostic;
use super::document::{Node, Span};

/// Positions by path, kept for checks that come after reading. Positions never make two
/// configurations different.
#[derive(Clone, Debug, Default)]
pub struct Positions {
    root: Option<Arc<Node>>,
    file: Option<PathBuf>,
}

impl Positions {
    pub(super) fn of(root: Node) -> Self {
        Self {
            root: Some(Arc::new(root)),
            file: None,
        }
    }

    pub(super) fn in_file(self, file: &Path) -> Self {
        Self {
            file: Some(file.to_owned()),
            ..self
        }
    }

    /// Line and column of the value at `path`, such as `kernels[1].parameters.factor`; where the
    /// document has no such value, those of the nearest value around it. `None` when the document
    /// was no text.
    pub fn span(&self, path: &str) -> Option<Span> {
        self.root.as_ref().and_then(|root| root.nearest(path).span)
    }

    /// Whether the document spells out a value at `path`.
    pub fn contains(&self, path: &str) -> bool {
        self.root
            .as_ref()
            .is_some_and(|root| root.find(path).is_some())
    }

    /// `problem` with file, line and column of its path.
    #[must_use]
    pub fn locate(&self, problem: Diagnostic) -> Diagnostic {
        let span = self.span(&problem.path);
        problem.at(span).in_file(self.file.as_deref())
    }
}
