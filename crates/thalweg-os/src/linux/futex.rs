//! Sleeping on a word in shared memory until somebody changes it.
//!
//! Always the cross-process form. Works on read-only mappings.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicU32;

use rustix::io::Errno;
use rustix::thread::futex;
use rustix::time::ClockId;

use super::clock::timespec;

/// Why a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Woken, or the word had changed already, or for no reason: look again.
    Look,
    /// The deadline has passed.
    TimedOut,
    /// A signal handler ran; the caller may want to act on it.
    Interrupted,
}

/// Sleeps while `*word == expected`, until woken or until `deadline_ns` (monotonic, absolute).
pub fn wait(word: &AtomicU32, expected: u32, deadline_ns: Option<u64>) -> Wake {
    let deadline = deadline_ns.map(timespec);
    let any = NonZeroU32::MAX;
    match futex::wait_bitset(
        word,
        futex::Flags::empty(),
        expected,
        deadline.as_ref(),
        any,
    ) {
        Err(Errno::TIMEDOUT) => Wake::TimedOut,
        Err(Errno::INTR) => Wake::Interrupted,
        _ => Wake::Look,
    }
}

/// Sleeps until one of `words` differs from the value beside it or is woken, or until
/// `deadline_ns`. `None` when this kernel cannot watch several words at once.
///
/// Up to 128 words.
pub fn wait_any(words: &[(&AtomicU32, u32)], deadline_ns: u64) -> Option<Wake> {
    let waiters: Vec<futex::Wait> = words
        .iter()
        .map(|&(word, expected)| {
            let mut waiter = futex::Wait::new();
            waiter.val = u64::from(expected);
            waiter.uaddr = futex::WaitPtr::new(word.as_ptr().cast());
            waiter.flags = futex::WaitFlags::SIZE_U32;
            waiter
        })
        .collect();
    let deadline = timespec(deadline_ns);
    let result = futex::waitv(
        &waiters,
        futex::WaitvFlags::empty(),
        Some(&deadline),
        ClockId::Monotonic,
    );
    match result {
        Err(Errno::NOSYS | Errno::INVAL) => None,
        Err(Errno::TIMEDOUT) => Some(Wake::TimedOut),
        Err(Errno::INTR) => Some(Wake::Interrupted),
        _ => Some(Wake::Look),
    }
}

/// True when this kernel can watch several words at once.
pub fn can_wait_any() -> bool {
    // The word differs from what is expected, so this comes back at once.
    wait_any(&[(&AtomicU32::new(1), 0)], u64::MAX / 2).is_some()
}

/// Wakes up to `count` sleepers on `word`; returns how many woke.
pub fn wake(word: &AtomicU32, count: u32) -> usize {
    // The kernel takes a signed count. It fails only for an address that is not mapped.
    futex::wake(word, futex::Flags::empty(), count.min(i32::MAX as u32)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::clock::monotonic_ns;
    use super::*;

    #[test]
    fn returns_at_once_when_the_word_differs() {
        assert_eq!(wait(&AtomicU32::new(1), 0, None), Wake::Look);
    }

    #[test]
    fn times_out() {
        let word = AtomicU32::new(0);
        assert_eq!(wait(&word, 0, Some(monotonic_ns() + 1000)), Wake::TimedOut);
    }
}
