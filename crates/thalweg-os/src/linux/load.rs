//! How busy each CPU has been.

use std::fs;
use std::io;

/// What one CPU has done since the machine started, in ticks of the system's accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuTicks {
    /// Number of the CPU.
    pub cpu: usize,
    /// With nothing to run.
    pub idle: u64,
    /// In all.
    pub total: u64,
}

/// What the CPUs have done so far, those that are online. A tick is usually 10 ms.
pub fn cpu_ticks() -> io::Result<Vec<CpuTicks>> {
    let text = fs::read_to_string("/proc/stat")?;
    Ok(text.lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<CpuTicks> {
    let mut words = line.split_ascii_whitespace();
    // The first line is of all CPUs together, and has no number.
    let cpu = words.next()?.strip_prefix("cpu")?.parse().ok()?;
    let ticks: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
    // User, nice, system, idle, waiting for a disk, interrupts, soft interrupts, stolen. What
    // follows is part of the first two.
    let idle = ticks.get(3..5)?.iter().sum();
    Some(CpuTicks {
        cpu,
        idle,
        total: ticks.iter().take(8).sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_single_cpus_are_understood() {
        let line = "cpu12 700 50 300 400 9 1 2 3 650 40";
        let expected = CpuTicks {
            cpu: 12,
            idle: 409,
            total: 1465,
        };
        assert_eq!(parse(line), Some(expected));
        for other in [
            "cpu  700 50 300 400 9 1 2 3 0 0",
            "intr 1 2 3 4 5 6",
            "cpu3 1",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn this_machine_tells() {
        let ticks = cpu_ticks().expect("the system tells");
        assert!(!ticks.is_empty());
        assert!(ticks.iter().all(|cpu| cpu.idle <= cpu.total));
    }
}
