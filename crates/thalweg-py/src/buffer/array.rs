//! The result of a computation, handed to Python without a copy.

use std::ffi::c_int;
use std::ptr::NonNull;

use pyo3::ffi;
use pyo3::prelude::*;
use thalweg::kernels::OwnedArray;

use super::export::Layout;

/// An array in private memory; `numpy.asarray` makes a writable array of it that owns it.
#[pyclass(frozen)]
pub(crate) struct Array {
    layout: Layout,
    /// Never touched again from here: its memory belongs to the views.
    _owner: OwnedArray,
}

impl Array {
    pub(crate) fn new(mut owner: OwnedArray) -> Self {
        let mut array = owner.as_array_mut();
        let address = NonNull::new(array.as_bytes_mut_ptr()).unwrap_or(NonNull::dangling());
        let layout = Layout::new(address, array.dtype(), array.shape());
        Self {
            layout,
            _owner: owner,
        }
    }
}

#[pymethods]
impl Array {
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        // SAFETY: CPython passed `view` and `flags`. The layout is part of `slf`, as is the memory,
        // which is on the heap and freed with it.
        unsafe {
            slf.get()
                .layout
                .fill(view, flags, slf.clone().into_any(), true)
        }
    }
}
