//! Where figures come from, and who else was at work there.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

/// The machine, as far as it matters to figures.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) cpu: String,
    pub(super) cpus: usize,
    memory_bytes: u64,
    kernel: String,
    huge_pages: String,
    /// Runnable processes over the last minute.
    pub(super) load: f64,
}

impl Machine {
    pub(super) fn look() -> Self {
        let cpuinfo = read("/proc/cpuinfo");
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory_kib = field(&read("/proc/meminfo"), "MemTotal")
            .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        Self {
            cpu: field(&cpuinfo, "model name").unwrap_or_else(|| "unknown".to_owned()),
            cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_bytes: memory_kib.unwrap_or(0) * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            huge_pages: read("/sys/kernel/mm/transparent_hugepage/enabled")
                .trim()
                .to_owned(),
            load: load(),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "cpu": self.cpu,
            "cpus": self.cpus,
            "memory_bytes": self.memory_bytes,
            "kernel": self.kernel,
            "architecture": std::env::consts::ARCH,
            "transparent_huge_pages": self.huge_pages,
            "load_before": self.load,
            "load_after": load(),
        })
    }
}

fn load() -> f64 {
    let text = read("/proc/loadavg");
    text.split(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(f64::NAN)
}

/// Processor time spent so far, in ticks: by everybody, by the hypervisor, by this program's own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticks {
    all: u64,
    stolen: u64,
    own: u64,
    idle: u64,
}

impl Ticks {
    pub(super) fn look() -> Self {
        let stat = read("/proc/stat");
        let columns: Vec<u64> = stat
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(1)
            .filter_map(|word| word.parse().ok())
            .collect();
        let column = |index: usize| columns.get(index).copied().unwrap_or(0);
        // user, nice, system, idle, iowait, irq, softirq, steal
        let all = column(0) + column(1) + column(2) + column(5) + column(6);
        Self {
            all,
            stolen: column(7),
            own: own_ticks(),
            idle: column(3) + column(4),
        }
    }

    /// What happened since `self`, as shares of the machine's processors.
    pub(super) fn disturbance(self) -> Disturbance {
        let now = Self::look();
        let all = now.all.saturating_sub(self.all);
        let own = now.own.saturating_sub(self.own);
        let stolen = now.stolen.saturating_sub(self.stolen);
        let idle = now.idle.saturating_sub(self.idle);
        let total = (all + stolen + idle).max(1) as f64;
        Disturbance {
            others: all.saturating_sub(own) as f64 / total,
            stolen: stolen as f64 / total,
        }
    }
}

/// Shares of the machine's processor time that were not ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disturbance {
    /// Taken by other processes, the kernel's own work included.
    pub(super) others: f64,
    /// Taken by the hypervisor.
    pub(super) stolen: f64,
}

impl Disturbance {
    /// More than a machine at rest does by itself.
    pub(super) fn is_worth_mentioning(self) -> bool {
        self.others + self.stolen > 0.05
    }
}

/// Ticks of this process and everything that descends from it, ended children included.
fn own_ticks() -> u64 {
    let Ok(entries) = fs::read_dir("/proc") else {
        return 0;
    };
    let processes: BTreeMap<u32, (u32, u64)> = entries
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Some((pid, parent_and_ticks(pid)?))
        })
        .collect();
    let descends = |mut pid: u32| {
        // Bounded, because a parent may be replaced while we look.
        for _ in 0..64 {
            if pid == std::process::id() {
                return true;
            }
            match processes.get(&pid) {
                Some(&(parent, _)) => pid = parent,
                None => return false,
            }
        }
        false
    };
    processes
        .iter()
        .filter(|&(&pid, _)| descends(pid))
        .map(|(_, &(_, ticks))| ticks)
        .sum()
}

fn parent_and_ticks(pid: u32) -> Option<(u32, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain anything; what follows its closing parenthesis is plain.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11..15)?;
    let sum = ticks
        .iter()
        .filter_map(|word| word.parse::<u64>().ok())
        .sum();
    Some((fields.get(1)?.parse().ok()?, sum))
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_work_is_told_from_that_of_others() {
        let before = own_ticks();
        let mut spun = 0u64;
        // Ticks are hundredths of seconds; a tenth of one shows.
        while own_ticks() < before + 10 {
            spun = std::hint::black_box(spun + 1);
        }
        let (parent, ticks) = parent_and_ticks(std::process::id()).unwrap();
        assert_eq!(parent, std::os::unix::process::parent_id());
        assert!(ticks >= 10);
    }
}
