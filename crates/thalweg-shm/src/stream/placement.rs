//! Moving a spinner away from the CPU that its writer needs.
//!
//! Two processes that wake each other in turns keep one CPU busy between them and never two at a
//! time, so a scheduler that sees nothing to balance may leave them on one CPU for good: kernels of
//! virtual machines do, which take a sleeping processor for one that is not there. Whoever spins
//! then keeps its writer from writing, and every frame costs two changes of context.
//!
//! So a thread whose spins keep failing moves to a CPU that has been idle, without restricting itself
//! to it. That may not help, as the writer may be late for other reasons: hence once a second at
//! most.

use std::sync::Mutex;

use thalweg_os::affinity;
use thalweg_os::load::{self, CpuTicks};

/// Two looks at the load are at least this far apart: it is counted in ticks of 10 ms.
const LEAST_AGE_NS: u64 = 40_000_000;
/// The earlier one tells nothing about the present any more.
const LONGEST_AGE_NS: u64 = 1_000_000_000;
/// Between two moves of the threads of this process.
const PAUSE_NS: u64 = 1_000_000_000;
/// An idle CPU has been idle for at least one half of the time. Somebody of real-time priority who
/// takes all of it would leave nothing to a thread that moved there.
const IDLE_PARTS: u64 = 2;

/// The look at the load before.
#[derive(Debug)]
struct Earlier {
    looked_ns: u64,
    ticks: Vec<CpuTicks>,
}

/// What is known in this process. Only ever tried: a thread that finds it taken stays where it is.
static EARLIER: Mutex<Option<Earlier>> = Mutex::new(None);

/// Moves the calling thread to an idle CPU, if one is known. To be called when spinning has failed
/// several times in a row; looks at the load the first time, and acts when it fails still.
pub(crate) fn leave_this_cpu(now_ns: u64) -> bool {
    let Ok(mut earlier) = EARLIER.try_lock() else {
        return false;
    };
    if let Some(earlier) = &*earlier
        && now_ns < earlier.looked_ns.saturating_add(LEAST_AGE_NS)
    {
        return false;
    }
    let (Ok(ticks), Ok(allowed)) = (load::cpu_ticks(), affinity::allowed_cpus()) else {
        return false;
    };
    let target = earlier
        .as_ref()
        .filter(|earlier| now_ns - earlier.looked_ns <= LONGEST_AGE_NS)
        .and_then(|earlier| idle_cpu(&earlier.ticks, &ticks, &allowed, affinity::current_cpu()));
    let has_moved = target.is_some_and(|cpu| affinity::move_to(cpu).is_ok());
    let pause_ns = if has_moved { PAUSE_NS } else { 0 };
    *earlier = Some(Earlier {
        looked_ns: now_ns + pause_ns,
        ticks,
    });
    has_moved
}

/// The CPU nearest to the current one that was idle between two looks at the load: its neighbours
/// are likely to share a cache with it.
fn idle_cpu(
    before: &[CpuTicks],
    after: &[CpuTicks],
    allowed: &[usize],
    current: usize,
) -> Option<usize> {
    let is_idle = |now: &CpuTicks| {
        before
            .iter()
            .find(|then| then.cpu == now.cpu)
            .is_some_and(|then| {
                let total = now.total.saturating_sub(then.total);
                let idle = now.idle.saturating_sub(then.idle);
                total > 0 && IDLE_PARTS * idle >= total
            })
    };
    after
        .iter()
        .filter(|now| now.cpu != current && allowed.contains(&now.cpu) && is_idle(now))
        .map(|now| now.cpu)
        .min_by_key(|cpu| cpu.abs_diff(current))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(idle: &[u64], total: u64) -> Vec<CpuTicks> {
        idle.iter()
            .enumerate()
            .map(|(cpu, &idle)| CpuTicks { cpu, idle, total })
            .collect()
    }

    #[test]
    fn the_nearest_idle_cpu_is_chosen() {
        let before = ticks(&[100, 100, 100, 100, 100, 100], 1000);
        let after = ticks(&[120, 108, 112, 119, 120, 120], 1020);
        let all = [0, 1, 2, 3, 4, 5];
        assert_eq!(idle_cpu(&before, &after, &all, 2), Some(3));
        assert_eq!(idle_cpu(&before, &after, &all, 1), Some(0));
        assert_eq!(idle_cpu(&before, &after, &[1, 2, 5], 2), Some(5));
        assert_eq!(idle_cpu(&before, &after, &[1, 2], 2), None, "1 is busy");
        assert_eq!(idle_cpu(&before, &after, &[4], 4), None, "it is there");
    }

    #[test]
    fn a_cpu_that_is_new_or_did_not_count_is_left_alone() {
        let before = ticks(&[100, 100], 1000);
        let after = ticks(&[100, 100, 120], 1000);
        assert_eq!(idle_cpu(&before, &after, &[0, 1, 2], 0), None);
    }
}
