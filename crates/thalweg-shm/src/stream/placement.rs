//! Moving a spinner away from the CPU that its writer needs.
//!
//! Two processes that wake each other in turns keep one CPU busy between them and never two at a
//! time, so a scheduler that sees nothing to balance may leave them on one CPU for good: kernels of
//! virtual machines do, which take a sleeping processor for one that is not there. Whoever spins
//! then keeps its writer from writing, and every frame costs two changes of context.
//!
//! So a thread whose spins keep failing moves to a CPU that has been idle, without restricting itself
//! to it. The scheduler may fetch it back, and then it moves again; but the writer may as well be late
//! for other reasons, and moves that do not help are made ever more rarely.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use thalweg_os::affinity;
use thalweg_os::load::{self, CpuTicks};

use super::back_off::BackOff;

/// Two looks at the load are at least this far apart: it is counted in ticks of 10 ms.
const LEAST_AGE_NS: u64 = 40_000_000;
/// What was seen of the load before this says little about the present.
const LONGEST_AGE_NS: u64 = 5_000_000_000;
/// Between two moves of the threads of this process, which take some 50 us each.
const LEAST_PAUSE_NS: u64 = 10_000_000;
/// An idle CPU has been idle for at least one half of the time. Somebody of real-time priority who
/// takes all of it would leave nothing to a thread that moved there.
const IDLE_PARTS: u64 = 2;

/// The moves of those who wait with one handle, and what came of them.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    back_off: BackOff,
    /// The next spin tells whether the last move was of use.
    is_on_trial: AtomicBool,
}

impl Moves {
    /// A spin has brought a frame, or not.
    pub(crate) fn spun(&self, brought_a_frame: bool) {
        if !self.is_on_trial.load(Ordering::Relaxed) {
            return;
        }
        self.is_on_trial.store(false, Ordering::Relaxed);
        if brought_a_frame {
            self.back_off.succeeded();
        } else {
            self.back_off.failed();
        }
    }

    /// Spinning has failed repeatedly. Moves the calling thread to an idle CPU, if one is known and
    /// such moves have been of use.
    pub(crate) fn leave_this_cpu(&self, now_ns: u64) -> bool {
        if self.back_off.sleeps() {
            return false;
        }
        let outcome = move_to_idle_cpu(now_ns);
        match outcome {
            Outcome::Moved => self.is_on_trial.store(true, Ordering::Relaxed),
            // Looking is not free either.
            Outcome::NoneIdle => {
                self.back_off.failed();
            }
            Outcome::NotYet => {}
        }
        outcome == Outcome::Moved
    }
}

/// What is known in this process.
#[derive(Debug)]
struct Known {
    looked_ns: u64,
    ticks: Vec<CpuTicks>,
    moved_ns: u64,
}

/// What came of the wish to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Moved,
    /// No CPU is known to be idle, or the system does not let this thread go there.
    NoneIdle,
    /// The load has not been watched for long enough, or the last move is too recent.
    NotYet,
}

/// Only ever tried: a thread that finds it taken stays where it is.
static KNOWN: Mutex<Option<Known>> = Mutex::new(None);

/// Moves the calling thread, if there is an idle CPU. The first time it only looks at the load, to
/// compare it with later.
fn move_to_idle_cpu(now_ns: u64) -> Outcome {
    let Ok(mut known) = KNOWN.try_lock() else {
        return Outcome::NotYet;
    };
    let moved_ns = known.as_ref().map_or(0, |known| known.moved_ns);
    let age_ns = known
        .as_ref()
        .map_or(u64::MAX, |known| now_ns.saturating_sub(known.looked_ns));
    if age_ns < LEAST_AGE_NS || now_ns.saturating_sub(moved_ns) < LEAST_PAUSE_NS {
        return Outcome::NotYet;
    }
    let (Ok(ticks), Ok(allowed)) = (load::cpu_ticks(), affinity::allowed_cpus()) else {
        return Outcome::NoneIdle;
    };
    let target = known
        .as_ref()
        .filter(|_| age_ns <= LONGEST_AGE_NS)
        .and_then(|known| idle_cpu(&known.ticks, &ticks, &allowed, affinity::current_cpu()));
    let has_moved = target.is_some_and(|cpu| affinity::move_to(cpu).is_ok());
    let moved_ns = if has_moved { now_ns } else { moved_ns };
    match &mut *known {
        // Good for another comparison.
        Some(known) if age_ns <= LONGEST_AGE_NS / 2 => known.moved_ns = moved_ns,
        known => {
            *known = Some(Known {
                looked_ns: now_ns,
                ticks,
                moved_ns,
            });
        }
    }
    if has_moved {
        Outcome::Moved
    } else if age_ns <= LONGEST_AGE_NS {
        Outcome::NoneIdle
    } else {
        Outcome::NotYet
    }
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
    fn moves_that_do_not_help_become_rare() {
        let moves = Moves::default();
        let mut asked = 0;
        let mut trial = |brought_a_frame| {
            let before = asked;
            while moves.back_off.sleeps() {
                asked += 1;
            }
            moves.is_on_trial.store(true, Ordering::Relaxed);
            moves.spun(brought_a_frame);
            // Only the first spin after a move judges it.
            moves.spun(true);
            asked - before
        };
        let refused: Vec<u32> = (0..6).map(|_| trial(false)).collect();
        assert_eq!(refused, [0, 2, 4, 8, 16, 32]);
        for _ in 0..6 {
            trial(true);
        }
        assert_eq!(trial(true), 0);
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
