//! File descriptors that children are meant to inherit or to leave alone, and polling.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_getfd, fcntl_setfd};

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

/// Moves standard input and output of this process elsewhere, and returns them: code that reads
/// standard input from now on finds it empty, and what it prints goes to standard error.
pub fn take_standard_streams() -> io::Result<(File, File)> {
    let first_free = 3;
    let input = fcntl_dupfd_cloexec(std::io::stdin(), first_free)?;
    let output = fcntl_dupfd_cloexec(std::io::stdout(), first_free)?;
    let nothing = File::open("/dev/null")?;
    for (new, number) in [
        (nothing.as_fd(), libc::STDIN_FILENO),
        (std::io::stderr().as_fd(), libc::STDOUT_FILENO),
    ] {
        // SAFETY: both numbers are open; what the second one stood for lives on in its duplicate.
        if unsafe { libc::dup2(new.as_raw_fd(), number) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok((input.into(), output.into()))
}

/// True if a page can be written to `pipe` without waiting.
pub fn has_room(pipe: impl AsFd) -> bool {
    let at_once = timespec(0);
    let mut polled = [PollFd::new(&pipe, PollFlags::OUT)];
    poll(&mut polled, Some(&at_once)) == Ok(1) && polled[0].revents() == PollFlags::OUT
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
