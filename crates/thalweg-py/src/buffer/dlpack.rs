//! DLPack 1.0: handing an array to another library without a copy.
//!
//! The structures are those of the DLPack specification,
//! <https://dmlc.github.io/dlpack/latest/c_api.html>; names and order of fields are its own.

use std::ffi::{CStr, c_int, c_void};

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use thalweg::DType;

/// The CPU, as DLPack numbers devices: type and index.
pub(super) const CPU: (c_int, c_int) = (1, 0);

const VERSION: (u32, u32) = (1, 0);
const READ_ONLY: u64 = 1;
const CAPSULE_NAME: &CStr = c"dltensor_versioned";

#[repr(C)]
struct Version {
    major: u32,
    minor: u32,
}

#[repr(C)]
struct Device {
    device_type: c_int,
    device_id: c_int,
}

#[repr(C)]
struct DataType {
    code: u8,
    bits: u8,
    lanes: u16,
}

#[repr(C)]
struct Tensor {
    data: *mut c_void,
    device: Device,
    ndim: c_int,
    dtype: DataType,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

#[repr(C)]
struct ManagedTensor {
    version: Version,
    manager_context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Self)>,
    flags: u64,
    tensor: Tensor,
}

/// What lives as long as the consumer wants the tensor.
struct Manager {
    shape: Vec<i64>,
    strides: Vec<i64>,
    /// Holds a buffer of the exporter, which keeps the memory as it is.
    buffer: Box<ffi::Py_buffer>,
}

/// A capsule over the memory of `exporter`, read-only.
///
/// # Errors
///
/// `exporter` gives out no buffer; or the consumer understands only versions without read-only arrays.
pub(super) fn export<'py>(
    exporter: &Bound<'py, PyAny>,
    dtype: DType,
    max_version: Option<(u32, u32)>,
) -> PyResult<Bound<'py, PyAny>> {
    if max_version.is_none_or(|(major, _)| major < VERSION.0) {
        return Err(PyBufferError::new_err(
            "the array is read-only, which only DLPack 1.0 can tell: pass max_version=(1, 0), or take \
             the buffer with numpy.asarray",
        ));
    }
    let mut buffer = Box::new(ffi::Py_buffer::new());
    let flags = ffi::PyBUF_ND | ffi::PyBUF_STRIDES;
    // SAFETY: `exporter` is an object, `buffer` is valid and stays where it is.
    if unsafe { ffi::PyObject_GetBuffer(exporter.as_ptr(), &raw mut *buffer, flags) } != 0 {
        return Err(PyErr::fetch(exporter.py()));
    }
    let axes = usize::try_from(buffer.ndim).unwrap_or(0);
    let extents = |from: *const isize, divisor: isize| -> Vec<i64> {
        (0..axes)
            .map(|axis| {
                // SAFETY: asked for with PyBUF_ND and PyBUF_STRIDES: `ndim` extents until the release.
                let extent = unsafe { from.wrapping_add(axis).read() };
                (extent / divisor) as i64
            })
            .collect()
    };
    let mut manager = Box::new(Manager {
        shape: extents(buffer.shape, 1),
        strides: extents(buffer.strides, buffer.itemsize.max(1)),
        buffer,
    });
    let tensor = Box::new(ManagedTensor {
        version: Version {
            major: VERSION.0,
            minor: VERSION.1,
        },
        deleter: Some(delete),
        flags: READ_ONLY,
        tensor: Tensor {
            data: manager.buffer.buf,
            device: Device {
                device_type: CPU.0,
                device_id: CPU.1,
            },
            ndim: manager.buffer.ndim,
            dtype: data_type(dtype),
            shape: manager.shape.as_mut_ptr(),
            strides: manager.strides.as_mut_ptr(),
            byte_offset: 0,
        },
        manager_context: Box::into_raw(manager).cast(),
    });
    let tensor = Box::into_raw(tensor);
    // SAFETY: the tensor is valid until its deleter is called, by the capsule or by its consumer.
    let capsule =
        unsafe { ffi::PyCapsule_New(tensor.cast(), CAPSULE_NAME.as_ptr(), Some(drop_capsule)) };
    // SAFETY: a new reference, or null with an exception set.
    let capsule = unsafe { Bound::from_owned_ptr_or_err(exporter.py(), capsule) };
    if capsule.is_err() {
        // SAFETY: nobody else has it.
        unsafe { delete(tensor) };
    }
    capsule
}

/// Frees a tensor; the consumer calls this once, from any thread.
///
/// # Safety
///
/// `tensor` was made by [`export`] and is not used again.
unsafe extern "C" fn delete(tensor: *mut ManagedTensor) {
    // SAFETY: made by Box::into_raw, and deleted once.
    let tensor = unsafe { Box::from_raw(tensor) };
    // SAFETY: as above.
    let mut manager = unsafe { Box::from_raw(tensor.manager_context.cast::<Manager>()) };
    // An interpreter that shuts down gets its buffer back no more.
    Python::try_attach(|_| {
        // SAFETY: filled in by PyObject_GetBuffer and released once.
        unsafe { ffi::PyBuffer_Release(&raw mut *manager.buffer) };
    });
}

/// Frees the tensor of a capsule that nobody consumed; a consumer renames the capsule.
unsafe extern "C" fn drop_capsule(capsule: *mut ffi::PyObject) {
    // SAFETY: CPython passes the capsule that dies.
    if unsafe { ffi::PyCapsule_IsValid(capsule, CAPSULE_NAME.as_ptr()) } == 0 {
        return;
    }
    // SAFETY: valid under this name, as was just checked.
    let tensor = unsafe { ffi::PyCapsule_GetPointer(capsule, CAPSULE_NAME.as_ptr()) };
    if !tensor.is_null() {
        // SAFETY: made by `export`, and not consumed.
        unsafe { delete(tensor.cast()) };
    }
}

fn data_type(dtype: DType) -> DataType {
    let code = match dtype {
        DType::Int8 | DType::Int16 | DType::Int32 | DType::Int64 => 0,
        DType::Uint8 | DType::Uint16 | DType::Uint32 | DType::Uint64 => 1,
        DType::Float16 | DType::Float32 | DType::Float64 => 2,
        DType::Complex64 | DType::Complex128 => 5,
        DType::Bool => 6,
    };
    DataType {
        code,
        bits: (8 * dtype.size_bytes()) as u8,
        lanes: 1,
    }
}
