//! Memory two processes share without any protocol: words for each side, and buffers.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

use thalweg_os::file::{self, Access, UnpublishedFile};
use thalweg_os::mapping::{Mapping, Protection};

use crate::Outcome;
use crate::pair::Role;

/// Bytes of each buffer: the largest frame that is handed over.
pub(crate) const BUFFER_BYTES: usize = 4 << 20;
/// As many as a stream has slots. A side that sends uses the one of its index.
pub(crate) const BUFFERS: usize = thalweg_shm::stream::DEFAULT_SLOTS;
const HEADER_BYTES: usize = 4096;
const ARENA_BYTES: usize = HEADER_BYTES + BUFFERS * BUFFER_BYTES;

/// What one side tells the other.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Channel {
    /// The word the other side spins on; alone on its pair of cache lines, because processors
    /// fetch lines in pairs.
    pub(crate) flag: Spaced<AtomicU64>,
    /// The word the other side sleeps on.
    pub(crate) futex: Spaced<AtomicU32>,
    /// As much as a publication's record.
    pub(crate) record: Spaced<[AtomicU64; 5]>,
}

#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Spaced<T>(pub(crate) T);

const _: () = assert!(2 * size_of::<Channel>() <= HEADER_BYTES);

/// The shared memory, as one of the two sides sees it.
#[derive(Debug)]
pub(crate) struct Arena {
    mapping: Mapping,
    path: PathBuf,
}

impl Arena {
    /// Makes the memory, under a name the partner can open.
    pub(crate) fn create() -> Outcome<Self> {
        let directory = file::default_directory();
        let mut unpublished = UnpublishedFile::new(&directory, ARENA_BYTES as u64, 0o600, None)?;
        let mapping = map(unpublished.descriptor())?;
        let name = format!("thalweg-bench-arena.{}", std::process::id());
        unpublished.publish(&name)?;
        Ok(Self {
            mapping,
            path: directory.join(name),
        })
    }

    /// Maps what the other side has made, and takes its name away.
    pub(crate) fn adopt(path: &Path) -> Outcome<Self> {
        let file = file::open(path, Access::ReadWrite)?;
        file::remove(path)?;
        Ok(Self {
            mapping: map(file.as_fd())?,
            path: path.to_owned(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What `sender` tells the other side.
    pub(crate) fn channel(&self, sender: Role) -> &Channel {
        let offset = sender.index() * size_of::<Channel>();
        // SAFETY: within the header of the mapping.
        let address = unsafe { self.mapping.address().byte_add(offset) };
        // SAFETY: page alignment and the size of a Channel keep it aligned; it consists of atomics,
        // which accept any bits and changes by the other process, and lives as long as self.
        unsafe { address.cast().as_ref() }
    }

    fn buffer(&self, index: usize) -> NonNull<u8> {
        let offset = HEADER_BYTES + index % BUFFERS * BUFFER_BYTES;
        // SAFETY: within the mapping.
        unsafe { self.mapping.address().byte_add(offset) }
    }

    /// Copies `bytes` into buffer `index`. While the other side copies them out nobody does: the
    /// flags take care of that.
    pub(crate) fn copy_in(&self, index: usize, bytes: &[u8]) {
        let count = bytes.len().min(BUFFER_BYTES);
        // SAFETY: both sides hold `count` bytes; private and mapped memory are disjoint.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.buffer(index).as_ptr(), count);
        };
    }

    /// Copies out of buffer `index`.
    pub(crate) fn copy_out(&self, index: usize, bytes: &mut [u8]) {
        let count = bytes.len().min(BUFFER_BYTES);
        // SAFETY: as for `copy_in`.
        unsafe {
            std::ptr::copy_nonoverlapping(self.buffer(index).as_ptr(), bytes.as_mut_ptr(), count);
        };
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // Mostly gone already: only a partner that never started leaves it to its maker.
        file::remove(&self.path).ok();
    }
}

fn map(file: std::os::fd::BorrowedFd<'_>) -> Outcome<Mapping> {
    Ok(Mapping::new(file, 0, ARENA_BYTES, Protection::ReadWrite)?)
}
