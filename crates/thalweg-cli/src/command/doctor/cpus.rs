//! Processors: how many, how fast, how deeply they sleep, and who else uses them.

use std::fs::OpenOptions;

use thalweg_os::affinity::allowed_cpus;

use super::finding::Finding;
use super::source::{parse_cpu_list, read, read_per_cpu, value_of};

/// Exit latency of an idle state from which on a wake-up notices it, in microseconds.
const DEEP_SLEEP_US: u64 = 20;
const CPU: &str = "/sys/devices/system/cpu";

pub(super) fn check() -> Vec<Finding> {
    let present =
        read(format!("{CPU}/present")).map_or_else(Vec::new, |text| parse_cpu_list(&text));
    let allowed = allowed_cpus().unwrap_or_default();
    let mut findings = vec![count(present.len(), allowed.len())];
    findings.extend(read("/proc/loadavg").and_then(|text| load(&text, allowed.len())));
    findings.extend(quota(own_cgroup_file("cpu.max").as_deref()));
    findings.push(governor(&read_per_cpu(
        &allowed,
        "cpufreq/scaling_governor",
    )));
    findings.push(turbo(
        read(format!("{CPU}/intel_pstate/no_turbo")).as_deref(),
        read(format!("{CPU}/cpufreq/boost")).as_deref(),
    ));
    findings.push(idle(
        &idle_states(allowed.first().copied().unwrap_or_default()),
        OpenOptions::new()
            .write(true)
            .open("/dev/cpu_dma_latency")
            .is_ok(),
    ));
    findings.push(isolation(
        read(format!("{CPU}/isolated")).as_deref(),
        read(format!("{CPU}/nohz_full")).as_deref(),
        allowed.len(),
    ));
    findings.extend(siblings(read(format!("{CPU}/smt/active")).as_deref()));
    findings.push(virtual_machine(
        &read("/proc/cpuinfo").unwrap_or_default(),
        &read("/proc/stat").unwrap_or_default(),
    ));
    findings
}

fn count(present: usize, allowed: usize) -> Finding {
    let finding = Finding::ok(
        "CPUs",
        format!("{allowed} of {present} CPUs may be used"),
        "a stage without a CPU of its own waits for another to sleep, and nobody can spin",
    );
    match allowed {
        0 | 1 => finding.problem(
            "give the process more CPUs (`taskset`, the container's `--cpuset-cpus`, the service's `CPUAffinity=`)",
        ),
        _ if allowed < present => finding.noted("`taskset -p $$` shows who is allowed what"),
        _ => finding,
    }
}

fn load(loadavg: &str, allowed: usize) -> Option<Finding> {
    let load: f64 = loadavg.split_ascii_whitespace().next()?.parse().ok()?;
    let finding = Finding::ok(
        "load",
        format!("{load} over the last minute, {allowed} CPUs"),
        "who has to wait for a CPU is late by the time slices of the others",
    );
    Some(if load > allowed as f64 {
        finding.noted("`top` shows who computes; stop it or keep it off the pipeline's CPUs")
    } else {
        finding
    })
}

/// The file of the control group this process is in.
fn own_cgroup_file(name: &str) -> Option<String> {
    let groups = read("/proc/self/cgroup")?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    read(format!("/sys/fs/cgroup{path}/{name}"))
}

fn quota(cpu_max: Option<&str>) -> Option<Finding> {
    let (quota, period) = cpu_max?.split_once(' ')?;
    let why =
        "a group that has used up its quota is stopped until the period is over, for up to 100 ms";
    if quota == "max" {
        return Some(Finding::ok("CPU quota", "none", why));
    }
    let share = quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?;
    Some(
        Finding::ok("CPU quota", format!("{share:.2} CPUs"), why).noted(
            "run it without `--cpus`, `CPUQuota=` or a CPU limit; restrict it by CPU set instead",
        ),
    )
}

fn governor(governors: &[String]) -> Finding {
    let why = "a CPU that was clocked down takes up to milliseconds to come back to speed";
    let slow: Vec<&String> = governors
        .iter()
        .filter(|&one| one != "performance")
        .collect();
    match (governors.first(), slow.first()) {
        (None, _) => Finding::ok("CPU governor", "not for this system to choose", why),
        (_, None) => Finding::ok("CPU governor", "performance on all", why),
        (_, Some(example)) => Finding::ok(
            "CPU governor",
            format!("{example} on {} of {} CPUs", slow.len(), governors.len()),
            why,
        )
        .noted("sudo cpupower frequency-set -g performance"),
    }
}

fn turbo(no_turbo: Option<&str>, boost: Option<&str>) -> Finding {
    let found = match (no_turbo, boost) {
        (Some("0"), _) | (None, Some("1")) => "on",
        (None, None) => "not for this system to choose",
        _ => "off",
    };
    Finding::ok(
        "turbo",
        found,
        "it is faster and less even; switch it off where the worst case counts more than the mean",
    )
}

/// A state a CPU may idle in.
#[derive(Clone, Debug, PartialEq, Eq)]
struct IdleState {
    name: String,
    exit_latency_us: u64,
    is_disabled: bool,
}

fn idle_states(cpu: usize) -> Vec<IdleState> {
    (0..16)
        .map_while(|index| {
            let folder = format!("{CPU}/cpu{cpu}/cpuidle/state{index}");
            Some(IdleState {
                name: read(format!("{folder}/name"))?,
                exit_latency_us: read(format!("{folder}/latency"))?.parse().ok()?,
                is_disabled: read(format!("{folder}/disable")).as_deref() == Some("1"),
            })
        })
        .collect()
}

fn idle(states: &[IdleState], can_forbid: bool) -> Finding {
    let why = "a parked reader on a CPU in a deep sleep is late by the time that takes to leave";
    let deep: Vec<&IdleState> = states
        .iter()
        .filter(|state| !state.is_disabled && state.exit_latency_us > DEEP_SLEEP_US)
        .collect();
    let Some(deepest) = deep.iter().max_by_key(|state| state.exit_latency_us) else {
        let found = if states.is_empty() {
            "not for this system to choose"
        } else {
            "none that is deep"
        };
        return Finding::ok("idle states", found, why);
    };
    let permission = if can_forbid {
        "this user may forbid them"
    } else {
        "this user may not forbid them"
    };
    Finding::ok(
        "idle states",
        format!(
            "{} takes {} us to leave; {permission} by /dev/cpu_dma_latency",
            deepest.name, deepest.exit_latency_us
        ),
        why,
    )
    .noted(format!("sudo cpupower idle-set -D {DEEP_SLEEP_US}"))
}

fn isolation(isolated: Option<&str>, nohz_full: Option<&str>, allowed: usize) -> Finding {
    let why = "the system's own work and its timer tick interrupt a stage for 10 to 100 us, again and again";
    let set = |list: Option<&str>| {
        list.filter(|list| !parse_cpu_list(list).is_empty())
            .unwrap_or("none")
            .to_owned()
    };
    let (isolated, nohz_full) = (set(isolated), set(nohz_full));
    let finding = Finding::ok(
        "isolated CPUs",
        format!("isolcpus {isolated}, nohz_full {nohz_full}"),
        why,
    );
    // With two CPUs there is none to set aside.
    if allowed > 2 && (isolated == "none" || nohz_full == "none") {
        let last = allowed - 1;
        finding.noted(format!(
            "boot with `isolcpus=2-{last} nohz_full=2-{last} rcu_nocbs=2-{last}` and place stages there"
        ))
    } else {
        finding
    }
}

fn siblings(smt_active: Option<&str>) -> Option<Finding> {
    let why = "two stages on the two threads of one core share its units and slow each other down";
    match smt_active? {
        "1" => Some(
            Finding::ok("SMT", "on", why)
                .noted("echo off | sudo tee /sys/devices/system/cpu/smt/control, or place stages on different cores"),
        ),
        _ => Some(Finding::ok("SMT", "off", why)),
    }
}

fn virtual_machine(cpuinfo: &str, stat: &str) -> Finding {
    let why =
        "a virtual CPU that the host gives to others stands still, and nothing in here shows it";
    let flags = value_of(cpuinfo, "flags").or_else(|| value_of(cpuinfo, "Features"));
    let is_virtual = flags.is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
    if !is_virtual {
        return Finding::ok("virtual machine", "no", why);
    }
    let stolen = stolen_share(stat).unwrap_or(0.0);
    let finding = Finding::ok(
        "virtual machine",
        format!(
            "yes; {:.2} % of its time since boot went to others",
            100.0 * stolen
        ),
        why,
    );
    finding.noted(
        "real-time work belongs on the bare machine, or on a guest with CPUs pinned one to one",
    )
}

/// Share of all CPU time that the host took away.
fn stolen_share(stat: &str) -> Option<f64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<f64> = line
        .split_ascii_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal; what guests use is in user already.
    let all: f64 = ticks.iter().take(8).sum();
    (all > 0.0).then(|| ticks.get(7).map(|stolen| stolen / all))?
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn cpus_that_may_not_be_used_are_told() {
        assert_eq!(count(8, 8).verdict, Verdict::Ok);
        assert_eq!(count(8, 4).verdict, Verdict::Note);
        assert_eq!(count(8, 1).verdict, Verdict::Problem);
        assert_eq!(
            load("0.80 1.2 0.9 2/500 1", 2).unwrap().verdict,
            Verdict::Ok
        );
        assert_eq!(
            load("9.80 1.2 0.9 2/500 1", 2).unwrap().verdict,
            Verdict::Note
        );
    }

    #[test]
    fn a_quota_is_a_note() {
        assert_eq!(quota(Some("max 100000")).unwrap().verdict, Verdict::Ok);
        let limited = quota(Some("150000 100000")).unwrap();
        assert_eq!(
            (limited.verdict, limited.found.as_str()),
            (Verdict::Note, "1.50 CPUs")
        );
        assert_eq!(quota(None), None);
    }

    #[test]
    fn governors_that_save_power_are_counted() {
        let governors = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
            governor(&texts)
        };
        assert_eq!(governors(&[]).verdict, Verdict::Ok);
        assert_eq!(
            governors(&["performance", "performance"]).verdict,
            Verdict::Ok
        );
        let mixed = governors(&["performance", "powersave", "powersave"]);
        assert_eq!(
            (mixed.verdict, mixed.found.as_str()),
            (Verdict::Note, "powersave on 2 of 3 CPUs")
        );
    }

    #[test]
    fn only_deep_states_that_are_enabled_count() {
        let state = |name: &str, exit_latency_us, is_disabled| IdleState {
            name: name.to_owned(),
            exit_latency_us,
            is_disabled,
        };
        assert_eq!(idle(&[], false).verdict, Verdict::Ok);
        assert_eq!(
            idle(&[state("POLL", 0, false), state("C6", 130, true)], true).verdict,
            Verdict::Ok
        );
        let deep = idle(&[state("C1", 2, false), state("C6", 130, false)], true);
        assert_eq!(deep.verdict, Verdict::Note);
        assert!(deep.found.starts_with("C6 takes 130 us"), "{}", deep.found);
    }

    #[test]
    fn isolation_is_asked_of_machines_that_have_cpus_to_spare() {
        assert_eq!(isolation(Some(""), None, 2).verdict, Verdict::Ok);
        assert_eq!(
            isolation(Some(""), Some("(null)"), 8).verdict,
            Verdict::Note
        );
        assert_eq!(isolation(Some("2-7"), Some("2-7"), 8).verdict, Verdict::Ok);
        assert_eq!(siblings(Some("1")).unwrap().verdict, Verdict::Note);
        assert_eq!(siblings(Some("0")).unwrap().verdict, Verdict::Ok);
        assert_eq!(turbo(Some("1"), None).found, "off");
        assert_eq!(turbo(None, Some("1")).found, "on");
    }

    #[test]
    fn a_virtual_machine_is_told_by_its_flag_and_its_stolen_time() {
        let bare = "processor\t: 0\nflags\t\t: fpu vme avx2\n";
        assert_eq!(virtual_machine(bare, "").verdict, Verdict::Ok);
        let guest = "flags\t\t: fpu hypervisor avx2\n";
        let stat = "cpu  50 0 20 20 0 0 0 10 5 0\ncpu0 1 1 1 1\n";
        let finding = virtual_machine(guest, stat);
        assert_eq!(finding.verdict, Verdict::Note);
        assert!(finding.found.contains("10.00 %"), "{}", finding.found);
    }
}
