//! The steps of the Python packages.

use super::report::StepResult;
use crate::command::run;
use crate::docs;
use crate::python::interpreter;

/// The Python tests.
pub(super) fn tests() -> StepResult {
    Ok(run(&mut interpreter(["-m", "pytest", "python/tests"]))?)
}

/// The packages' annotations agree with each other.
pub(super) fn types() -> StepResult {
    Ok(run(&mut interpreter([
        "-m",
        "mypy",
        "python/thalweg",
        "python/compat/src/pyshmem",
        "python/compat/src/shmpipeline",
    ]))?)
}

/// The type stubs of the native module say what the module really offers.
pub(super) fn stubs() -> StepResult {
    Ok(run(&mut interpreter([
        "-m",
        "mypy.stubtest",
        "thalweg._native",
    ]))?)
}

/// The documentation builds: every page is in it and every link leads somewhere.
pub(super) fn documentation() -> StepResult {
    Ok(docs::pages()?)
}
