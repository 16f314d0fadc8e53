//! Stop signals as readable events, instead of handlers that run anywhere.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// Which signal asked the process to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGINT, Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP, the terminal went away.
    HangUp,
}

impl StopSignal {
    fn from_number(number: i32) -> Option<Self> {
        match number {
            libc::SIGINT => Some(Self::Interrupt),
            libc::SIGTERM => Some(Self::Terminate),
            libc::SIGHUP => Some(Self::HangUp),
            _ => None,
        }
    }
}

/// SIGINT, SIGTERM and SIGHUP of this process, blocked and turned into a readable descriptor.
#[derive(Debug)]
pub struct StopSignals {
    descriptor: OwnedFd,
}

impl StopSignals {
    /// Blocks the three signals in the calling thread and in those it starts from now on: call it
    /// before any other thread exists. Programs started from here inherit the blocked mask.
    pub fn block() -> io::Result<Self> {
        let set = stop_set();
        // SAFETY: `set` is initialised; no old mask is asked for.
        let blocked =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if blocked != 0 {
            return Err(io::Error::from_raw_os_error(blocked));
        }
        // SAFETY: `set` is initialised; -1 asks for a new descriptor.
        let number =
            unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a fresh descriptor nobody else owns.
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        Ok(Self { descriptor })
    }

    /// The oldest signal not taken yet.
    pub fn take(&self) -> Option<StopSignal> {
        let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
        let count = rustix::io::read(&self.descriptor, &mut info).ok()?;
        if count < size_of::<u32>() {
            return None;
        }
        // The record begins with the signal's number as a native 32-bit word.
        let number = u32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
        StopSignal::from_number(i32::try_from(number).ok()?)
    }
}

impl AsFd for StopSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Ignores SIGINT, SIGTERM and SIGHUP from now on: a terminal or a service manager sends them to
/// whole process groups, and what they mean for a worker is its parent's decision.
pub fn ignore_stop_signals() -> io::Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: ignoring a signal installs no handler.
        let previous = unsafe { libc::signal(signal, libc::SIG_IGN) };
        if previous == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Runs `work` with all signals blocked in the calling thread. Threads that it starts keep them
/// blocked: handlers then run in threads that expect to be interrupted.
pub fn while_blocked<T>(work: impl FnOnce() -> T) -> io::Result<T> {
    let mut every = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises the whole set and cannot fail for a valid address.
    unsafe { libc::sigfillset(every.as_mut_ptr()) };
    let mut before = MaybeUninit::uninit();
    // SAFETY: the first set was initialised, the second is written by the call.
    let blocked =
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, every.as_ptr(), before.as_mut_ptr()) };
    if blocked != 0 {
        return Err(io::Error::from_raw_os_error(blocked));
    }
    let result = work();
    // SAFETY: written by the call above, which succeeded; no old mask is asked for.
    let restored =
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    if restored != 0 {
        return Err(io::Error::from_raw_os_error(restored));
    }
    Ok(result)
}

fn stop_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the whole set and cannot fail for a valid address.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the set was initialised above; the signal numbers exist.
        unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
    }
    // SAFETY: initialised by sigemptyset.
    unsafe { set.assume_init() }
}
