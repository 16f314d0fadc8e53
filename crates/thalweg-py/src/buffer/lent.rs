//! The memory of a frame on loan to its writer.

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use thalweg::{LentMemory, Stream};

use super::export::Layout;

/// What the arrays inside a write block are views of. They hold it, and it holds the mapping.
#[pyclass(frozen)]
pub(crate) struct Lent {
    layout: Layout,
    memory: LentMemory,
    buffers: AtomicUsize,
    /// Set when the lending ends. From then on NumPy finds that nothing here can be written, and does not let
    /// anybody make the arrays writable again.
    is_over: AtomicBool,
}

impl Lent {
    pub(super) fn new(stream: &Stream, memory: LentMemory) -> Self {
        let layout = Layout::new(memory.address(), stream.dtype(), stream.shape());
        Self {
            layout,
            memory,
            buffers: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        }
    }

    pub(super) fn memory(&self) -> &LentMemory {
        &self.memory
    }

    /// No more buffers.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Buffers that are held right now.
    pub(super) fn buffers(&self) -> usize {
        self.buffers.load(Ordering::Relaxed)
    }
}

#[pymethods]
impl Lent {
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let lent = slf.get();
        if lent.is_over.load(Ordering::Relaxed) {
            return Err(PyBufferError::new_err(
                "the `with` block that lent this memory has ended",
            ));
        }
        lent.buffers.fetch_add(1, Ordering::Relaxed);
        // SAFETY: CPython passed `view` and `flags`. The layout is part of `slf`, which keeps the
        // memory mapped for writing.
        let filled = unsafe { lent.layout.fill(view, flags, slf.clone().into_any(), true) };
        if filled.is_err() {
            lent.buffers.fetch_sub(1, Ordering::Relaxed);
        }
        filled
    }

    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.buffers.fetch_sub(1, Ordering::Relaxed);
    }
}
