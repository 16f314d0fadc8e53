//! Shared mappings of files, unmapped when the last owner drops them.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, MremapFlags, ProtFlags, mmap, mmap_anonymous, mremap_fixed, munmap};

/// What a mapping may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Reads; a store is a segmentation fault.
    ReadOnly,
    /// Reads and stores.
    ReadWrite,
}

/// A shared, populated mapping of part of a file.
#[derive(Debug)]
pub struct Mapping {
    address: NonNull<u8>,
    size_bytes: usize,
}

// SAFETY: a mapping is an address range; what is stored there is the users' business.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `size_bytes` of `file` from `offset_bytes` (a multiple of the page size) and faults
    /// the pages in, so that the first access is not the slow one. The caller has checked that the
    /// file is that long: pages past its end would raise SIGBUS.
    pub fn new(
        file: BorrowedFd<'_>,
        offset_bytes: u64,
        size_bytes: usize,
        protection: Protection,
    ) -> io::Result<Self> {
        let flags = match protection {
            Protection::ReadOnly => ProtFlags::READ,
            Protection::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
        };
        // SAFETY: the kernel chooses the address, so no existing mapping is touched.
        let address = unsafe {
            mmap(
                std::ptr::null_mut(),
                size_bytes,
                flags,
                MapFlags::SHARED | MapFlags::POPULATE,
                file,
                offset_bytes,
            )
        }?;
        let address = NonNull::new(address.cast())
            .ok_or_else(|| io::Error::other("the kernel mapped address 0"))?;
        Ok(Self {
            address,
            size_bytes,
        })
    }

    /// Puts private memory in the place of the pages that hold `range`, filled by `fill(from, to,
    /// size_bytes)` from what is there. Whoever has an address inside goes on using it, cut off from
    /// the file; the exchange is atomic.
    ///
    /// # Errors
    ///
    /// The system has no memory left; then nothing has changed.
    pub fn detach(
        &self,
        range: std::ops::Range<usize>,
        fill: impl FnOnce(NonNull<u8>, NonNull<u8>, usize),
    ) -> io::Result<()> {
        let page_bytes = rustix::param::page_size();
        let start = range.start / page_bytes * page_bytes;
        let end = range
            .end
            .next_multiple_of(page_bytes)
            .min(self.size_bytes.next_multiple_of(page_bytes));
        let size_bytes = end.saturating_sub(start);
        if size_bytes == 0 {
            return Ok(());
        }
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the address, so no existing mapping is touched.
        let copy = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                size_bytes,
                protection,
                MapFlags::PRIVATE,
            )
        }?;
        let target = NonNull::new(copy.cast())
            .ok_or_else(|| io::Error::other("the kernel mapped address 0"))?;
        // SAFETY: `start` lies inside this mapping, whose last page is whole.
        let source = unsafe { self.address.add(start) };
        fill(source, target, size_bytes);
        // SAFETY: the old range is the copy made above, which nobody else knows; the new one consists
        // of whole pages of this mapping, and stays readable and writable throughout.
        let moved = unsafe {
            mremap_fixed(
                copy,
                size_bytes,
                size_bytes,
                MremapFlags::MAYMOVE,
                source.as_ptr().cast(),
            )
        };
        if let Err(error) = moved {
            // SAFETY: the copy did not move, and nobody else knows its address.
            let unmapped = unsafe { munmap(copy, size_bytes) };
            debug_assert!(unmapped.is_ok(), "munmap: {unmapped:?}");
            return Err(error.into());
        }
        Ok(())
    }

    /// Address of the first byte, page aligned.
    pub fn address(&self) -> NonNull<u8> {
        self.address
    }

    /// Length in bytes.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size, and dropped once; views hold the owner alive.
        let unmapped = unsafe { munmap(self.address.as_ptr().cast(), self.size_bytes) };
        debug_assert!(unmapped.is_ok(), "munmap: {unmapped:?}");
    }
}
