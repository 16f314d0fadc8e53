//! What a process has one of, and a forked child does not share with its parent.

use std::marker::PhantomData;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::fork;

/// A value made at first use, and made anew at first use in a forked child. The parent's is left
/// where it is, with whatever locks other threads held when the process forked.
#[derive(Debug)]
pub struct PerProcess<T: 'static> {
    current: AtomicPtr<Made<T>>,
    /// For sharing it the same holds as for a `OnceLock`.
    like: PhantomData<OnceLock<T>>,
}

#[derive(Debug)]
struct Made<T> {
    fork_generation: u64,
    value: T,
}

impl<T> PerProcess<T> {
    /// Nothing yet.
    #[expect(
        clippy::new_without_default,
        reason = "belongs into statics, which need a const function"
    )]
    pub const fn new() -> Self {
        Self {
            current: AtomicPtr::new(std::ptr::null_mut()),
            like: PhantomData,
        }
    }

    /// This process's, if it has been made.
    pub fn get(&'static self) -> Option<&'static T> {
        // Acquire pairs with the Release in `get_or_init`.
        Self::own(self.current.load(Ordering::Acquire))
    }

    fn own(made: *mut Made<T>) -> Option<&'static T> {
        // SAFETY: null, or from `Box::into_raw` in `get_or_init` and never freed.
        let made = unsafe { made.as_ref() }?;
        (made.fork_generation == fork::generation()).then_some(&made.value)
    }

    /// This process's. Threads that come at once may each make one; one is kept.
    pub fn get_or_init(&'static self, make: impl Fn() -> T) -> &'static T {
        loop {
            let former = self.current.load(Ordering::Acquire);
            if let Some(value) = Self::own(former) {
                return value;
            }
            let fresh = Box::into_raw(Box::new(Made {
                fork_generation: fork::generation(),
                value: make(),
            }));
            let exchanged =
                self.current
                    .compare_exchange(former, fresh, Ordering::AcqRel, Ordering::Acquire);
            if exchanged.is_err() {
                // SAFETY: made above and seen by nobody else.
                drop(unsafe { Box::from_raw(fresh) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_makes_its_own() {
        static VALUE: PerProcess<u32> = PerProcess::new();
        assert_eq!(VALUE.get(), None);
        assert_eq!(*VALUE.get_or_init(std::process::id), std::process::id());
        // SAFETY: the child only computes and ends.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let is_right =
                VALUE.get().is_none() && *VALUE.get_or_init(std::process::id) == std::process::id();
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(i32::from(!is_right)) };
        }
        let mut status = 0;
        // SAFETY: `status` is a local the kernel fills in.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        assert_eq!((waited, status), (pid, 0), "the child saw its parent's");
        assert_eq!(VALUE.get(), Some(&std::process::id()));
    }
}
