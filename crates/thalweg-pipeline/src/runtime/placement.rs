//! Where workers run: chosen by the supervisor, carried out by the worker itself.

use thalweg_os::affinity;
use thalweg_os::scheduling::{SchedulingClass, lock_memory, set_scheduling};
use thalweg_shm::stream::reckon_with_cpus;

use super::message::{PlacementOrder, PlacementReport, RealTime};
use super::worker::WorkerFailure;
use crate::config::{Placement, Scheduler};

impl PlacementOrder {
    /// What a node's configuration asks for; `slot` is the CPU it gets if it asks for none.
    pub(super) fn new(placement: &Placement, slot: Option<usize>) -> Self {
        let class = match placement.scheduler {
            Scheduler::Other => None,
            Scheduler::Fifo => Some(RealTime::Fifo),
            Scheduler::RoundRobin => Some(RealTime::Rr),
        };
        Self {
            cpus: placement.cpus.clone(),
            slot: if placement.cpus.is_none() { slot } else { None },
            real_time: class.map(|class| (class, placement.priority.unwrap_or(1))),
            lock_memory: placement.lock_memory,
            strict: placement.strict,
        }
    }
}

/// What holds for all threads of the process, including those that its nodes will start: comes
/// first.
pub(super) fn settle_process(order: &PlacementOrder) -> Result<PlacementReport, WorkerFailure> {
    let mut report = PlacementReport::default();
    if order.cpus.is_some() || order.slot.is_some() {
        // As many as the others of the run have, whatever this process is tied to.
        reckon_with_cpus(affinity::allowed_cpu_count());
    }
    if let Some(cpus) = &order.cpus {
        let what = format!("to stay on the CPUs {cpus:?}");
        if granted(affinity::set_allowed_cpus(cpus), &what, order, &mut report)? {
            report.cpus.clone_from(cpus);
        }
    }
    if order.lock_memory {
        let what = "to lock its memory; see `thalweg doctor`";
        report.is_memory_locked = granted(lock_memory(), what, order, &mut report)?;
    }
    Ok(report)
}

/// What only holds for the thread of the loop: comes last.
pub(super) fn settle_loop(
    order: &PlacementOrder,
    report: &mut PlacementReport,
) -> Result<(), WorkerFailure> {
    if let Some(slot) = order.slot {
        let what = format!("to stay on CPU {slot}");
        if granted(affinity::set_allowed_cpus(&[slot]), &what, order, report)? {
            report.cpus = vec![slot];
        }
    }
    if let Some((class, priority)) = order.real_time {
        let (scheduler, name) = match class {
            RealTime::Fifo => (SchedulingClass::Fifo, "fifo"),
            RealTime::Rr => (SchedulingClass::RoundRobin, "rr"),
        };
        let what = format!(
            "to run with the scheduler {name} and priority {priority}; see `thalweg doctor`"
        );
        let outcome = set_scheduling(scheduler, u32::from(priority));
        if granted(outcome, &what, order, report)? {
            report.real_time = Some((class, priority));
        }
    }
    Ok(())
}

fn granted(
    outcome: std::io::Result<()>,
    what: &str,
    order: &PlacementOrder,
    report: &mut PlacementReport,
) -> Result<bool, WorkerFailure> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if order.strict => Err(WorkerFailure::of(format!(
            "the system does not allow this worker {what} ({error}), and its placement is strict"
        ))),
        Err(error) => {
            report.refused.push(format!("not allowed {what} ({error})"));
            Ok(false)
        }
    }
}

/// The CPU for each of `wanting` processes that asked for none: one after the other over
/// `allowed`, beginning at `offset`. Where there are fewer CPUs than processes, all of them are
/// left to the system, which moves them to whichever CPU is idle.
pub(super) fn round_robin(wanting: usize, allowed: &[usize], offset: usize) -> Vec<Option<usize>> {
    if wanting > allowed.len() {
        return vec![None; wanting];
    }
    (0..wanting)
        .map(|index| {
            let position = index.checked_add(offset)?.checked_rem(allowed.len())?;
            allowed.get(position).copied()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_round_goes_over_the_cpus_there_are() {
        assert_eq!(round_robin(3, &[2, 3, 7], 1), [Some(3), Some(7), Some(2)]);
        assert_eq!(round_robin(1, &[2, 3, 7], 2), [Some(7)]);
        assert_eq!(round_robin(3, &[2, 3], 0), [None; 3], "left to the system");
        assert_eq!(round_robin(2, &[], 0), [None, None]);
    }

    #[test]
    fn what_is_refused_is_told_or_fails() {
        let mut order = PlacementOrder {
            cpus: Some(vec![100_000]),
            ..PlacementOrder::default()
        };
        let report = settle_process(&order).unwrap();
        assert!(report.cpus.is_empty());
        assert!(report.refused[0].contains("CPUs [100000]"), "{report:?}");
        order.strict = true;
        let failure = settle_process(&order).unwrap_err();
        assert!(failure.to_string().contains("strict"), "{failure}");
    }
}
