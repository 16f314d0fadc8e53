//! The newest slot's memory without a pin.

use std::ffi::c_int;
use std::ptr::NonNull;

use pyo3::ffi;
use pyo3::prelude::*;
use thalweg::Stream;

use super::export::Layout;

/// One slot, read-only and live: the writer overwrites it when its turn comes.
#[pyclass(frozen)]
pub(crate) struct Peek {
    layout: Layout,
    /// Keeps the memory mapped.
    _slot: thalweg::shm::Peek,
}

impl Peek {
    pub(crate) fn new(stream: &Stream) -> Self {
        Self::of_slot(stream.peek())
    }

    pub(super) fn of_slot(slot: thalweg::shm::Peek) -> Self {
        let array = slot.array();
        let address = NonNull::new(array.as_bytes_ptr().cast_mut()).unwrap_or(NonNull::dangling());
        let layout = Layout::new(address, array.dtype(), array.shape());
        Self {
            layout,
            _slot: slot,
        }
    }
}

#[pymethods]
impl Peek {
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        // SAFETY: CPython passed `view` and `flags`. The layout is part of `slf`, as is what keeps
        // the memory mapped, for reading only.
        unsafe {
            slf.get()
                .layout
                .fill(view, flags, slf.clone().into_any(), false)
        }
    }
}
