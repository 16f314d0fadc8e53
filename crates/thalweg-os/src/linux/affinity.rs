//! The CPUs a thread may run on.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// CPUs this system can name: their numbers are below this.
pub const MAX_CPUS: usize = CpuSet::MAX_CPU;

/// CPUs the calling thread may run on, ascending.
pub fn allowed_cpus() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..MAX_CPUS).filter(|&cpu| set.is_set(cpu)).collect())
}

/// How many CPUs the calling thread may run on; 1 when the system does not tell.
pub fn allowed_cpu_count() -> usize {
    sched_getaffinity(None).map_or(1, |set| set.count() as usize)
}

/// The CPU the calling thread runs on at this moment.
pub fn current_cpu() -> usize {
    sched_getcpu()
}

/// Has the calling thread go on on `cpu`, one it may run on, and leaves it the CPUs it may run on:
/// the scheduler may move it again at any time.
pub fn move_to(cpu: usize) -> io::Result<()> {
    let allowed = sched_getaffinity(None)?;
    set_allowed_cpus(&[cpu])?;
    Ok(sched_setaffinity(None, &allowed)?)
}

/// Restricts the calling thread to `cpus`.
pub fn set_allowed_cpus(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for &cpu in cpus {
        if cpu >= MAX_CPUS {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("CPU {cpu} is beyond the {MAX_CPUS} this system can name"),
            ));
        }
        set.set(cpu);
    }
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_restricts_nobody() {
        let allowed = allowed_cpus().expect("the system tells");
        for &cpu in &allowed {
            move_to(cpu).expect("an allowed CPU");
            assert_eq!(allowed_cpus().expect("the system tells"), allowed);
        }
        assert!(allowed.contains(&current_cpu()));
    }
}
