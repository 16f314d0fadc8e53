//! The kernel: which services it has, which clock it reads, and whom it lets be first.

use thalweg_os::futex;
use thalweg_os::limits::{Limit, LimitedResource, limit};
use thalweg_os::process;

use super::finding::Finding;
use super::source::{chosen, read, value_of};

/// Descriptors a pipeline of some dozen stages may want.
const ENOUGH_DESCRIPTORS: u64 = 1024;
/// The capability to be scheduled first, as the kernel numbers it.
const CAP_SYS_NICE: u32 = 23;

pub(super) fn check() -> Vec<Finding> {
    let mut findings = vec![
        service(
            "futex_waitv",
            futex::can_wait_any(),
            "without it, waiting for several streams naps between looks, up to 1 ms",
            "a kernel from 5.16 on, and a container that allows the call",
        ),
        service(
            "pidfd",
            process::watch(std::process::id()).is_ok(),
            "without it, a worker's end is noticed by looking, not at once",
            "a kernel from 5.3 on, and a container that allows the call",
        ),
    ];
    let clock = "/sys/devices/system/clocksource/clocksource0";
    findings.extend(read(format!("{clock}/current_clocksource")).map(|text| clock_source(&text)));
    let version = read("/proc/version").unwrap_or_default();
    let dynamic = read("/sys/kernel/debug/sched/preempt");
    findings.push(preemption(&version, dynamic.as_deref()));
    let status = read("/proc/self/status").unwrap_or_default();
    findings.push(real_time(limit(LimitedResource::RealtimePriority), &status));
    findings.extend(real_time_share(
        read("/proc/sys/kernel/sched_rt_runtime_us").as_deref(),
    ));
    findings.push(descriptors(limit(LimitedResource::Descriptors)));
    findings
}

fn service(
    topic: &'static str,
    is_available: bool,
    why: &'static str,
    mend: &'static str,
) -> Finding {
    if is_available {
        Finding::ok(topic, "available", why)
    } else {
        Finding::ok(topic, "refused by this kernel", why).noted(mend)
    }
}

fn clock_source(current: &str) -> Finding {
    let finding = Finding::ok(
        "clock source",
        current,
        "every publication reads the clock once: 20 to 40 ns with tsc, 1 us and more with hpet or acpi_pm",
    );
    match current {
        "tsc" | "kvm-clock" | "arch_sys_counter" | "hyperv_clocksource_tsc_page" => finding,
        _ => finding.noted("boot with `tsc=reliable` if the processor's counter is invariant; `dmesg | grep -i tsc` tells why it was given up"),
    }
}

fn preemption(version: &str, dynamic: Option<&str>) -> Finding {
    let model = if version.contains("PREEMPT_RT") {
        "real-time (PREEMPT_RT)".to_owned()
    } else if let Some(chosen) = dynamic.and_then(chosen) {
        format!("{chosen} (chosen at boot)")
    } else if version.contains("PREEMPT_DYNAMIC") {
        "chosen at boot, readable for root only".to_owned()
    } else if version.contains("PREEMPT") {
        "full".to_owned()
    } else {
        "none or voluntary".to_owned()
    };
    let finding = Finding::ok(
        "preemption",
        model.clone(),
        "a stage that was woken waits until the kernel's own work on its CPU gives way",
    );
    if ["none", "voluntary"]
        .iter()
        .any(|weak| model.starts_with(weak))
    {
        finding.noted("boot with `preempt=full`, or with a PREEMPT_RT kernel")
    } else {
        finding
    }
}

fn real_time(limit: Limit, status: &str) -> Finding {
    let capabilities =
        value_of(status, "CapEff").and_then(|text| u64::from_str_radix(text, 16).ok());
    let is_capable = capabilities.is_some_and(|bits| bits >> CAP_SYS_NICE & 1 == 1);
    let highest = limit
        .current
        .map_or_else(|| "any".to_owned(), |value| value.to_string());
    let may = is_capable || limit.current != Some(0);
    let finding = Finding::ok(
        "real-time priority",
        match (is_capable, may) {
            (true, _) => "allowed (CAP_SYS_NICE)".to_owned(),
            (false, true) => format!("allowed up to {highest}"),
            (false, false) => "not allowed".to_owned(),
        },
        "with `SCHED_FIFO` a stage that was woken comes before every ordinary program",
    );
    if may {
        finding
    } else {
        finding.noted(
            "`* - rtprio 90` in /etc/security/limits.conf, or `LimitRTPRIO=90` in the service",
        )
    }
}

fn real_time_share(runtime_us: Option<&str>) -> Option<Finding> {
    let runtime_us: i64 = runtime_us?.parse().ok()?;
    let finding = Finding::ok(
        "real-time share",
        match runtime_us {
            ..0 => "unlimited".to_owned(),
            _ => format!("{runtime_us} us of every second"),
        },
        "real-time stages that compute or spin all the time are stopped for the rest of each second",
    );
    Some(if (0..950_000).contains(&runtime_us) {
        finding.noted(
            "sudo sysctl kernel.sched_rt_runtime_us=950000 (or -1 if a CPU is left for the system)",
        )
    } else {
        finding
    })
}

fn descriptors(limit: Limit) -> Finding {
    let words = |limit: Option<u64>| {
        limit.map_or_else(|| "unlimited".to_owned(), |value| value.to_string())
    };
    let finding = Finding::ok(
        "open files",
        format!(
            "{} (can be raised to {})",
            words(limit.current),
            words(limit.maximum)
        ),
        "a process holds one for each stream it uses, and a supervisor some more for each stage",
    );
    if limit
        .current
        .is_none_or(|current| current >= ENOUGH_DESCRIPTORS)
    {
        finding
    } else {
        finding.noted(format!(
            "ulimit -n {ENOUGH_DESCRIPTORS}, or `LimitNOFILE={ENOUGH_DESCRIPTORS}` in the service"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    fn at_most(value: u64) -> Limit {
        Limit {
            current: Some(value),
            maximum: Some(value),
        }
    }

    #[test]
    fn the_preemption_model_is_read_from_what_there_is() {
        let model = |version: &str, dynamic: Option<&str>| {
            let finding = preemption(version, dynamic);
            (finding.found, finding.verdict)
        };
        let linux = "Linux version 6.8.0 (gcc) #1 SMP";
        assert_eq!(model(linux, None).1, Verdict::Note);
        assert_eq!(
            model(&format!("{linux} PREEMPT_RT Mon"), None).1,
            Verdict::Ok
        );
        assert_eq!(
            model(&format!("{linux} PREEMPT Mon"), None),
            ("full".into(), Verdict::Ok)
        );
        let dynamic = format!("{linux} PREEMPT_DYNAMIC Mon");
        assert_eq!(model(&dynamic, None).1, Verdict::Ok);
        assert_eq!(
            model(&dynamic, Some("none (voluntary) full")).1,
            Verdict::Ok
        );
        assert_eq!(
            model(&dynamic, Some("none [voluntary] full")).1,
            Verdict::Note
        );
    }

    #[test]
    fn real_time_is_allowed_by_a_limit_or_a_capability() {
        let verdict = |limit, status| real_time(limit, status).verdict;
        assert_eq!(
            verdict(at_most(0), "CapEff:\t0000000000000000"),
            Verdict::Note
        );
        assert_eq!(verdict(at_most(90), ""), Verdict::Ok);
        assert_eq!(
            verdict(at_most(0), "CapEff:\t0000000000800000"),
            Verdict::Ok
        );
        assert_eq!(
            real_time_share(Some("950000")).unwrap().verdict,
            Verdict::Ok
        );
        assert_eq!(real_time_share(Some("-1")).unwrap().verdict, Verdict::Ok);
        assert_eq!(
            real_time_share(Some("100000")).unwrap().verdict,
            Verdict::Note
        );
    }

    #[test]
    fn slow_clocks_and_small_limits_are_noted() {
        assert_eq!(clock_source("tsc").verdict, Verdict::Ok);
        assert_eq!(clock_source("hpet").verdict, Verdict::Note);
        assert_eq!(descriptors(at_most(1024)).verdict, Verdict::Ok);
        assert_eq!(descriptors(at_most(256)).verdict, Verdict::Note);
        assert_eq!(service("x", false, "y", "z").verdict, Verdict::Note);
    }
}
