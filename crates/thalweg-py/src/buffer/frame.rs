//! A borrowed frame: read-only memory that the writer leaves alone.

use std::ffi::c_int;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyBufferError, PyRuntimeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use thalweg::{Publication, Stream};

use super::dlpack;
use super::export::Layout;
use crate::numpy;

/// One frame of a stream, read in place: not copied, and not overwritten while it is borrowed.
///
/// `array` is the read-only NumPy array; `numpy.asarray(frame)` and `memoryview(frame)` do as
/// well. The writer gets the frame's slot back when the frame was released (`release()`, the end
/// of a `with` block, or garbage collection) and the last array made of it is gone, slices
/// included. Until then its contents do not change, whatever happens to the stream.
#[pyclass(frozen, weakref, module = "thalweg")]
pub(crate) struct Frame {
    name: String,
    layout: Layout,
    publication: Publication,
    lease: Mutex<Lease>,
    /// Keeps the memory mapped as long as this object lives: an array can be made so that it
    /// holds the object without holding a buffer (`numpy.ndarray(buffer=frame)`).
    _mapped: Stream,
}

/// What holds the slot, and how many buffers need it.
struct Lease {
    frame: Option<thalweg::Frame>,
    buffers: usize,
    is_released: bool,
}

impl Frame {
    pub(crate) fn new(name: &str, stream: &Stream, frame: thalweg::Frame) -> Self {
        let array = frame.array();
        let address = NonNull::new(array.as_bytes_ptr().cast_mut()).unwrap_or(NonNull::dangling());
        Self {
            name: name.to_owned(),
            layout: Layout::new(address, array.dtype(), array.shape()),
            publication: frame.publication(),
            lease: Mutex::new(Lease {
                frame: Some(frame),
                buffers: 0,
                is_released: false,
            }),
            _mapped: stream.duplicate(),
        }
    }

    /// Nothing under this lock calls into Python.
    fn lease(&self) -> MutexGuard<'_, Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    fn settle(&mut self) {
        if self.is_released && self.buffers == 0 {
            self.frame = None;
        }
    }
}

#[pymethods]
impl Frame {
    /// Read-only array of the stream's shape and dtype, without a copy.
    ///
    /// Raises:
    ///     ValueError: the frame was released.
    #[getter]
    fn array<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let frame = slf.get();
        if frame.lease().is_released {
            return Err(frame.released());
        }
        numpy::asarray(slf.as_any())
    }

    /// Number of the frame, from 1.
    #[getter]
    fn count(&self) -> u64 {
        self.publication.count
    }

    /// Id its writer stamped; 0 when nobody did.
    #[getter]
    fn frame_id(&self) -> u64 {
        self.publication.frame_id
    }

    /// When it was published: seconds since 1970.
    #[getter]
    fn write_time(&self) -> f64 {
        crate::time::seconds_of(self.publication.wall_ns)
    }

    /// Give the frame up. Arrays made of it stay valid and go on holding its slot.
    fn release(&self) {
        let mut lease = self.lease();
        lease.is_released = true;
        lease.settle();
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __exit__(
        &self,
        _kind: &Bound<'_, PyAny>,
        _exception: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) {
        self.release();
    }

    /// The CPU, in the numbers of DLPack.
    fn __dlpack_device__(&self) -> (c_int, c_int) {
        dlpack::CPU
    }

    /// The frame in the form in which array libraries hand over arrays, without a copy; it holds the
    /// slot until the library frees it.
    ///
    /// Args:
    ///     stream: None, as there is no device to synchronise with.
    ///     max_version: newest version of DLPack the caller understands; read-only arrays need (1, 0).
    ///     dl_device: None or the CPU, (1, 0).
    ///     copy: True hands over a copy.
    ///
    /// Raises:
    ///     BufferError: the caller's DLPack is older than 1.0, or it asks for another device.
    ///     ValueError: the frame was released.
    #[pyo3(signature = (*, stream=None, max_version=None, dl_device=None, copy=None))]
    fn __dlpack__<'py>(
        slf: &Bound<'py, Self>,
        stream: Option<Bound<'py, PyAny>>,
        max_version: Option<(u32, u32)>,
        dl_device: Option<(c_int, c_int)>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if stream.is_some() || dl_device.is_some_and(|device| device != dlpack::CPU) {
            return Err(PyBufferError::new_err(
                "a borrowed frame is on the CPU: stream has to be None and dl_device (1, 0)",
            ));
        }
        if copy == Some(true) {
            let copied = Self::array(slf)?.call_method0("copy")?;
            return match max_version {
                None => copied.call_method0("__dlpack__"),
                Some(version) => {
                    let arguments = PyDict::new(slf.py());
                    arguments.set_item("max_version", version)?;
                    copied.call_method("__dlpack__", (), Some(&arguments))
                }
            };
        }
        dlpack::export(slf.as_any(), slf.get().layout.dtype(), max_version)
    }

    fn __repr__(&self) -> String {
        format!(
            "Frame(stream={}, count={}{})",
            crate::error::quoted(&self.name),
            self.publication.count,
            if self.lease().is_released {
                ", released"
            } else {
                ""
            }
        )
    }

    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let frame = slf.get();
        {
            let mut lease = frame.lease();
            if lease.is_released {
                return Err(frame.released());
            }
            if lease.frame.as_ref().is_some_and(|own| !own.is_protected()) {
                return Err(frame.not_own());
            }
            lease.buffers += 1;
        }
        // SAFETY: CPython passed `view` and `flags`. The layout is part of `slf`, which keeps the
        // memory mapped; the lease keeps it as it is until the buffer is released.
        let filled = unsafe {
            frame
                .layout
                .fill(view, flags, slf.clone().into_any(), false)
        };
        if filled.is_err() {
            frame.return_buffer();
        }
        filled
    }

    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.return_buffer();
    }
}

impl Frame {
    fn not_own(&self) -> PyErr {
        PyRuntimeError::new_err(format!(
            "this frame of stream {} belongs to the parent process, and no ticket was free to hold it \
             here, too; borrow() a new one",
            crate::error::quoted(&self.name)
        ))
    }

    fn released(&self) -> PyErr {
        PyValueError::new_err(format!(
            "this frame of stream {} was released; borrow() a new one",
            crate::error::quoted(&self.name)
        ))
    }

    fn return_buffer(&self) {
        let mut lease = self.lease();
        lease.buffers -= 1;
        lease.settle();
    }
}
