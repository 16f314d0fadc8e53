//! Private memory aligned to cache lines.

use std::ptr::NonNull;

use thalweg_shm::array::element_count;
use thalweg_shm::{ArrayMut, ArrayRef, DType};

use super::run::{ReadRun, WriteRun};

/// One cache line, and the widest vector.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Zeroed memory beginning on a cache line; aligned for every dtype.
#[derive(Clone)]
pub(crate) struct AlignedBytes {
    lines: Vec<Line>,
    size_bytes: usize,
}

impl AlignedBytes {
    /// `size_bytes` zeroed bytes; `None` when there is not that much memory.
    pub(crate) fn zeroed(size_bytes: usize) -> Option<Self> {
        let count = size_bytes.div_ceil(size_of::<Line>());
        let mut lines = Vec::new();
        lines.try_reserve_exact(count).ok()?;
        lines.resize(count, Line([0; 64]));
        Some(Self { lines, size_bytes })
    }

    /// The memory as an array.
    ///
    /// # Panics
    ///
    /// When it is too small for that.
    pub(crate) fn array<'a>(&'a self, dtype: DType, shape: &'a [usize]) -> ArrayRef<'a> {
        self.check(dtype, shape);
        // SAFETY: checked to be large enough, aligned for every dtype, borrowed for `'a`.
        unsafe { ArrayRef::from_raw(NonNull::from(self.lines.as_slice()).cast(), dtype, shape) }
    }

    /// The memory as a writable array.
    ///
    /// # Panics
    ///
    /// When it is too small for that.
    pub(crate) fn array_mut<'a>(&'a mut self, dtype: DType, shape: &'a [usize]) -> ArrayMut<'a> {
        self.check(dtype, shape);
        let first = NonNull::from(self.lines.as_mut_slice()).cast();
        // SAFETY: checked to be large enough, aligned for every dtype, exclusive for `'a`.
        unsafe { ArrayMut::from_raw(first, dtype, shape) }
    }

    fn check(&self, dtype: DType, shape: &[usize]) {
        let needed_bytes = element_count(shape) * dtype.size_bytes();
        assert!(
            needed_bytes <= self.size_bytes,
            "{shape:?} of {dtype} needs {needed_bytes} bytes, there are {}",
            self.size_bytes
        );
    }

    /// The bytes themselves.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let first = self.lines.as_mut_ptr().cast();
        // SAFETY: `lines` holds at least `size_bytes` initialised bytes, exclusively borrowed.
        unsafe { std::slice::from_raw_parts_mut(first, self.size_bytes) }
    }

    /// Runs over the whole memory, one to read and one to write. While they live, nothing else
    /// touches it, so a plan may hand disjoint (or, where order permits, the same) parts of it to
    /// the loops.
    pub(crate) fn runs(&mut self) -> (ReadRun<'_>, WriteRun<'_>) {
        let first: *mut u8 = self.lines.as_mut_ptr().cast();
        // SAFETY: readable for `size_bytes`, borrowed exclusively as long as the runs live.
        let read = unsafe { ReadRun::from_raw(first, self.size_bytes) };
        // SAFETY: likewise writable; no reference to it exists as long as the runs live.
        let write = unsafe { WriteRun::from_raw(first, self.size_bytes) };
        (read, write)
    }
}

impl std::fmt::Debug for AlignedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedBytes({} bytes)", self.size_bytes)
    }
}
