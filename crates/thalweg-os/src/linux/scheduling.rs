//! How urgent a thread is, and whether its memory may be taken away.

use std::io;

/// Classes of the scheduler, as `sched(7)` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchedulingClass {
    /// `SCHED_OTHER`: shares the CPUs with everybody.
    Other,
    /// `SCHED_FIFO`: runs until it waits.
    Fifo,
    /// `SCHED_RR`: takes turns with threads of its priority.
    RoundRobin,
}

/// Gives the calling thread a class; `priority` is 1 to 99 for the real-time classes and 0 for
/// [`SchedulingClass::Other`].
///
/// # Errors
///
/// Mostly that the user may not: `RLIMIT_RTPRIO` or `CAP_SYS_NICE` is missing.
pub fn set_scheduling(class: SchedulingClass, priority: u32) -> io::Result<()> {
    let policy = match class {
        SchedulingClass::Other => libc::SCHED_OTHER,
        SchedulingClass::Fifo => libc::SCHED_FIFO,
        SchedulingClass::RoundRobin => libc::SCHED_RR,
    };
    let parameters = libc::sched_param {
        sched_priority: libc::c_int::try_from(priority)
            .map_err(|_too_large| io::Error::from(io::ErrorKind::InvalidInput))?,
    };
    // SAFETY: reads `parameters`, which is alive; 0 is the calling thread.
    let outcome = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Keeps everything this process has mapped, or will map, in memory.
///
/// # Errors
///
/// Mostly that the user may not: `RLIMIT_MEMLOCK` is too low and `CAP_IPC_LOCK` is missing.
pub fn lock_memory() -> io::Result<()> {
    use rustix::mm::{MlockAllFlags, mlockall};
    Ok(mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ordinary_class_is_for_everybody() {
        // On a thread of its own: the class stays with it.
        std::thread::spawn(|| set_scheduling(SchedulingClass::Other, 0))
            .join()
            .unwrap()
            .unwrap();
    }

    #[test]
    fn impossible_priorities_are_refused() {
        assert!(set_scheduling(SchedulingClass::Fifo, 1000).is_err());
        assert!(set_scheduling(SchedulingClass::Other, 3).is_err());
        assert!(set_scheduling(SchedulingClass::Fifo, u32::MAX).is_err());
    }
}
