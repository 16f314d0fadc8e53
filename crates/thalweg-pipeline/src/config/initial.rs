//! `initial`: what a stream holds before anybody writes it.

use serde_json::Value as Json;
use thalweg_kernels::initial::Initial;
use thalweg_kernels::{Parameters, SpecProblem};
use thalweg_shm::DType;

use super::document::{NonFinite, join_index};
use super::fields::{Item, Problems};
use super::{Diagnostic, PipelineConfig};

/// Reads `initial` of the stream `entry` and checks it against the stream's dtype and shape,
/// `target`; what it has to be is not known without them. Looks only at the document:
/// [`file_problems`] looks at files.
pub(super) fn read_initial(
    initial: &Item<'_>,
    entry: &Item<'_>,
    target: Option<(DType, &[usize])>,
    problems: &mut Problems,
) -> Option<Parameters> {
    let who = entry.who();
    let mut unrepresentable = Problems::new();
    let json = initial
        .node
        .to_json(&initial.path, NonFinite::Spelled, &mut unrepresentable);
    let Json::Object(parameters) = json else {
        problems.push(initial.expected("a mapping"));
        return None;
    };
    if let Some((dtype, shape)) = target
        && !Initial::reads_file(&parameters)
    {
        // `base_dir` is for files only.
        let checked = Initial::new(&parameters, dtype, shape, "".as_ref());
        let wrong = checked.err().unwrap_or_default().into_iter();
        let wrong = wrong.map(|problem| {
            let span = entry.node.nearest(&problem.path).span;
            diagnostic(problem, &entry.path, who).at(span)
        });
        // A number that was read as null is not complained about a second time.
        problems.extend(wrong.filter(|problem| {
            let same_place = |other: &Diagnostic| other.path == problem.path;
            !unrepresentable.iter().any(same_place)
        }));
    }
    problems.extend(unrepresentable.into_iter().map(|problem| Diagnostic {
        message: format!("{who}: {}", problem.message),
        ..problem
    }));
    Some(parameters)
}

/// What is wrong with initial contents that come from files, whose headers this reads.
pub(super) fn file_problems(config: &PipelineConfig) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    for (index, stream) in config.streams.iter().enumerate() {
        let Some(initial) = stream.initial.as_ref().filter(|it| Initial::reads_file(it)) else {
            continue;
        };
        let checked = Initial::new(initial, stream.dtype, &stream.shape, &config.base_path);
        let entry_path = join_index("shared_memory", index);
        let who = format!("shared memory '{}'", stream.name);
        let wrong = checked.err().unwrap_or_default().into_iter();
        problems.extend(wrong.map(|problem| diagnostic(problem, &entry_path, &who)));
    }
    problems
}

/// `problem` of the stream called `who` that stands at `entry_path`, without its line.
fn diagnostic(problem: SpecProblem, entry_path: &str, who: &str) -> Diagnostic {
    Diagnostic {
        hint: problem.hint,
        ..Diagnostic::new(
            format!("{entry_path}.{}", problem.path),
            format!("{who}: {}", problem.message),
        )
    }
}
