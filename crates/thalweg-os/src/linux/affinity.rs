//! The CPUs a thread may run on.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

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
