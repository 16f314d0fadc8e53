//! Two short measurements: how long a wake-up takes, and how late timers are.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use thalweg_os::clock::{deadline_after, monotonic_ns};
use thalweg_os::futex;

use super::finding::Finding;
use crate::table::duration;

/// How long one measurement may take.
const BUDGET: Duration = Duration::from_millis(120);
const MOST_WAKES: usize = 2000;
const TIMER_PERIOD: Duration = Duration::from_millis(1);
/// What a quiet machine of today stays below: half of the wake-ups, and 99 of 100 of them.
const USUAL_WAKE_NS: u64 = 25_000;
const LATE_WAKE_NS: u64 = 200_000;
const LATE_TIMER_NS: u64 = 300_000;

pub(super) fn check() -> Vec<Finding> {
    vec![
        wake_finding(&Spread::of(wake_latencies())),
        timer_finding(&Spread::of(timer_lateness())),
    ]
}

/// Where the values of a measurement lie, in ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spread {
    samples: usize,
    p50_ns: u64,
    p99_ns: u64,
    highest_ns: u64,
}

impl Spread {
    fn of(mut samples: Vec<u64>) -> Self {
        samples.sort_unstable();
        let at = |share: f64| {
            let index = (samples.len() as f64 * share) as usize;
            samples.get(index).or(samples.last()).copied().unwrap_or(0)
        };
        Self {
            samples: samples.len(),
            p50_ns: at(0.5),
            p99_ns: at(0.99),
            highest_ns: at(1.0),
        }
    }

    fn words(&self) -> String {
        format!(
            "measured {} times: half within {}, 99 % within {}, worst {}",
            self.samples,
            duration(Some(self.p50_ns)),
            duration(Some(self.p99_ns)),
            duration(Some(self.highest_ns))
        )
    }
}

/// One way between two threads that sleep in turn, as two parked stages do.
fn wake_latencies() -> Vec<u64> {
    const PARITY: u32 = 1;
    let turn = AtomicU32::new(0);
    let deadline_ns = deadline_after(BUDGET);
    // Sleeps until the turn is odd (or even), and tells whose it is then.
    let wait = |odd: u32| {
        let mut seen = turn.load(Ordering::Acquire);
        while seen & PARITY != odd && monotonic_ns() < deadline_ns {
            futex::wait(&turn, seen, Some(deadline_ns));
            seen = turn.load(Ordering::Acquire);
        }
        seen & PARITY == odd
    };
    let pass = || {
        turn.fetch_add(1, Ordering::AcqRel);
        futex::wake(&turn, 1);
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..MOST_WAKES {
                if !wait(1) {
                    break;
                }
                pass();
            }
        });
        let mut latencies = Vec::with_capacity(MOST_WAKES);
        for _ in 0..MOST_WAKES {
            let sent_ns = monotonic_ns();
            pass();
            if !wait(0) {
                break;
            }
            latencies.push((monotonic_ns() - sent_ns) / 2);
        }
        latencies
    })
}

/// How late a thread is that wants to sleep for a millisecond.
fn timer_lateness() -> Vec<u64> {
    let deadline_ns = deadline_after(BUDGET);
    let mut lateness = Vec::new();
    while monotonic_ns() < deadline_ns {
        let due_ns = deadline_after(TIMER_PERIOD);
        thread::sleep(TIMER_PERIOD);
        lateness.push(monotonic_ns().saturating_sub(due_ns));
    }
    lateness
}

fn wake_finding(spread: &Spread) -> Finding {
    let finding = Finding::ok(
        "waking",
        spread.words(),
        "what one hand-off to a parked stage costs here and now",
    );
    if spread.p50_ns > USUAL_WAKE_NS || spread.p99_ns > LATE_WAKE_NS {
        finding.noted("mend what is noted above, or wait with `spin` where a CPU is to spare; measure again on a quiet machine")
    } else {
        finding
    }
}

fn timer_finding(spread: &Spread) -> Finding {
    let finding = Finding::ok(
        "timers",
        spread.words(),
        "how late a paced source is when it sleeps for a millisecond",
    );
    if spread.p99_ns > LATE_TIMER_NS {
        finding.noted("give paced sources a real-time priority and a CPU of their own")
    } else {
        finding
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn a_spread_orders_its_samples() {
        let spread = Spread::of((1..=1000).rev().collect());
        let expected = Spread {
            samples: 1000,
            p50_ns: 501,
            p99_ns: 991,
            highest_ns: 1000,
        };
        assert_eq!(spread, expected);
        assert_eq!(Spread::of(Vec::new()).samples, 0);
        let slow = Spread {
            p50_ns: 2 * USUAL_WAKE_NS,
            ..expected
        };
        assert_eq!(wake_finding(&expected).verdict, Verdict::Ok);
        assert_eq!(wake_finding(&slow).verdict, Verdict::Note);
        assert_eq!(timer_finding(&expected).verdict, Verdict::Ok);
    }

    #[test]
    fn both_measurements_come_to_an_end_with_samples() {
        assert!(!wake_latencies().is_empty());
        assert!(!timer_lateness().is_empty());
    }
}
