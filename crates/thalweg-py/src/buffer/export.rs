//! Filling in the structure of the buffer protocol.

use std::ffi::c_int;
use std::ptr::{NonNull, null_mut};

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use thalweg::DType;

/// Where a C-contiguous array lies and what it is. Part of the object that exports it, so that
/// the extents live as long as any view.
pub(super) struct Layout {
    address: NonNull<u8>,
    dtype: DType,
    shape: Box<[isize]>,
    strides: Box<[isize]>,
    size_bytes: isize,
}

// SAFETY: an address with its description; whoever uses it vouches for the memory.
unsafe impl Send for Layout {}
// SAFETY: as above; there is no interior state.
unsafe impl Sync for Layout {}

impl Layout {
    pub(super) fn new(address: NonNull<u8>, dtype: DType, shape: &[usize]) -> Self {
        let mut strides = vec![0; shape.len()];
        let mut stride = dtype.size_bytes();
        for (axis, &extent) in shape.iter().enumerate().rev() {
            strides[axis] = stride.cast_signed();
            stride *= extent;
        }
        Self {
            address,
            dtype,
            shape: shape.iter().map(|extent| extent.cast_signed()).collect(),
            strides: strides.into(),
            size_bytes: stride.cast_signed(),
        }
    }

    pub(super) fn dtype(&self) -> DType {
        self.dtype
    }

    /// Answers a request for a buffer of the object `exporter`.
    ///
    /// # Safety
    ///
    /// `view` is what CPython passed to `__getbuffer__` together with `flags`. `self` is part of
    /// `exporter`, and the memory stays mapped, writable if `is_writable`, as long as that lives.
    pub(super) unsafe fn fill(
        &self,
        view: *mut ffi::Py_buffer,
        flags: c_int,
        exporter: Bound<'_, PyAny>,
        is_writable: bool,
    ) -> PyResult<()> {
        let asks_for = |request: c_int| flags & request == request;
        let axes = self.shape.len();
        if asks_for(ffi::PyBUF_WRITABLE) && !is_writable {
            return Err(PyBufferError::new_err(
                "a borrowed frame is read-only; write through loan()",
            ));
        }
        if asks_for(ffi::PyBUF_F_CONTIGUOUS) && axes > 1 {
            return Err(PyBufferError::new_err(
                "the array is C-contiguous, not Fortran-contiguous",
            ));
        }
        let filled = ffi::Py_buffer {
            buf: self.address.as_ptr().cast(),
            obj: exporter.into_ptr(),
            len: self.size_bytes,
            itemsize: self.dtype.size_bytes().cast_signed(),
            readonly: c_int::from(!is_writable),
            ndim: axes as c_int,
            format: if asks_for(ffi::PyBUF_FORMAT) {
                self.dtype.buffer_format().as_ptr().cast_mut()
            } else {
                null_mut()
            },
            shape: if asks_for(ffi::PyBUF_ND) {
                self.shape.as_ptr().cast_mut()
            } else {
                null_mut()
            },
            strides: if asks_for(ffi::PyBUF_STRIDES) {
                self.strides.as_ptr().cast_mut()
            } else {
                null_mut()
            },
            suboffsets: null_mut(),
            internal: null_mut(),
        };
        // SAFETY: the caller vouches for `view`.
        unsafe { view.write(filled) };
        Ok(())
    }
}
