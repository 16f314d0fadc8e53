//! Shared mappings of files, unmapped when the last owner drops them.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

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
