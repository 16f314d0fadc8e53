//! Memory: where streams live, and what moves or withholds their pages.

use std::io;
use std::path::Path;

use thalweg::StreamDirectory;
use thalweg_os::filesystem::FileSystem;
use thalweg_os::limits::{Limit, LimitedResource, limit};

use super::finding::Finding;
use super::source::{chosen, read};
use crate::table::bytes;

/// Room below which the next stream may not fit.
const LITTLE_ROOM_BYTES: u64 = 256 << 20;
/// What a stage with its matrices may want to lock.
const ENOUGH_LOCKED_BYTES: u64 = 1 << 30;
const HUGE_PAGES: &str = "/sys/kernel/mm/transparent_hugepage";

pub(super) fn check() -> Vec<Finding> {
    let directory = StreamDirectory::default();
    let path = directory.path();
    let mut findings = vec![
        streams_folder(path, FileSystem::of(path)),
        locked_memory(limit(LimitedResource::LockedMemory)),
    ];
    findings.extend(read(format!("{HUGE_PAGES}/enabled")).and_then(|text| huge_pages(&text)));
    findings.extend(
        read(format!("{HUGE_PAGES}/shmem_enabled")).and_then(|text| shared_huge_pages(&text)),
    );
    findings.extend(swap(
        read("/proc/swaps").as_deref(),
        read("/proc/sys/vm/swappiness").as_deref(),
    ));
    findings.extend(numa_balancing(
        read("/proc/sys/kernel/numa_balancing").as_deref(),
    ));
    findings
}

fn streams_folder(path: &Path, found: io::Result<FileSystem>) -> Finding {
    let why =
        "streams are files there; on a disk every page may be written out under the writer's hands";
    let finding =
        |text: String| Finding::ok("streams' folder", format!("{} {text}", path.display()), why);
    match found {
        Err(error) => finding(format!("cannot be read: {error}"))
            .problem("mount a tmpfs there, or name another folder in THALWEG_SHM_DIR"),
        Ok(system) if !system.is_memory => finding("is not in memory".to_owned())
            .problem("mount a tmpfs there, or name one in THALWEG_SHM_DIR"),
        Ok(system) => {
            let finding = finding(format!(
                "is in memory, {} of {} free",
                bytes(system.free_bytes as f64),
                bytes(system.size_bytes as f64)
            ));
            // A size of 0 is no limit.
            if system.size_bytes > 0 && system.free_bytes < LITTLE_ROOM_BYTES {
                finding.problem(format!(
                    "`thalweg list --long` shows what is there, `thalweg purge` removes it; or sudo mount -o remount,size=50% {}",
                    path.display()
                ))
            } else {
                finding
            }
        }
    }
}

fn amount(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".to_owned(), |value| bytes(value as f64))
}

fn locked_memory(limit: Limit) -> Finding {
    let finding = Finding::ok(
        "locked memory",
        format!(
            "{} (can be raised to {})",
            amount(limit.current),
            amount(limit.maximum)
        ),
        "pages that are not locked may have to be fetched when a frame is waiting for them",
    );
    if limit
        .maximum
        .is_none_or(|maximum| maximum >= ENOUGH_LOCKED_BYTES)
    {
        finding
    } else {
        finding.noted("`* - memlock unlimited` in /etc/security/limits.conf, or `LimitMEMLOCK=infinity` in the service")
    }
}

fn huge_pages(choices: &str) -> Option<Finding> {
    let choice = chosen(choices)?;
    let finding = Finding::ok(
        "huge pages",
        format!("transparent huge pages: {choice}"),
        "with `always` the kernel rearranges pages of running programs, which then stand still",
    );
    Some(if choice == "always" {
        finding.noted(format!("echo madvise | sudo tee {HUGE_PAGES}/enabled"))
    } else {
        finding
    })
}

fn shared_huge_pages(choices: &str) -> Option<Finding> {
    let choice = chosen(choices)?;
    Some(Finding::ok(
        "huge pages in tmpfs",
        choice,
        "`advise` or `within_size` saves translations on large streams, at the price of memory in whole 2 MB pieces",
    ))
}

fn swap(swaps: Option<&str>, swappiness: Option<&str>) -> Option<Finding> {
    let why = "a tmpfs can be swapped out; fetching one page back takes milliseconds";
    // The first line is the heading.
    let has_swap = swaps?.lines().count() > 1;
    let swappiness: u32 = swappiness?.parse().ok()?;
    if !has_swap {
        return Some(Finding::ok("swap", "none", why));
    }
    let finding = Finding::ok("swap", format!("in use, vm.swappiness {swappiness}"), why);
    Some(if swappiness > 10 {
        finding.noted("sudo sysctl vm.swappiness=1, or sudo swapoff -a")
    } else {
        finding
    })
}

fn numa_balancing(enabled: Option<&str>) -> Option<Finding> {
    let why = "the kernel takes pages away for a moment to see who uses them, and moves them";
    Some(match enabled? {
        "0" => Finding::ok("NUMA balancing", "off", why),
        _ => Finding::ok("NUMA balancing", "on", why).noted("sudo sysctl kernel.numa_balancing=0"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn the_folder_has_to_be_in_memory_and_to_have_room() {
        let path = Path::new("/dev/shm");
        let verdict = |is_memory, free_bytes| {
            let found = FileSystem {
                is_memory,
                size_bytes: 1 << 34,
                free_bytes,
            };
            streams_folder(path, Ok(found)).verdict
        };
        assert_eq!(verdict(true, 1 << 33), Verdict::Ok);
        assert_eq!(verdict(true, 1 << 20), Verdict::Problem);
        assert_eq!(verdict(false, 1 << 33), Verdict::Problem);
        let missing = streams_folder(path, Err(io::Error::from(io::ErrorKind::NotFound)));
        assert_eq!(missing.verdict, Verdict::Problem);
        assert!(missing.found.contains("/dev/shm"), "{}", missing.found);
    }

    #[test]
    fn a_limit_that_can_be_raised_is_no_limit() {
        let small = Some(8 << 20);
        let verdict = |current, maximum| locked_memory(Limit { current, maximum }).verdict;
        assert_eq!(verdict(None, None), Verdict::Ok);
        assert_eq!(verdict(small, None), Verdict::Ok);
        assert_eq!(verdict(small, small), Verdict::Note);
    }

    #[test]
    fn what_moves_pages_is_noted() {
        assert_eq!(
            huge_pages("[always] madvise never").unwrap().verdict,
            Verdict::Note
        );
        assert_eq!(
            huge_pages("always [madvise] never").unwrap().verdict,
            Verdict::Ok
        );
        assert_eq!(
            shared_huge_pages("always [never] deny").unwrap().found,
            "never"
        );
        let heading = "Filename Type Size Used Priority";
        let swaps = format!("{heading}\n/dev/sda2 partition 8 0 -2");
        assert_eq!(
            swap(Some(heading), Some("60")).unwrap().verdict,
            Verdict::Ok
        );
        assert_eq!(
            swap(Some(&swaps), Some("60")).unwrap().verdict,
            Verdict::Note
        );
        assert_eq!(swap(Some(&swaps), Some("1")).unwrap().verdict, Verdict::Ok);
        assert_eq!(swap(None, Some("60")), None);
        assert_eq!(numa_balancing(Some("1")).unwrap().verdict, Verdict::Note);
    }
}
