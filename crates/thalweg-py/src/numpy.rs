//! The few calls this crate makes into NumPy.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

/// `numpy.asarray(value)`: an array over the buffer of `value`.
pub(crate) fn asarray<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static ASARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    ASARRAY
        .import(value.py(), "numpy", "asarray")?
        .call1((value,))
}

/// `numpy.ndarray(shape, dtype, memory)`: an array that holds `memory` without holding a buffer of it.
pub(crate) fn array_over<'py>(
    memory: &Bound<'py, PyAny>,
    shape: &[usize],
    dtype: &str,
) -> PyResult<Bound<'py, PyAny>> {
    static NDARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let shape = PyTuple::new(memory.py(), shape)?;
    NDARRAY
        .import(memory.py(), "numpy", "ndarray")?
        .call1((shape, dtype, memory))
}

/// `array.flags.writeable = False`.
pub(crate) fn make_read_only(array: &Bound<'_, PyAny>) -> PyResult<()> {
    let arguments = PyDict::new(array.py());
    arguments.set_item("write", false)?;
    array
        .call_method("setflags", (), Some(&arguments))
        .map(drop)
}
