//! Views of arrays that may lie in shared memory.
//!
//! A view is a checked pointer with dtype and shape, never a `&[T]`: the memory may belong to a
//! mapping another process can write, and a Rust reference would promise the compiler that it does
//! not. Safe code copies in and out ([`ArrayRef::copy_to`], [`ArrayMut::copy_from`]) in blocks that
//! stay in the first-level cache; SIMD code loads through [`ArrayRef::as_ptr`].

use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::copy::copy_bytes;
use crate::dtype::{DType, Element};

/// A view does not fit what was asked of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArrayError {
    /// Asked for elements of another type.
    #[error("array holds {found}, expected {expected}")]
    DType {
        /// The dtype asked for.
        expected: DType,
        /// The dtype of the array.
        found: DType,
    },
    /// The range lies outside the array.
    #[error("elements {start}..{end} are outside an array of {len} elements")]
    Range {
        /// First element asked for.
        start: usize,
        /// One past the last element asked for.
        end: usize,
        /// Elements in the array.
        len: usize,
    },
}

/// Number of elements of an array of shape `shape`; one for rank 0.
pub fn element_count(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// Read-only view of a C-contiguous array, valid for `'a`.
#[derive(Clone, Copy, Debug)]
pub struct ArrayRef<'a> {
    data: NonNull<u8>,
    dtype: DType,
    shape: &'a [usize],
    memory: PhantomData<&'a [u8]>,
}

// SAFETY: the view only reads; the memory it reads is valid for 'a on every thread.
unsafe impl Send for ArrayRef<'_> {}
// SAFETY: as above; there is no interior state.
unsafe impl Sync for ArrayRef<'_> {}

impl<'a> ArrayRef<'a> {
    /// A view of private memory.
    ///
    /// # Panics
    ///
    /// When `elements` does not hold exactly the product of `shape`.
    pub fn from_slice<T: Element>(elements: &'a [T], shape: &'a [usize]) -> Self {
        assert_eq!(elements.len(), element_count(shape), "shape {shape:?}");
        Self {
            data: NonNull::from(elements).cast(),
            dtype: T::DTYPE,
            shape,
            memory: PhantomData,
        }
    }

    /// A view of raw memory.
    ///
    /// # Safety
    ///
    /// `data` is aligned for `dtype` and readable for `element_count(shape) * dtype.size_bytes()`
    /// bytes for all of `'a`. Other processes may write it only as the stream protocol allows.
    pub unsafe fn from_raw(data: NonNull<u8>, dtype: DType, shape: &'a [usize]) -> Self {
        Self {
            data,
            dtype,
            shape,
            memory: PhantomData,
        }
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extent of every axis, slowest first.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        element_count(self.shape)
    }

    /// True when some axis has extent 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size of the payload in bytes.
    pub fn size_bytes(&self) -> usize {
        self.len() * self.dtype.size_bytes()
    }

    /// Address of the first element, for SIMD code.
    pub fn as_ptr<T: Element>(&self) -> Result<*const T, ArrayError> {
        expect_dtype(T::DTYPE, self.dtype)?;
        Ok(self.data.as_ptr().cast_const().cast())
    }

    /// Address of the first byte.
    pub fn as_bytes_ptr(&self) -> *const u8 {
        self.data.as_ptr()
    }

    /// Copies `out.len()` elements beginning with element `start`.
    pub fn copy_range_to<T: Element>(&self, start: usize, out: &mut [T]) -> Result<(), ArrayError> {
        let source = self.as_ptr::<T>()?;
        check_range(start, out.len(), self.len())?;
        // SAFETY: the range was checked to lie inside the array.
        let first = unsafe { source.add(start) };
        // SAFETY: both sides hold `size_of_val(out)` bytes; private and viewed memory are disjoint
        // because `out` is an exclusive borrow.
        unsafe { copy_bytes(first.cast(), out.as_mut_ptr().cast(), size_of_val(out)) };
        Ok(())
    }

    /// Copies the whole array into `out`, which holds exactly as many elements.
    pub fn copy_to<T: Element>(&self, out: &mut [T]) -> Result<(), ArrayError> {
        check_range(0, self.len().max(out.len()), self.len().min(out.len()))?;
        self.copy_range_to(0, out)
    }

    /// Copies the whole array into a vector.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>, ArrayError> {
        let mut out = vec![T::default(); self.len()];
        self.copy_to(&mut out)?;
        Ok(out)
    }
}

/// Writable view of a C-contiguous array, valid for `'a` and exclusive as far as the protocol goes.
#[derive(Debug)]
pub struct ArrayMut<'a> {
    data: NonNull<u8>,
    dtype: DType,
    shape: &'a [usize],
    memory: PhantomData<&'a mut [u8]>,
}

// SAFETY: an exclusive view may move to another thread like `&mut [u8]`.
unsafe impl Send for ArrayMut<'_> {}

impl<'a> ArrayMut<'a> {
    /// A view of private memory.
    ///
    /// # Panics
    ///
    /// When `elements` does not hold exactly the product of `shape`.
    pub fn from_slice<T: Element>(elements: &'a mut [T], shape: &'a [usize]) -> Self {
        assert_eq!(elements.len(), element_count(shape), "shape {shape:?}");
        Self {
            data: NonNull::from(elements).cast(),
            dtype: T::DTYPE,
            shape,
            memory: PhantomData,
        }
    }

    /// A view of raw memory.
    ///
    /// # Safety
    ///
    /// `data` is aligned for `dtype`, readable and writable for `element_count(shape) *
    /// dtype.size_bytes()` bytes for all of `'a`, and no other view of this process overlaps it.
    pub unsafe fn from_raw(data: NonNull<u8>, dtype: DType, shape: &'a [usize]) -> Self {
        Self {
            data,
            dtype,
            shape,
            memory: PhantomData,
        }
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extent of every axis, slowest first.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        element_count(self.shape)
    }

    /// True when some axis has extent 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size of the payload in bytes.
    pub fn size_bytes(&self) -> usize {
        self.len() * self.dtype.size_bytes()
    }

    /// The same array, read-only, while `self` is not written.
    pub fn as_ref(&self) -> ArrayRef<'_> {
        ArrayRef {
            data: self.data,
            dtype: self.dtype,
            shape: self.shape,
            memory: PhantomData,
        }
    }

    /// The same array for a shorter time.
    pub fn reborrow(&mut self) -> ArrayMut<'_> {
        ArrayMut {
            data: self.data,
            dtype: self.dtype,
            shape: self.shape,
            memory: PhantomData,
        }
    }

    /// Address of the first element, for SIMD code.
    pub fn as_mut_ptr<T: Element>(&mut self) -> Result<*mut T, ArrayError> {
        expect_dtype(T::DTYPE, self.dtype)?;
        Ok(self.data.as_ptr().cast())
    }

    /// Address of the first byte.
    pub fn as_bytes_mut_ptr(&mut self) -> *mut u8 {
        self.data.as_ptr()
    }

    /// Overwrites `elements.len()` elements beginning with element `start`.
    pub fn copy_range_from<T: Element>(
        &mut self,
        start: usize,
        elements: &[T],
    ) -> Result<(), ArrayError> {
        let target = self.as_mut_ptr::<T>()?;
        check_range(start, elements.len(), self.len())?;
        // SAFETY: the range was checked to lie inside the array.
        let first = unsafe { target.add(start) };
        // SAFETY: both sides hold `size_of_val(elements)` bytes; `elements` is a borrow of private
        // memory and so disjoint from the exclusive view.
        unsafe {
            copy_bytes(
                elements.as_ptr().cast(),
                first.cast(),
                size_of_val(elements),
            );
        };
        Ok(())
    }

    /// Overwrites the whole array with `elements`, which holds exactly as many.
    pub fn copy_from<T: Element>(&mut self, elements: &[T]) -> Result<(), ArrayError> {
        let (own, given) = (self.len(), elements.len());
        check_range(0, own.max(given), own.min(given))?;
        self.copy_range_from(0, elements)
    }

    /// Overwrites the whole array with `source`, of equal dtype and element count.
    pub fn copy_from_array(&mut self, source: ArrayRef<'_>) -> Result<(), ArrayError> {
        expect_dtype(self.dtype, source.dtype)?;
        let (own, given) = (self.len(), source.len());
        check_range(0, own.max(given), own.min(given))?;
        // SAFETY: equal dtype and length, so both hold `size_bytes` bytes; an exclusive view does
        // not overlap another view.
        unsafe {
            copy_bytes(
                source.data.as_ptr(),
                self.data.as_ptr(),
                source.size_bytes(),
            );
        };
        Ok(())
    }

    /// Sets every byte to zero.
    pub fn clear(&mut self) {
        // SAFETY: the view is exclusive and `size_bytes` long.
        unsafe { std::ptr::write_bytes(self.data.as_ptr(), 0, self.size_bytes()) };
    }
}

fn expect_dtype(expected: DType, found: DType) -> Result<(), ArrayError> {
    // One byte, 0 or 1: safe code reads and writes `bool` arrays as bytes.
    let bytes = expected == DType::Uint8 && found == DType::Bool;
    if expected == found || bytes {
        Ok(())
    } else {
        Err(ArrayError::DType { expected, found })
    }
}

fn check_range(start: usize, count: usize, len: usize) -> Result<(), ArrayError> {
    match start.checked_add(count) {
        Some(end) if end <= len => Ok(()),
        _ => Err(ArrayError::Range {
            start,
            end: start.saturating_add(count),
            len,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_check_dtype_and_range() {
        let elements = [1.0f32, 2.0, 3.0, 4.0];
        let view = ArrayRef::from_slice(&elements, &[2, 2]);
        let mut out = [0.0f32; 2];
        view.copy_range_to(1, &mut out).unwrap();
        assert_eq!(out, [2.0, 3.0]);
        assert!(view.copy_range_to(3, &mut out).is_err());
        assert!(view.copy_to(&mut out).is_err());
        assert!(view.copy_to(&mut [0.0f64; 4]).is_err());
        assert_eq!(view.to_vec::<f32>().unwrap(), elements);
    }

    #[test]
    fn writing_covers_the_array() {
        let mut elements = [0u16; 4];
        let mut view = ArrayMut::from_slice(&mut elements, &[4]);
        view.copy_from(&[1u16, 2, 3, 4]).unwrap();
        assert!(view.copy_from(&[1u16]).is_err());
        assert_eq!(view.as_ref().to_vec::<u16>().unwrap(), [1, 2, 3, 4]);
        view.clear();
        assert_eq!(elements, [0; 4]);
    }
}
