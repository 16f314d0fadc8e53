//! Clocks. All times are nanoseconds in a `u64`: monotonic since boot, wall since 1970.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

const SECOND_NS: u64 = 1_000_000_000;

/// `CLOCK_MONOTONIC`: the clock of deadlines and latencies, comparable between processes.
pub fn monotonic_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// `CLOCK_REALTIME`.
pub fn wall_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Realtime))
}

fn nanoseconds(time: Timespec) -> u64 {
    // Both clocks count from boot or 1970 on, so neither part is negative.
    (time.tv_sec.cast_unsigned()) * SECOND_NS + time.tv_nsec.cast_unsigned()
}

/// The absolute monotonic time `timeout` from now; saturates.
pub fn deadline_after(timeout: Duration) -> u64 {
    let timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
    monotonic_ns().saturating_add(timeout_ns)
}

pub(crate) fn timespec(time_ns: u64) -> Timespec {
    Timespec {
        tv_sec: (time_ns / SECOND_NS).cast_signed(),
        tv_nsec: (time_ns % SECOND_NS).cast_signed(),
    }
}

/// Wall time derived from a monotonic reading, so that a publication reads one clock, not two
/// (a second reading costs as much as half a publication). The offset is refreshed each second,
/// which is how late a step of the wall clock shows.
#[derive(Debug, Default)]
pub struct WallClock {
    offset_ns: AtomicU64,
    refreshed_ns: AtomicU64,
}

impl WallClock {
    /// A clock that reads its offset on first use.
    pub const fn new() -> Self {
        Self {
            offset_ns: AtomicU64::new(0),
            refreshed_ns: AtomicU64::new(0),
        }
    }

    /// Wall time at monotonic time `monotonic`, which is about now.
    pub fn at(&self, monotonic: u64) -> u64 {
        // Relaxed: a stale offset is as good as one refreshed a moment ago, and any thread may
        // refresh it.
        let refreshed = self.refreshed_ns.load(Ordering::Relaxed);
        if refreshed == 0 || monotonic.wrapping_sub(refreshed) > SECOND_NS {
            self.offset_ns
                .store(wall_ns().wrapping_sub(monotonic_ns()), Ordering::Relaxed);
            self.refreshed_ns.store(monotonic, Ordering::Relaxed);
        }
        monotonic.wrapping_add(self.offset_ns.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_clock_follows_the_system_s() {
        let clock = WallClock::new();
        for _ in 0..3 {
            let difference = clock.at(monotonic_ns()).abs_diff(wall_ns());
            assert!(difference < SECOND_NS, "{difference} ns apart");
        }
    }

    #[test]
    fn deadlines_saturate() {
        assert_eq!(deadline_after(Duration::MAX), u64::MAX);
    }
}
