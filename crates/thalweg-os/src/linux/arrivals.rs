//! Noticing that a name appears in a folder.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify;
use rustix::io::Errno;

use super::descriptor::wait_readable;

/// Tells that names appeared in a folder since the last look.
#[derive(Debug)]
pub struct Arrivals {
    descriptor: OwnedFd,
}

impl Arrivals {
    /// Names that appear in `directory` from now on. Refused when the user watches as much as the
    /// system allows already, among other reasons.
    pub fn of(directory: &Path) -> io::Result<Self> {
        let arrivals = Self::of_nothing()?;
        arrivals.watch(directory)?;
        Ok(arrivals)
    }

    /// No folder yet.
    pub fn of_nothing() -> io::Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let descriptor = inotify::init(flags)?;
        Ok(Self { descriptor })
    }

    /// Names that appear in `directory`, too; naming a folder twice changes nothing.
    pub fn watch(&self, directory: &Path) -> io::Result<()> {
        // Linking a file is a creation, renaming one a move. A folder that goes takes the watch
        // along, which its users have to hear of.
        let events = inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::DELETE_SELF
            | inotify::WatchFlags::MOVE_SELF
            | inotify::WatchFlags::ONLYDIR;
        inotify::add_watch(&self.descriptor, directory, events)?;
        Ok(())
    }

    /// Sleeps until some name appears, or until `deadline_ns`, or a signal; whether one did. What
    /// came before the call counts.
    pub fn wait(&self, deadline_ns: u64) -> io::Result<bool> {
        wait_readable(&[self.descriptor.as_fd()], Some(deadline_ns))?;
        let mut events = [0u8; 4096];
        let mut is_told = false;
        loop {
            match rustix::io::read(&self.descriptor, &mut events) {
                Ok(0) | Err(Errno::WOULDBLOCK) => return Ok(is_told),
                Ok(_) => is_told = true,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Arrivals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::{deadline_after, monotonic_ns};
    use super::*;

    #[test]
    fn links_and_renames_are_arrivals() {
        let id = u128::from_ne_bytes(super::super::random::random_id().unwrap());
        let directory = std::env::temp_dir().join(format!("thalweg-arrivals-{id:x}"));
        std::fs::create_dir(&directory).unwrap();
        let outside = directory.with_extension("outside");
        std::fs::write(&outside, b"").unwrap();
        let arrivals = Arrivals::of(&directory).unwrap();
        let long = std::time::Duration::from_secs(20);
        std::fs::hard_link(&outside, directory.join("linked")).unwrap();
        let deadline_ns = deadline_after(long);
        assert!(arrivals.wait(deadline_ns).unwrap(), "a link");
        std::fs::rename(&outside, directory.join("renamed")).unwrap();
        assert!(arrivals.wait(deadline_ns).unwrap(), "a rename");
        let nothing_ns = monotonic_ns() + 1_000_000;
        assert!(!arrivals.wait(nothing_ns).unwrap(), "all was told before");
        assert!(monotonic_ns() >= nothing_ns);
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(arrivals.wait(deadline_ns).unwrap(), "the folder went");
    }
}
