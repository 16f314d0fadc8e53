//! The `with` block of the writer lock.

use pyo3::prelude::*;

use super::StreamHandle;

/// `acquire` for the length of a `with` block, any number of times.
///
/// Native, because Python runs signal handlers between the instructions of Python code: one that
/// raises inside an `__enter__` or `__exit__` written in Python would leave the lock taken.
#[pyclass(frozen)]
pub(crate) struct LockScope {
    /// What the block gets: the Python handle.
    handle: Py<PyAny>,
    stream: Py<StreamHandle>,
    timeout: Option<f64>,
}

impl LockScope {
    pub(super) fn new(handle: Py<PyAny>, stream: Py<StreamHandle>, timeout: Option<f64>) -> Self {
        Self {
            handle,
            stream,
            timeout,
        }
    }
}

#[pymethods]
impl LockScope {
    fn __enter__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.stream.get().take_lock(py, self.timeout)?;
        Ok(self.handle.clone_ref(py))
    }

    fn __exit__(
        &self,
        _kind: &Bound<'_, PyAny>,
        _exception: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let stream = self.stream.get();
        // A handle that was closed inside the block has given its locks back already.
        if stream.is_open() {
            stream.give_lock_back()?;
        }
        Ok(())
    }
}
