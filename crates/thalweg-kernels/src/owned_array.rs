//! Arrays in private memory.

use std::fmt;

use thalweg_shm::{ArrayError, ArrayMut, ArrayRef, DType, Element};

use crate::simd::aligned::AlignedBytes;

/// An array that owns its elements, aligned to cache lines.
pub struct OwnedArray {
    dtype: DType,
    shape: Vec<usize>,
    bytes: AlignedBytes,
}

/// There is not enough memory for an array.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an array of shape {shape:?} and dtype {dtype} does not fit into memory")]
pub struct ArrayTooLarge {
    /// Element type asked for.
    pub dtype: DType,
    /// Shape asked for.
    pub shape: Vec<usize>,
}

impl OwnedArray {
    /// An array of zeros.
    ///
    /// # Errors
    ///
    /// When there is not that much memory.
    pub fn zeros(dtype: DType, shape: &[usize]) -> Result<Self, ArrayTooLarge> {
        let bytes = shape
            .iter()
            .try_fold(dtype.size_bytes(), |size, &extent| size.checked_mul(extent))
            .and_then(AlignedBytes::zeroed)
            .ok_or_else(|| ArrayTooLarge {
                dtype,
                shape: shape.to_vec(),
            })?;
        Ok(Self {
            dtype,
            shape: shape.to_vec(),
            bytes,
        })
    }

    /// A copy of `array`.
    ///
    /// # Errors
    ///
    /// When there is not that much memory.
    pub fn copy_of(array: ArrayRef<'_>) -> Result<Self, ArrayTooLarge> {
        let mut copy = Self::zeros(array.dtype(), array.shape())?;
        copy.as_array_mut()
            .copy_from_array(array)
            .map_err(|_equal_by_construction| ArrayTooLarge {
                dtype: array.dtype(),
                shape: array.shape().to_vec(),
            })?;
        Ok(copy)
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extent of every axis, slowest first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The array, read-only.
    pub fn as_array(&self) -> ArrayRef<'_> {
        self.bytes.array(self.dtype, &self.shape)
    }

    /// The array, writable.
    pub fn as_array_mut(&mut self) -> ArrayMut<'_> {
        self.bytes.array_mut(self.dtype, &self.shape)
    }

    /// The elements, which must be of type `T`.
    ///
    /// # Errors
    ///
    /// When the array has another dtype.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>, ArrayError> {
        self.as_array().to_vec()
    }

    /// The payload, for reading a file into it.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes.bytes_mut()
    }
}

impl fmt::Debug for OwnedArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnedArray({}, {:?})", self.dtype, self.shape)
    }
}
