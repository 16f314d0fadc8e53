//! Private memory aligned to cache lines.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

use thalweg_shm::array::element_count;
use thalweg_shm::{ArrayMut, ArrayRef, DType};

use super::run::{ReadRun, WriteRun};

/// The size of a cache line and of the widest vector.
const ALIGNMENT_BYTES: usize = 64;

/// Zeroed memory beginning on a cache line; aligned for every dtype.
///
/// The system provides the pages when they are first touched: making a large one costs nothing
/// until it is used.
pub(crate) struct AlignedBytes {
    first: NonNull<u8>,
    size_bytes: usize,
}

// SAFETY: the memory belongs to the value alone.
unsafe impl Send for AlignedBytes {}
// SAFETY: through a shared reference the memory can only be read.
unsafe impl Sync for AlignedBytes {}

impl AlignedBytes {
    /// `size_bytes` zeroed bytes; `None` when there is not that much memory.
    pub(crate) fn zeroed(size_bytes: usize) -> Option<Self> {
        let layout = layout(size_bytes)?;
        // SAFETY: the layout is not empty.
        let first = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Self { first, size_bytes })
    }

    /// The memory as an array.
    ///
    /// # Panics
    ///
    /// When it is too small for that.
    pub(crate) fn array<'a>(&'a self, dtype: DType, shape: &'a [usize]) -> ArrayRef<'a> {
        self.check(dtype, shape);
        // SAFETY: checked to be large enough, aligned for every dtype, borrowed for `'a`.
        unsafe { ArrayRef::from_raw(self.first, dtype, shape) }
    }

    /// The memory as a writable array.
    ///
    /// # Panics
    ///
    /// When it is too small for that.
    pub(crate) fn array_mut<'a>(&'a mut self, dtype: DType, shape: &'a [usize]) -> ArrayMut<'a> {
        self.check(dtype, shape);
        // SAFETY: checked to be large enough, aligned for every dtype, exclusive for `'a`.
        unsafe { ArrayMut::from_raw(self.first, dtype, shape) }
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
        // SAFETY: `size_bytes` initialised bytes, exclusively borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.size_bytes) }
    }

    /// Runs over the whole memory, one to read and one to write. While they live, nothing else
    /// touches it, so a plan may hand disjoint (or, where order permits, the same) parts of it to
    /// the loops.
    pub(crate) fn runs(&mut self) -> (ReadRun<'_>, WriteRun<'_>) {
        let first = self.first.as_ptr();
        // SAFETY: readable for `size_bytes`, borrowed exclusively as long as the runs live.
        let read = unsafe { ReadRun::from_raw(first, self.size_bytes) };
        // SAFETY: likewise writable; no reference to it exists as long as the runs live.
        let write = unsafe { WriteRun::from_raw(first, self.size_bytes) };
        (read, write)
    }
}

/// The memory of `size_bytes` bytes, at least one; `None` beyond the address space.
fn layout(size_bytes: usize) -> Option<Layout> {
    Layout::from_size_align(size_bytes.max(1), ALIGNMENT_BYTES).ok()
}

impl Drop for AlignedBytes {
    fn drop(&mut self) {
        if let Some(layout) = layout(self.size_bytes) {
            // SAFETY: allocated with this layout, and not used any more.
            unsafe { dealloc(self.first.as_ptr(), layout) };
        }
    }
}

impl std::fmt::Debug for AlignedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedBytes({} bytes)", self.size_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zeroed_and_aligned() {
        for size_bytes in [0, 1, 63, 64, 65, 100_000] {
            let mut memory = AlignedBytes::zeroed(size_bytes).unwrap();
            assert_eq!(memory.bytes_mut().len(), size_bytes);
            assert!(memory.bytes_mut().iter().all(|&byte| byte == 0));
            assert!(memory.first.cast::<[u128; 4]>().is_aligned());
            memory.bytes_mut().fill(1);
        }
    }

    #[test]
    fn too_much_memory_is_refused() {
        assert!(AlignedBytes::zeroed(usize::MAX).is_none());
        assert!(AlignedBytes::zeroed(isize::MAX as usize - 64).is_none());
    }

    #[test]
    #[should_panic(expected = "needs 12 bytes, there are 8")]
    fn arrays_fit_into_the_memory() {
        let memory = AlignedBytes::zeroed(8).unwrap();
        let _array = memory.array(DType::Float32, &[3]);
    }
}
