//! A cell that is filled once, and never seen half filled.

use std::marker::PhantomData;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

/// As a `OnceLock`, but without a moment at which a thread is filling it: a child forked in such a
/// moment, which has not got that thread, would wait for ever. Threads that come at once may each
/// make a value; one is kept.
#[derive(Debug)]
pub struct SetOnce<T> {
    value: AtomicPtr<T>,
    /// For sharing and sending it the same holds as for a `OnceLock`.
    like: PhantomData<OnceLock<T>>,
}

impl<T> SetOnce<T> {
    /// An empty cell.
    pub const fn new() -> Self {
        Self {
            value: AtomicPtr::new(std::ptr::null_mut()),
            like: PhantomData,
        }
    }

    /// The value, if there is one.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        // Acquire pairs with the Release in `get_or_try_init`.
        let value = self.value.load(Ordering::Acquire);
        // SAFETY: null, or from `Box::into_raw` and freed by `drop` alone.
        unsafe { value.as_ref() }
    }

    /// The value, made by `make` if there is none yet.
    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        let Ok(value) = self.get_or_try_init(|| Ok::<T, std::convert::Infallible>(make()));
        value
    }

    /// The value, made by `make` if there is none yet and it can be made.
    pub fn get_or_try_init<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        if let Some(value) = self.get() {
            return Ok(value);
        }
        let made = Box::into_raw(Box::new(make()?));
        let exchanged = self.value.compare_exchange(
            std::ptr::null_mut(),
            made,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        let kept = match exchanged {
            Ok(_) => made,
            Err(other) => {
                // SAFETY: made above and seen by nobody else.
                drop(unsafe { Box::from_raw(made) });
                other
            }
        };
        // SAFETY: not null, from `Box::into_raw`, and freed by `drop` alone.
        Ok(unsafe { &*kept })
    }
}

impl<T> Default for SetOnce<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for SetOnce<T> {
    fn drop(&mut self) {
        let value = *self.value.get_mut();
        if !value.is_null() {
            // SAFETY: from `Box::into_raw`; `&mut self` says that nobody uses it any more.
            drop(unsafe { Box::from_raw(value) });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn one_value_is_kept_and_every_other_dropped() {
        let made = Arc::new(());
        let cell = SetOnce::new();
        assert!(cell.get().is_none());
        let refused = cell.get_or_try_init(|| Err::<Arc<()>, _>("not yet"));
        assert_eq!(refused, Err("not yet"));
        let addresses: Vec<usize> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| std::ptr::from_ref(cell.get_or_init(|| made.clone())).addr())
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(addresses.iter().all(|&address| address == addresses[0]));
        assert_eq!(Arc::strong_count(&made), 2, "the one in the cell, and this");
        drop(cell);
        assert_eq!(Arc::strong_count(&made), 1);
    }
}
