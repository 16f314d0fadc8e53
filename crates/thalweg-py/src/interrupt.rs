//! Long waits: without the interpreter, and ended by Ctrl-C.

use std::cell::Cell;

use pyo3::prelude::*;
use thalweg::shm::Interrupt;

/// Runs `wait` detached from the interpreter, so that other threads go on. What it gets as its
/// interrupt runs Python's signal handlers; if one of them raises, as that of Ctrl-C does, the
/// exception becomes the result.
pub(crate) fn interruptible<T, E>(
    py: Python<'_>,
    wait: impl FnOnce(Interrupt<'_>) -> Result<T, E> + Send,
    of_error: impl FnOnce(E) -> PyErr,
) -> PyResult<T>
where
    T: Send,
    E: Send,
{
    let (outcome, raised) = py.detach(|| {
        let raised: Cell<Option<PyErr>> = Cell::new(None);
        let has_raised = Cell::new(false);
        let outcome = wait(&|| {
            if !has_raised.get() {
                // An interpreter that shuts down runs no handlers: the wait has to end, too.
                let checked = Python::try_attach(|py| py.check_signals());
                has_raised.set(!matches!(checked, Some(Ok(()))));
                raised.set(checked.and_then(Result::err));
            }
            has_raised.get()
        });
        (outcome, raised.into_inner())
    });
    match raised {
        Some(exception) => Err(exception),
        None => outcome.map_err(of_error),
    }
}
