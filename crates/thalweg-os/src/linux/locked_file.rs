//! Files under their exclusive advisory lock (flock), which lasts as long as the value.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::file::{Access, FileFacts, FileIdentity, open, try_lock_exclusive};

/// How long [`LockedFile::open`] waits. Who plays by the rules holds such a lock for microseconds.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// The system has no wait with an end for these locks; between two tries lies this at first,
const FIRST_NAP: Duration = Duration::from_micros(50);
/// and twice as much each time, up to this.
const LONGEST_NAP: Duration = Duration::from_millis(10);

/// Somebody else kept a file locked. The inner error of an [`io::Error`] of the kind
/// [`TimedOut`](io::ErrorKind::TimedOut).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} has kept the file locked (flock) for {waited:.1?}: let it unlock the file, or end it, and try again",
    self.holder_text()
)]
pub struct KeptLocked {
    /// Pid of the holder, if it can be seen from here.
    pub holder: Option<u32>,
    /// How long it was waited for.
    pub waited: Duration,
}

impl KeptLocked {
    fn holder_text(self) -> String {
        self.holder.map_or_else(
            || "a process that cannot be seen from here".to_owned(),
            |pid| format!("process {pid}"),
        )
    }
}

/// A file under its exclusive advisory lock.
#[derive(Debug)]
pub struct LockedFile {
    identity: FileIdentity,
    /// Carries the lock.
    _descriptor: OwnedFd,
}

impl LockedFile {
    /// Opens the file `path` leads to and waits [`PATIENCE`] for its lock. By then the name may lead
    /// elsewhere: see [`LockedFile::is_at`].
    ///
    /// # Errors
    ///
    /// Those of the system, and [`KeptLocked`].
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_within(path, PATIENCE)
    }

    /// As [`LockedFile::open`], with another patience.
    pub fn open_within(path: &Path, patience: Duration) -> io::Result<Self> {
        let descriptor = open(path, Access::ReadOnly)?;
        let identity = FileFacts::of(&descriptor)?.identity;
        let (began, mut nap) = (Instant::now(), FIRST_NAP);
        while !try_lock_exclusive(&descriptor)? {
            let waited = began.elapsed();
            let Some(left) = patience.checked_sub(waited) else {
                let holder = holder_of(identity);
                let error = KeptLocked { holder, waited };
                return Err(io::Error::new(io::ErrorKind::TimedOut, error));
            };
            std::thread::sleep(nap.min(left));
            nap = (2 * nap).min(LONGEST_NAP);
        }
        Ok(Self {
            identity,
            _descriptor: descriptor,
        })
    }

    /// Which file it is.
    pub fn identity(&self) -> FileIdentity {
        self.identity
    }

    /// Whether `path` leads to it.
    pub fn is_at(&self, path: &Path) -> bool {
        FileFacts::of_path(path).is_ok_and(|named| named.identity == self.identity)
    }
}

/// Pid of the process that took the advisory lock of a file.
fn holder_of(file: FileIdentity) -> Option<u32> {
    find_holder(&std::fs::read_to_string("/proc/locks").ok()?, file)
}

/// The same, from the text of `/proc/locks`.
fn find_holder(locks: &str, file: FileIdentity) -> Option<u32> {
    let (major, minor) = (
        rustix::fs::major(file.device),
        rustix::fs::minor(file.device),
    );
    let wanted = format!("{major:02x}:{minor:02x}:{}", file.inode);
    locks.lines().find_map(|line| {
        // Number, kind, enforcement, access, pid, file; those who wait have an arrow for a kind.
        let mut fields = line.split_ascii_whitespace().skip(1);
        let is_flock = fields.next()? == "FLOCK";
        let pid = fields.nth(2)?.parse().ok().filter(|&pid| pid != 0)?;
        (is_flock && fields.next()? == wanted).then_some(pid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_kept_locked_is_given_up_by_name_of_its_holder() {
        let path = std::env::temp_dir().join(format!(
            "thalweg-os-{:x}",
            u128::from_ne_bytes(super::super::random::random_id().unwrap())
        ));
        std::fs::write(&path, b"").unwrap();
        let held = LockedFile::open(&path).unwrap();
        assert!(held.is_at(&path));
        let patience = Duration::from_millis(20);
        let error = LockedFile::open_within(&path, patience).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        let kept: KeptLocked = *inner.unwrap();
        assert_eq!(kept.holder, Some(std::process::id()));
        assert!(kept.waited >= patience);
        let text = format!("process {} has kept", std::process::id());
        assert!(error.to_string().starts_with(&text), "{error}");
        drop(held);
        LockedFile::open_within(&path, Duration::ZERO).unwrap();
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn holders_are_found_among_other_locks() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 00:19:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 12 00:19:770 0 EOF\n\
                     3: OFDLCK ADVISORY  READ -1 00:19:77 3 3\n\
                     4: FLOCK  ADVISORY  WRITE 13 00:19:77 0 EOF\n\
                     4: -> FLOCK  ADVISORY  WRITE 14 00:19:77 0 EOF\n\
                     5: FLOCK  ADVISORY  WRITE 0 00:1a:78 0 EOF\n";
        let file = |minor, inode| FileIdentity {
            device: rustix::fs::makedev(0, minor),
            inode,
        };
        assert_eq!(find_holder(locks, file(0x19, 77)), Some(13));
        assert_eq!(find_holder(locks, file(0x19, 770)), Some(12));
        assert_eq!(find_holder(locks, file(0x1a, 78)), None, "not visible");
        assert_eq!(find_holder(locks, file(0x1a, 77)), None);
    }
}
