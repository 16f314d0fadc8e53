//! Going to sleep on the head word without missing the change.

use super::Words;
use super::sync::{Ordering, full_fence_after_rmw};

impl Words<'_> {
    /// Counts the caller as about to sleep. To be called between reading a head that is not new
    /// enough and sleeping while the head still has that value.
    ///
    /// `parks` only ever grows, and the writer remembers what it answered: a sleeper that is killed
    /// costs one surplus wake, where a count of sleepers would stay too high for ever.
    pub fn announce_park(&self) {
        // AcqRel pairs with the Acquire in `commit`; the full barrier with the one after its
        // change of head: either the writer sees this increment, or the kernel sees the new head.
        self.control.request.parks.fetch_add(1, Ordering::AcqRel);
        full_fence_after_rmw();
    }
}
