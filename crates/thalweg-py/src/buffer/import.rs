//! Arrays that belong to somebody else: their buffers, held for the length of a call.

use std::ffi::{CStr, c_int};
use std::ops::Range;
use std::ptr::NonNull;

use pyo3::ffi;
use pyo3::prelude::*;
use thalweg::shm::stream::error::{LosslessError, ReadError, RowsError};
use thalweg::{
    ArrayMut, ArrayRef, DType, LosslessReader, Patience, Publication, RowProgress, Stream,
    WaitPolicy,
};

/// The buffer of a C-contiguous array in native byte order, aligned for its dtype.
///
/// While it is held, its owner neither frees nor moves the memory.
pub(crate) struct Buffer {
    /// Boxed, because exporters may point into the structure itself.
    view: Box<ffi::Py_buffer>,
    dtype: DType,
    is_writable: bool,
}

// SAFETY: the structure is only read until it is released, which happens under the interpreter
// (see Drop); the memory it describes may be used from any thread.
unsafe impl Send for Buffer {}
// SAFETY: as above; there is no interior state.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// The buffer of `value` for reading; `None` if it is no such array.
    pub(crate) fn readable(value: &Bound<'_, PyAny>) -> Option<Self> {
        Self::of(value, false)
    }

    /// The buffer of `value` for reading and writing; `None` if it is no such array.
    pub(crate) fn writable(value: &Bound<'_, PyAny>) -> Option<Self> {
        Self::of(value, true)
    }

    fn of(value: &Bound<'_, PyAny>, is_writable: bool) -> Option<Self> {
        // SAFETY: `value` is an object and the interpreter is attached.
        if unsafe { ffi::PyObject_CheckBuffer(value.as_ptr()) } == 0 {
            return None;
        }
        let access = if is_writable { ffi::PyBUF_WRITABLE } else { 0 };
        let flags: c_int = ffi::PyBUF_C_CONTIGUOUS | ffi::PyBUF_FORMAT | access;
        let mut view = Box::new(ffi::Py_buffer::new());
        // SAFETY: `value` is an object, `view` is valid and stays where it is.
        if unsafe { ffi::PyObject_GetBuffer(value.as_ptr(), &raw mut *view, flags) } != 0 {
            // Not contiguous, not writable or not expressible: the caller has another way.
            drop(PyErr::take(value.py()));
            return None;
        }
        // From here on the drop of `buffer` releases the view.
        let mut buffer = Self {
            view,
            dtype: DType::Uint8,
            is_writable,
        };
        buffer.dtype = buffer.found_dtype()?;
        let alignment = buffer.dtype.size_bytes().min(align_of::<f64>());
        let is_aligned = buffer.address().addr().get().is_multiple_of(alignment);
        is_aligned.then_some(buffer)
    }

    fn found_dtype(&self) -> Option<DType> {
        let size_bytes = usize::try_from(self.view.itemsize).ok()?;
        let format = if self.view.format.is_null() {
            c"B"
        } else {
            // SAFETY: the exporter filled in a terminated string that lives until the release.
            unsafe { CStr::from_ptr(self.view.format) }
        };
        dtype_of(format.to_bytes(), size_bytes)
    }

    /// Element type.
    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extent of every axis, slowest first.
    pub(crate) fn shape(&self) -> &[usize] {
        if self.view.shape.is_null() {
            return &[];
        }
        let axes = usize::try_from(self.view.ndim).unwrap_or(0);
        // SAFETY: PyBUF_ND was asked for, so `shape` holds `ndim` extents until the release;
        // extents are not negative, so the signed and the unsigned reading agree.
        unsafe { std::slice::from_raw_parts(self.view.shape.cast::<usize>(), axes) }
    }

    /// True for arrays `stream` holds frames of.
    pub(crate) fn fits(&self, stream: &Stream) -> bool {
        self.dtype() == stream.dtype() && self.shape() == stream.shape()
    }

    /// True for arrays whose items along the first axis are frames of `stream`.
    pub(crate) fn holds_frames_of(&self, stream: &Stream) -> bool {
        self.dtype() == stream.dtype() && self.shape().get(1..) == Some(stream.shape())
    }

    fn address(&self) -> NonNull<u8> {
        // An array without elements may have no address.
        NonNull::new(self.view.buf.cast()).unwrap_or(NonNull::<f64>::dangling().cast())
    }

    /// The array, for reading.
    pub(crate) fn array(&self) -> ArrayRef<'_> {
        // SAFETY: the exporter vouches for `shape` elements of `dtype` until the release; alignment
        // was checked. Python code may change the elements meanwhile, which copies and kernels
        // bear: they read through raw pointers.
        unsafe { ArrayRef::from_raw(self.address(), self.dtype, self.shape()) }
    }

    /// Copies the newest frame of `stream` into this array, which fits it.
    pub(crate) fn read_from(
        &self,
        stream: &Stream,
        deadline_ns: Option<u64>,
    ) -> Result<Publication, ReadError> {
        let size_bytes = self.writable_bytes();
        // SAFETY: writable and `size_bytes` long. It may be the slot this process has on loan; that
        // is never the newest frame while it can be written, so the two sides are disjoint.
        unsafe { stream.read_to_address(self.address(), size_bytes, deadline_ns) }
    }
}

impl Buffer {
    /// True for arrays that hold whole rows of a frame of `stream`.
    pub(crate) fn holds_rows_of(&self, stream: &Stream) -> bool {
        self.dtype() == stream.dtype() && self.shape().get(1..) == stream.shape().get(1..)
    }

    fn writable_bytes(&self) -> usize {
        if self.is_writable {
            self.array().size_bytes()
        } else {
            0 // Never the size of a frame: refused.
        }
    }

    /// Copies the next frame of `reader`, which fits this array.
    pub(crate) fn read_next_from(
        &self,
        reader: &mut LosslessReader,
        policy: WaitPolicy,
        patience: Patience<'_>,
    ) -> Result<Publication, LosslessError> {
        let size_bytes = self.writable_bytes();
        // SAFETY: writable and `size_bytes` long. Should it be the slot this process has on loan: that
        // holds no complete frame while it can be written, so the two sides are disjoint.
        unsafe { reader.read_next_to_address(self.address(), size_bytes, policy, patience) }
    }

    /// Copies rows of a frame that may still be written.
    pub(crate) fn rows_from(
        &self,
        stream: &Stream,
        progress: &RowProgress,
        rows: Range<usize>,
    ) -> Result<RowProgress, RowsError> {
        let size_bytes = self.writable_bytes();
        // SAFETY: writable and `size_bytes` long; the Python package passes an array of its own, which is
        // no part of a stream.
        unsafe { stream.read_rows_to_address(progress, rows, self.address(), size_bytes) }
    }

    /// Copies the last `frames` frames of `stream` that are still held into this array, one behind
    /// the other, oldest first.
    pub(crate) fn history_from(
        &self,
        stream: &Stream,
        frames: usize,
        deadline_ns: Option<u64>,
    ) -> Result<Vec<Publication>, ReadError> {
        let size_bytes = self.writable_bytes();
        // SAFETY: writable and `size_bytes` long. Should it be the slot this process has on loan: that
        // holds no complete frame while it can be written, so the two sides are disjoint.
        unsafe { stream.history_to_address(frames, self.address(), size_bytes, deadline_ns) }
    }
}

impl Buffer {
    /// Views for reading of all `read`, and for writing of all `written`; `None` if one of the
    /// latter shares memory with another array, or was not asked for to be written.
    pub(crate) fn views<'a>(
        read: &'a [Self],
        written: &'a mut [Self],
    ) -> Option<(Vec<ArrayRef<'a>>, Vec<ArrayMut<'a>>)> {
        for (index, output) in written.iter().enumerate() {
            let mut others = read.iter().chain(&written[..index]);
            if !output.is_writable || others.any(|other| output.overlaps(other)) {
                return None;
            }
        }
        let views = written.iter_mut().map(|output| {
            // SAFETY: the exporter vouches for `shape` writable elements of `dtype` until the
            // release; alignment was checked, and that no other view of this call overlaps it.
            // Python code may change the elements meanwhile, which kernels bear: they go through
            // raw pointers.
            unsafe { ArrayMut::from_raw(output.address(), output.dtype, output.shape()) }
        });
        Some((read.iter().map(Self::array).collect(), views.collect()))
    }

    fn overlaps(&self, other: &Self) -> bool {
        let span = |buffer: &Self| {
            let start = buffer.address().addr().get();
            start..start + buffer.array().size_bytes()
        };
        let (own, others) = (span(self), span(other));
        own.start < others.end && others.start < own.end
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // This crate drops buffers while attached, so this costs next to nothing. An interpreter
        // that shuts down meanwhile gets its buffer back no more.
        Python::try_attach(|_| {
            // SAFETY: filled in by PyObject_GetBuffer and released once.
            unsafe { ffi::PyBuffer_Release(&raw mut *self.view) };
        });
    }
}

/// The dtype of elements of `size_bytes` with the buffer format `format`, native byte order only.
/// Several letters stand for integers of one size.
fn dtype_of(format: &[u8], size_bytes: usize) -> Option<DType> {
    let letters = match format {
        [b'@' | b'=', letters @ ..] => letters,
        [b'<', letters @ ..] if cfg!(target_endian = "little") => letters,
        [b'>' | b'!', letters @ ..] if cfg!(target_endian = "big") => letters,
        letters => letters,
    };
    match (letters, size_bytes) {
        (b"b" | b"h" | b"i" | b"l" | b"q" | b"n", 1) => Some(DType::Int8),
        (b"b" | b"h" | b"i" | b"l" | b"q" | b"n", 2) => Some(DType::Int16),
        (b"b" | b"h" | b"i" | b"l" | b"q" | b"n", 4) => Some(DType::Int32),
        (b"b" | b"h" | b"i" | b"l" | b"q" | b"n", 8) => Some(DType::Int64),
        (b"B" | b"H" | b"I" | b"L" | b"Q" | b"N", 1) => Some(DType::Uint8),
        (b"B" | b"H" | b"I" | b"L" | b"Q" | b"N", 2) => Some(DType::Uint16),
        (b"B" | b"H" | b"I" | b"L" | b"Q" | b"N", 4) => Some(DType::Uint32),
        (b"B" | b"H" | b"I" | b"L" | b"Q" | b"N", 8) => Some(DType::Uint64),
        (b"e", 2) => Some(DType::Float16),
        (b"f", 4) => Some(DType::Float32),
        (b"d", 8) => Some(DType::Float64),
        (b"?", 1) => Some(DType::Bool),
        (b"Zf", 8) => Some(DType::Complex64),
        (b"Zd", 16) => Some(DType::Complex128),
        _ => None,
    }
}
