//! The few calls this crate makes into NumPy.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// `numpy.asarray(value)`: an array over the buffer of `value`.
pub(crate) fn asarray<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static ASARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    ASARRAY
        .import(value.py(), "numpy", "asarray")?
        .call1((value,))
}
