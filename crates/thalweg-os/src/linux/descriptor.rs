//! File descriptors that children are meant to inherit, and polling.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, FdFlags, fcntl_getfd, fcntl_setfd};

use super::clock::{monotonic_ns, timespec};

/// Lets programs started from now on inherit `descriptor`.
pub fn make_inheritable(descriptor: impl AsFd) -> io::Result<()> {
    let flags = fcntl_getfd(&descriptor)?;
    Ok(fcntl_setfd(&descriptor, flags - FdFlags::CLOEXEC)?)
}

/// Keeps programs started from now on from inheriting `descriptor`.
pub fn make_private(descriptor: impl AsFd) -> io::Result<()> {
    let flags = fcntl_getfd(&descriptor)?;
    Ok(fcntl_setfd(&descriptor, flags | FdFlags::CLOEXEC)?)
}

/// Takes over a descriptor this process inherited, checking that it is open.
pub fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("descriptor {number} is a standard stream"),
        ));
    }
    // SAFETY: `borrow_raw` needs an open descriptor for the borrow; a closed one makes fcntl
    // return EBADF, which is what is asked here.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_getfd(borrowed)?;
    // SAFETY: open as checked, above the standard streams, and handed to this process by its
    // parent for this purpose; the caller adopts each number once.
    let owned = unsafe { std::os::fd::FromRawFd::from_raw_fd(number) };
    make_private(&owned)?;
    Ok(owned)
}

/// Sleeps until one of `descriptors` is readable (or hung up) or until `deadline_ns`; tells for
/// each whether it is. A signal ends the sleep early with nothing readable.
pub fn wait_readable(
    descriptors: &[BorrowedFd<'_>],
    deadline_ns: Option<u64>,
) -> io::Result<Vec<bool>> {
    let mut polled: Vec<PollFd<'_>> = descriptors
        .iter()
        .map(|descriptor| PollFd::new(descriptor, PollFlags::IN))
        .collect();
    let timeout = deadline_ns.map(|deadline| timespec(deadline.saturating_sub(monotonic_ns())));
    match poll(&mut polled, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(polled
        .iter()
        .map(|entry| {
            entry
                .revents()
                .intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
        })
        .collect())
}
