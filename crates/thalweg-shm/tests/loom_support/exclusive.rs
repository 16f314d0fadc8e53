//! Memory that the protocol promises to one side at a time.

use loom::cell::UnsafeCell;
use thalweg_shm::protocol::sync::{AtomicU64, Ordering};

/// A number whose readers and writers must exclude each other: loom fails when an access does not
/// happen after a conflicting one. The cell only bears witness; the number lies beside it, so that
/// models need no unsafe code.
pub(crate) struct Exclusive {
    witness: UnsafeCell<()>,
    number: AtomicU64,
}

impl Exclusive {
    pub(crate) fn new() -> Self {
        Self {
            witness: UnsafeCell::new(()),
            number: AtomicU64::new(0),
        }
    }

    pub(crate) fn write(&self, number: u64) {
        self.witness
            .with_mut(|_| self.number.store(number, Ordering::Relaxed));
    }

    pub(crate) fn read(&self) -> u64 {
        self.witness.with(|_| self.number.load(Ordering::Relaxed))
    }
}
