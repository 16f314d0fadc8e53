//! What a folder lies on.

use std::io;
use std::path::Path;

use rustix::fs::statfs;

/// Numbers by which the kernel tells file systems that live in memory: tmpfs and ramfs.
const MEMORY_TYPES: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// A mounted file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// True if its files live in memory and are never written to a disk, but for swapping.
    pub is_memory: bool,
    /// Size in bytes; 0 for one without a limit.
    pub size_bytes: u64,
    /// Bytes an ordinary user can still take.
    pub free_bytes: u64,
}

impl FileSystem {
    /// The file system `path` lies on.
    pub fn of(path: &Path) -> io::Result<Self> {
        let found = statfs(path)?;
        // The type's width and sign differ between processors; the numbers are 32 bits.
        let kind = found.f_type as u64 & u64::from(u32::MAX);
        let block_bytes = found.f_bsize.unsigned_abs();
        Ok(Self {
            is_memory: MEMORY_TYPES.contains(&kind),
            size_bytes: found.f_blocks.saturating_mul(block_bytes),
            free_bytes: found.f_bavail.saturating_mul(block_bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_memory_lives_in_memory_and_proc_does_not() {
        let shared = FileSystem::of(Path::new("/dev/shm")).unwrap();
        assert!(shared.is_memory && shared.free_bytes <= shared.size_bytes);
        assert!(!FileSystem::of(Path::new("/proc")).unwrap().is_memory);
        assert!(FileSystem::of(Path::new("/nowhere")).is_err());
    }
}
