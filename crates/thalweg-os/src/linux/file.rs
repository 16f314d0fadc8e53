//! Files on the shared-memory file system: built anonymously, published atomically.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FlockOperation, Gid, Mode, OFlags, fallocate, fchmod, fchown,
    flock, fstat, fstatvfs, linkat, openat, renameat_with, stat, unlinkat,
};
use rustix::io::Errno;

/// The file system all names live on, unless the environment variable `THALWEG_SHM_DIR` names
/// another folder (which should be a tmpfs).
pub fn default_directory() -> PathBuf {
    std::env::var_os("THALWEG_SHM_DIR")
        .filter(|value| !value.is_empty())
        .map_or_else(|| PathBuf::from("/dev/shm"), PathBuf::from)
}

/// Which file a descriptor or a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileIdentity {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
}

/// Facts about a file.
#[derive(Clone, Copy, Debug)]
pub struct FileFacts {
    /// Which file.
    pub identity: FileIdentity,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Permission bits.
    pub mode: u32,
    /// True once no name leads to it any more.
    pub unlinked: bool,
    /// True for a regular file.
    pub regular: bool,
}

impl FileFacts {
    /// Facts of an open file.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        Ok(Self::from_stat(&fstat(file)?))
    }

    /// Facts of the file `path` leads to.
    pub fn of_path(path: &Path) -> io::Result<Self> {
        Ok(Self::from_stat(&stat(path)?))
    }

    fn from_stat(stat: &rustix::fs::Stat) -> Self {
        Self {
            identity: FileIdentity {
                device: stat.st_dev,
                inode: stat.st_ino,
            },
            size_bytes: stat.st_size.cast_unsigned(),
            mode: stat.st_mode & 0o7777,
            unlinked: stat.st_nlink == 0,
            regular: rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file(),
        }
    }
}

/// Why no file could be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The file system has too little room.
    #[error(
        "no room in {}: {needed_bytes} bytes needed, {free_bytes} bytes free",
        directory.display()
    )]
    NoSpace {
        /// The folder.
        directory: PathBuf,
        /// Bytes the file needs.
        needed_bytes: u64,
        /// Bytes free for this user.
        free_bytes: u64,
    },
    /// The folder cannot be written, or any other refusal.
    #[error("cannot create a file in {}: {source}", directory.display())]
    Refused {
        /// The folder.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A file of its final size that has no public name yet. Dropping it leaves nothing behind; so
/// does a kill, except for a private name on file systems without anonymous files, which
/// [`remove_abandoned`] recognises.
#[derive(Debug)]
pub struct UnpublishedFile {
    descriptor: OwnedFd,
    directory: PathBuf,
    /// The private name, where the file system has no anonymous files.
    private_name: Option<OsString>,
}

const PRIVATE_PREFIX: &str = ".thalweg-unpublished-";

impl UnpublishedFile {
    /// Makes a file of `size_bytes` zero bytes, all of them allocated, in `directory`.
    pub fn new(
        directory: &Path,
        size_bytes: u64,
        mode: u32,
        group: Option<u32>,
    ) -> Result<Self, BuildError> {
        let refused = |source: io::Error| BuildError::Refused {
            directory: directory.to_owned(),
            source,
        };
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let file = match openat(CWD, directory, flags | OFlags::TMPFILE, Mode::RWXU) {
            Ok(descriptor) => Self {
                descriptor,
                directory: directory.to_owned(),
                private_name: None,
            },
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                Self::new_private(directory).map_err(refused)?
            }
            Err(error) => return Err(refused(error.into())),
        };
        match fallocate(&file.descriptor, FallocateFlags::empty(), 0, size_bytes) {
            Ok(()) => {}
            Err(Errno::NOSPC | Errno::FBIG | Errno::DQUOT) => {
                return Err(BuildError::NoSpace {
                    directory: directory.to_owned(),
                    needed_bytes: size_bytes,
                    free_bytes: free_bytes(&file.descriptor),
                });
            }
            Err(error) => return Err(refused(error.into())),
        }
        if let Some(group) = group {
            fchown(&file.descriptor, None, Some(Gid::from_raw(group)))
                .map_err(|error| refused(error.into()))?;
        }
        // After the group, because changing it clears bits. Not subject to the umask: the caller
        // asked for exactly this mode.
        fchmod(&file.descriptor, Mode::from_raw_mode(mode))
            .map_err(|error| refused(error.into()))?;
        Ok(file)
    }

    fn new_private(directory: &Path) -> io::Result<Self> {
        let name = private_name()?;
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::CREATE | OFlags::EXCL;
        let descriptor = openat(CWD, directory.join(&name), flags, Mode::RUSR | Mode::WUSR)?;
        let file = Self {
            descriptor,
            directory: directory.to_owned(),
            private_name: Some(name),
        };
        // Held while this process works on the file: a private name with a free lock is abandoned.
        flock(&file.descriptor, FlockOperation::LockExclusive)?;
        Ok(file)
    }

    /// The file's descriptor.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Gives the file its public name: atomic, and an `AlreadyExists` error when the name is taken.
    /// After an error it may be tried again.
    pub fn publish(&mut self, name: &str) -> io::Result<OwnedFd> {
        let target = self.directory.join(name);
        if self.private_name.is_some() {
            self.rename_to(&target, rustix::fs::RenameFlags::NOREPLACE)?;
        } else {
            self.link_to(&target)?;
        }
        self.descriptor.try_clone()
    }

    /// Gives the file the public name `name`, which leads to another file, or to none: atomic. The
    /// caller sees to it that the name's file may be replaced.
    pub fn replace(&mut self, name: &str) -> io::Result<OwnedFd> {
        if self.private_name.is_none() {
            // Links replace nothing, so the file gets a private name first.
            let private = private_name()?;
            // Before the name is there: it must not be taken for abandoned.
            flock(&self.descriptor, FlockOperation::LockExclusive)?;
            self.link_to(&self.directory.join(&private))?;
            self.private_name = Some(private);
        }
        let target = self.directory.join(name);
        self.rename_to(&target, rustix::fs::RenameFlags::empty())?;
        self.descriptor.try_clone()
    }

    fn link_to(&self, target: &Path) -> io::Result<()> {
        // The documented way to link an anonymous file without special capabilities.
        let source = format!("/proc/self/fd/{}", self.descriptor.as_raw_fd());
        linkat(CWD, source, CWD, target, AtFlags::SYMLINK_FOLLOW)?;
        Ok(())
    }

    /// Turns the private name into `target`.
    fn rename_to(&mut self, target: &Path, flags: rustix::fs::RenameFlags) -> io::Result<()> {
        if let Some(private) = self.private_name.take() {
            let source = self.directory.join(&private);
            if let Err(error) = renameat_with(CWD, &source, CWD, target, flags) {
                self.private_name = Some(private);
                return Err(error.into());
            }
            flock(&self.descriptor, FlockOperation::Unlock)?;
        }
        Ok(())
    }
}

fn private_name() -> io::Result<OsString> {
    let id = super::random::random_id()?;
    let name = format!("{PRIVATE_PREFIX}{:032x}", u128::from_ne_bytes(id));
    Ok(OsString::from(name))
}

impl Drop for UnpublishedFile {
    fn drop(&mut self) {
        if let Some(name) = &self.private_name {
            // Nothing more can be done if it fails; `remove_abandoned` gets another chance.
            unlinkat(CWD, self.directory.join(name), AtFlags::empty()).ok();
        }
    }
}

/// Removes private names in `directory` whose builders died; returns how many.
pub fn remove_abandoned(directory: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let is_private = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(PRIVATE_PREFIX));
        if !is_private {
            continue;
        }
        let Ok(file) = open(&entry.path(), Access::ReadWrite) else {
            continue;
        };
        if try_lock_exclusive(&file)? {
            match unlinkat(CWD, entry.path(), AtFlags::empty()) {
                Ok(()) => removed += 1,
                // Somebody else was tidying, too.
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(removed)
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// For reading.
    ReadOnly,
    /// For reading and writing.
    ReadWrite,
}

/// Opens an existing file; never follows a symbolic link, never blocks on a pipe.
pub fn open(path: &Path, access: Access) -> io::Result<OwnedFd> {
    let flags = match access {
        Access::ReadOnly => OFlags::RDONLY,
        Access::ReadWrite => OFlags::RDWR,
    };
    Ok(openat(
        CWD,
        path,
        flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK,
        Mode::empty(),
    )?)
}

/// Takes the exclusive advisory lock if it is free.
pub fn try_lock_exclusive(file: impl AsFd) -> io::Result<bool> {
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Takes the shared advisory lock if nobody holds the exclusive one. In place of an exclusive lock
/// of the same open file it takes that one's place.
pub fn try_lock_shared(file: impl AsFd) -> io::Result<bool> {
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Removes the name `path`.
pub fn remove(path: &Path) -> io::Result<()> {
    Ok(unlinkat(CWD, path, AtFlags::empty())?)
}

/// Free bytes of the file system `file` lies on, for unprivileged users.
pub fn free_bytes(file: impl AsFd) -> u64 {
    fstatvfs(file).map_or(0, |facts| facts.f_bavail.saturating_mul(facts.f_frsize))
}

/// Opens `file` anew: locks of the new open file are its own, where a duplicate or a forked child's
/// copy of a descriptor shares those of the original. Works without a name.
pub fn reopen(file: impl AsFd, access: Access) -> io::Result<OwnedFd> {
    let flags = match access {
        Access::ReadOnly => OFlags::RDONLY,
        Access::ReadWrite => OFlags::RDWR,
    };
    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

/// Holds a shared lock on byte `position` of `file` for as long as the descriptor's open file
/// lives: a witness of life that is visible from every pid namespace. False if somebody holds the
/// byte by [`claim_witness`].
pub fn witness(file: impl AsFd, position: u64) -> io::Result<bool> {
    try_fcntl_witness(file, libc::F_RDLCK, position)
}

/// Gives the witness of byte `position` up.
pub fn end_witness(file: impl AsFd, position: u64) -> io::Result<()> {
    fcntl_witness(file, libc::F_OFD_SETLK, libc::F_UNLCK, position).map(drop)
}

/// Keeps everybody from holding the witness of byte `position`, for as long as the descriptor's
/// open file lives. False if another open file holds it. The file is open for writing.
pub fn claim_witness(file: impl AsFd, position: u64) -> io::Result<bool> {
    try_fcntl_witness(file, libc::F_WRLCK, position)
}

/// Whether another open file holds the witness of byte `position`.
pub fn is_witnessed(file: impl AsFd, position: u64) -> io::Result<bool> {
    // Asks what an exclusive lock would collide with; nothing is locked.
    let found = fcntl_witness(file, libc::F_OFD_GETLK, libc::F_WRLCK, position)?;
    Ok(i32::from(found.l_type) != libc::F_UNLCK)
}

fn try_fcntl_witness(file: impl AsFd, kind: libc::c_int, position: u64) -> io::Result<bool> {
    match fcntl_witness(file, libc::F_OFD_SETLK, kind, position) {
        Ok(_) => Ok(true),
        // Either may say that somebody else's lock is in the way.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn fcntl_witness(
    file: impl AsFd,
    operation: libc::c_int,
    kind: libc::c_int,
    position: u64,
) -> io::Result<libc::flock> {
    let invalid = |_| io::Error::from(Errno::INVAL);
    let mut lock = libc::flock {
        l_type: libc::c_short::try_from(kind).map_err(invalid)?,
        l_whence: libc::c_short::try_from(libc::SEEK_SET).map_err(invalid)?,
        l_start: libc::off_t::try_from(position).map_err(invalid)?,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open for the borrow and `lock` is a complete record the kernel
    // reads and, for F_OFD_GETLK, overwrites.
    let result = unsafe { libc::fcntl(file.as_fd().as_raw_fd(), operation, &raw mut lock) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(lock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> PathBuf {
        let path = std::env::temp_dir().join(format!(
            "thalweg-os-{:x}",
            u128::from_ne_bytes(super::super::random::random_id().unwrap())
        ));
        std::fs::create_dir(&path).unwrap();
        path
    }

    #[test]
    fn nothing_is_visible_until_published() {
        let directory = directory();
        let mut file = UnpublishedFile::new(&directory, 4096, 0o600, None).unwrap();
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
        let published = file.publish("name").unwrap();
        let facts = FileFacts::of_path(&directory.join("name")).unwrap();
        assert_eq!(facts.identity, FileFacts::of(&published).unwrap().identity);
        assert_eq!((facts.size_bytes, facts.mode), (4096, 0o600));
        let mut second = UnpublishedFile::new(&directory, 1, 0o600, None).unwrap();
        let taken = second.publish("name").unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_name_is_replaced_by_anonymous_and_by_private_files() {
        let directory = directory();
        let name = directory.join("name");
        for is_private in [false, true] {
            std::fs::write(&name, b"old").unwrap();
            let mut file = if is_private {
                UnpublishedFile::new_private(&directory).unwrap()
            } else {
                UnpublishedFile::new(&directory, 64, 0o600, None).unwrap()
            };
            let published = file.replace("name").unwrap();
            let facts = FileFacts::of(&published).unwrap();
            assert_eq!(facts.identity, FileFacts::of_path(&name).unwrap().identity);
            drop(file);
            assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
            assert!(
                try_lock_exclusive(open(&name, Access::ReadOnly).unwrap()).unwrap(),
                "still locked"
            );
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn private_names_are_cleaned_up() {
        let directory = directory();
        let mut file = UnpublishedFile::new_private(&directory).unwrap();
        assert_eq!(
            remove_abandoned(&directory).unwrap(),
            0,
            "still being built"
        );
        let name = file.private_name.clone().unwrap();
        let abandoned = directory.join(format!("{PRIVATE_PREFIX}dead"));
        std::fs::write(&abandoned, b"").unwrap();
        assert_eq!(remove_abandoned(&directory).unwrap(), 1);
        file.publish("public").unwrap();
        assert!(!directory.join(name).exists());
        assert!(directory.join("public").exists());
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn no_space_tells_how_much() {
        let directory = directory();
        let error = UnpublishedFile::new(&directory, 1 << 60, 0o600, None).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("1152921504606846976 bytes needed"),
            "{error}"
        );
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn witnesses_are_seen_by_other_open_files() {
        let directory = directory();
        let mut file = UnpublishedFile::new(&directory, 64, 0o600, None).unwrap();
        let file = file.publish("witnessed").unwrap();
        let other = open(&directory.join("witnessed"), Access::ReadOnly).unwrap();
        assert!(!is_witnessed(&other, 3).unwrap());
        assert!(witness(&file, 3).unwrap());
        assert!(is_witnessed(&other, 3).unwrap());
        assert!(!is_witnessed(&other, 4).unwrap());
        assert!(!is_witnessed(&file, 3).unwrap(), "one's own is not seen");
        let anew = reopen(&file, Access::ReadWrite).unwrap();
        assert!(is_witnessed(&anew, 3).unwrap(), "but by the same process");
        assert!(!claim_witness(&anew, 3).unwrap());
        end_witness(&file, 3).unwrap();
        assert!(claim_witness(&anew, 3).unwrap());
        assert!(!witness(&file, 3).unwrap());
        drop(anew);
        assert!(witness(&file, 3).unwrap());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
