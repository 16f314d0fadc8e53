//! Runs of raw memory with a known length: what loops read and write.

use std::marker::PhantomData;

use thalweg_shm::{ArrayMut, ArrayRef};

use super::number::Number;

/// Readable memory. Copies may overlap writable runs; loops then see unspecified values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadRun<'a> {
    first: *const u8,
    size_bytes: usize,
    memory: PhantomData<&'a [u8]>,
}

/// Writable memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteRun<'a> {
    first: *mut u8,
    size_bytes: usize,
    memory: PhantomData<&'a mut [u8]>,
}

impl<'a> ReadRun<'a> {
    /// The whole payload of `array`.
    pub(crate) fn of_array(array: ArrayRef<'a>) -> Self {
        Self {
            first: array.as_bytes_ptr(),
            size_bytes: array.size_bytes(),
            memory: PhantomData,
        }
    }

    /// The memory of `elements`.
    pub(crate) fn of_slice<T: Number>(elements: &'a [T]) -> Self {
        Self {
            first: elements.as_ptr().cast(),
            size_bytes: size_of_val(elements),
            memory: PhantomData,
        }
    }

    /// A run over raw memory.
    ///
    /// # Safety
    ///
    /// `first` is readable for `size_bytes` bytes during `'a`, and only this thread or the
    /// protocol of the stream it belongs to writes there.
    pub(crate) unsafe fn from_raw(first: *const u8, size_bytes: usize) -> Self {
        Self {
            first,
            size_bytes,
            memory: PhantomData,
        }
    }

    /// No memory at all.
    pub(crate) const EMPTY: Self = Self {
        first: std::ptr::null(),
        size_bytes: 0,
        memory: PhantomData,
    };

    /// `count_bytes` bytes from `start_bytes` on.
    ///
    /// # Panics
    ///
    /// When they are not all inside the run: a plan that was checked when it was made is wrong.
    #[inline(always)]
    pub(crate) fn part(self, start_bytes: usize, count_bytes: usize) -> Self {
        check_part(start_bytes, count_bytes, self.size_bytes);
        Self {
            first: self.first.wrapping_add(start_bytes),
            size_bytes: count_bytes,
            memory: PhantomData,
        }
    }

    /// Address of the first of `count` elements.
    ///
    /// # Panics
    ///
    /// When the run is shorter than that, or not aligned for `T`.
    #[inline(always)]
    pub(crate) fn elements<T: Number>(self, count: usize) -> *const T {
        check_part(0, count * size_of::<T>(), self.size_bytes);
        assert!(self.first.cast::<T>().is_aligned(), "not aligned");
        self.first.cast()
    }

    /// The first element.
    ///
    /// # Panics
    ///
    /// As [`Self::elements`].
    #[inline(always)]
    pub(crate) fn first<T: Number>(self) -> T {
        // SAFETY: `elements` checked that one element is there, aligned.
        unsafe { self.elements::<T>(1).read() }
    }
}

impl<'a> WriteRun<'a> {
    /// The whole payload of `array`.
    pub(crate) fn of_array(array: &'a mut ArrayMut<'_>) -> Self {
        Self {
            size_bytes: array.size_bytes(),
            first: array.as_bytes_mut_ptr(),
            memory: PhantomData,
        }
    }

    /// Overwrites the run with `source`, of equal length.
    ///
    /// # Panics
    ///
    /// When the lengths differ.
    pub(crate) fn copy_from(self, source: ReadRun<'_>) {
        assert_eq!(source.size_bytes, self.size_bytes, "lengths of runs");
        // SAFETY: both runs are valid for that many bytes, and may overlap.
        unsafe { std::ptr::copy(source.first, self.first, self.size_bytes) };
    }

    /// Overwrites the run with `table` again and again, beginning at byte `start_bytes` of it.
    ///
    /// # Panics
    ///
    /// When the table is empty, or begins later than it ends.
    pub(crate) fn repeat(self, table: ReadRun<'_>, start_bytes: usize) {
        let mut start = start_bytes;
        let mut done = 0;
        while done < self.size_bytes {
            let count = (table.size_bytes - start).min(self.size_bytes - done);
            self.part(done, count).copy_from(table.part(start, count));
            done += count;
            start = 0;
        }
    }

    /// A run over raw memory.
    ///
    /// # Safety
    ///
    /// `first` is writable for `size_bytes` bytes during `'a`, by this thread only, and no
    /// reference to that memory exists.
    pub(crate) unsafe fn from_raw(first: *mut u8, size_bytes: usize) -> Self {
        Self {
            first,
            size_bytes,
            memory: PhantomData,
        }
    }

    /// `count_bytes` bytes from `start_bytes` on.
    ///
    /// # Panics
    ///
    /// As [`ReadRun::part`].
    #[inline(always)]
    pub(crate) fn part(self, start_bytes: usize, count_bytes: usize) -> Self {
        check_part(start_bytes, count_bytes, self.size_bytes);
        Self {
            first: self.first.wrapping_add(start_bytes),
            size_bytes: count_bytes,
            memory: PhantomData,
        }
    }

    /// Address of the first of `count` elements.
    ///
    /// # Panics
    ///
    /// When the run is shorter than that, or not aligned for `T`.
    #[inline(always)]
    pub(crate) fn elements<T: Number>(self, count: usize) -> *mut T {
        check_part(0, count * size_of::<T>(), self.size_bytes);
        assert!(self.first.cast::<T>().is_aligned(), "not aligned");
        self.first.cast()
    }
}

#[inline(always)]
fn check_part(start_bytes: usize, count_bytes: usize, size_bytes: usize) {
    if count_bytes > size_bytes || start_bytes > size_bytes - count_bytes {
        outside(start_bytes, count_bytes, size_bytes);
    }
}

#[cold]
#[inline(never)]
fn outside(start_bytes: usize, count_bytes: usize, size_bytes: usize) -> ! {
    panic!("{count_bytes} bytes from byte {start_bytes} are outside a run of {size_bytes} bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_repeats_from_anywhere() {
        let table = [1u16, 2, 3];
        for start in 0..3 {
            for count in 0..10 {
                let mut out = [0u16; 10];
                let mut array = ArrayMut::from_slice(&mut out, &[10]);
                let run = WriteRun::of_array(&mut array).part(0, 2 * count);
                run.repeat(ReadRun::of_slice(&table), 2 * start);
                for (index, element) in out.iter().enumerate() {
                    let expected = if index < count {
                        table[(start + index) % 3]
                    } else {
                        0
                    };
                    assert_eq!(*element, expected, "{start} {count}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "4 bytes from byte 4 are outside a run of 6 bytes")]
    fn parts_stay_inside() {
        let _part = ReadRun::of_slice(&[1u16, 2, 3]).part(4, 4);
    }

    #[test]
    #[should_panic(expected = "not aligned")]
    fn elements_are_aligned() {
        let _first: u32 = ReadRun::of_slice(&[1u16, 2, 3]).part(2, 4).first();
        let _second: u32 = ReadRun::of_slice(&[1u16, 2, 3]).part(0, 4).first();
    }
}
