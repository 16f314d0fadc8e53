//! Permission to spin: fewer spinners than CPUs, over all processes of a user.
//!
//! A spinner that takes the CPU its producer needs waits for itself. Each user has one small file
//! of permits, a word per permit naming the process that spins; a process may use one permit less
//! than it has CPUs. The permits of processes that died are taken from them by whoever finds none.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use thalweg_os::clock::monotonic_ns;
use thalweg_os::file::{self, Access, FileFacts, UnpublishedFile};
use thalweg_os::mapping::{Mapping, Protection};
use thalweg_os::process::{self, Liveness, ProcessIdentity};
use thalweg_os::set_once::SetOnce;
use thalweg_os::{affinity, fork};

use crate::protocol::words::Who;

const FILE_BYTES: usize = 4096;
const PERMITS: usize = FILE_BYTES / 8;
/// How often a process without a permit may look for dead holders.
const REAP_INTERVAL_NS: u64 = 100_000_000;

/// The file of permits of the calling user.
pub(crate) fn permit_path() -> PathBuf {
    file::default_directory().join(format!("thalweg-permits.{}", process::effective_user()))
}

/// True when this process may run on more than one CPU. Looked up anew from time to time.
pub(crate) fn another_cpu_is_allowed(now_ns: u64) -> bool {
    allowed_cpus(now_ns) > 1
}

/// Has waits of this process reckon with `count` CPUs, for a process whose threads are tied to fewer
/// than those it exchanges frames with may use: a waiter on a CPU of its own may well spin.
pub fn reckon_with_cpus(count: usize) {
    RECKONED.store(count as u64, Ordering::Relaxed);
}

/// What [`reckon_with_cpus`] said; 0 if nothing.
static RECKONED: AtomicU64 = AtomicU64::new(0);

fn allowed_cpus(now_ns: u64) -> usize {
    let reckoned = RECKONED.load(Ordering::Relaxed);
    if reckoned != 0 {
        return reckoned as usize;
    }
    static CPUS: AtomicU64 = AtomicU64::new(0);
    static LOOKED_UP_NS: AtomicU64 = AtomicU64::new(0);
    let known = CPUS.load(Ordering::Relaxed);
    if known != 0 && now_ns.saturating_sub(LOOKED_UP_NS.load(Ordering::Relaxed)) < REAP_INTERVAL_NS
    {
        return known as usize;
    }
    let count = affinity::allowed_cpu_count();
    CPUS.store(count as u64, Ordering::Relaxed);
    LOOKED_UP_NS.store(now_ns, Ordering::Relaxed);
    count
}

/// The right to keep one CPU busy waiting, given back when dropped.
#[derive(Debug)]
pub(crate) struct SpinPermit {
    word: &'static AtomicU64,
    holder: u64,
}

impl SpinPermit {
    /// A permit, if one is free.
    pub(crate) fn take() -> Option<Self> {
        let words = permits()?;
        let limit = (allowed_cpus(monotonic_ns()) - 1).min(PERMITS);
        let holder = this_process()?.0;
        let take = |word: &AtomicU64, from: u64| {
            word.compare_exchange(from, holder, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        };
        let mut free = words[..limit].iter().find(|word| take(word, 0));
        if free.is_none() && limit > 0 && may_reap() {
            free = words[..limit].iter().find(|word| {
                let seen = word.load(Ordering::Relaxed);
                is_dead(Who(seen)) && take(word, seen)
            });
        }
        free.map(|word| Self { word, holder })
    }
}

impl Drop for SpinPermit {
    fn drop(&mut self) {
        // Exact: if somebody took this process for dead, the word is not ours any more.
        self.word
            .compare_exchange(self.holder, 0, Ordering::Release, Ordering::Relaxed)
            .ok();
    }
}

fn may_reap() -> bool {
    static NEXT_NS: AtomicU64 = AtomicU64::new(0);
    let now_ns = monotonic_ns();
    let next = NEXT_NS.load(Ordering::Relaxed);
    now_ns >= next
        && NEXT_NS
            .compare_exchange(
                next,
                now_ns + REAP_INTERVAL_NS,
                Ordering::Relaxed,
                Ordering::Relaxed,
            )
            .is_ok()
}

/// Namespace index of a holder in the permit file: 1 if its pid means something in the initial
/// namespace of this machine's first user of the file, which is all a permit has to tell.
fn this_process() -> Option<Who> {
    static WORD: AtomicU64 = AtomicU64::new(0);
    static GENERATION: AtomicU64 = AtomicU64::new(0);
    let generation = fork::generation();
    if GENERATION.load(Ordering::Acquire) == generation {
        return Some(Who(WORD.load(Ordering::Relaxed)));
    }
    let identity = ProcessIdentity::current().ok()?;
    let who = Who::new(namespace_tag(), identity.start_ticks, identity.pid);
    WORD.store(who.0, Ordering::Relaxed);
    GENERATION.store(generation, Ordering::Release);
    Some(who)
}

/// Six bits of the pid namespace, never 0: processes of another namespace are left alone.
fn namespace_tag() -> usize {
    (process::pid_namespace() % 63) as usize + 1
}

fn is_dead(who: Who) -> bool {
    who != Who::NOBODY
        && who.namespace_index() == namespace_tag()
        && ProcessIdentity {
            pid: who.pid(),
            start_ticks: who.start_ticks(),
            pid_namespace: process::pid_namespace(),
        }
        .liveness()
            == Liveness::Dead
}

/// The permit file as this process uses it.
struct PermitFile {
    mapping: Mapping,
    /// Carries the shared lock that says "in use" until this process ends.
    descriptor: OwnedFd,
}

fn permit_file() -> Option<&'static PermitFile> {
    static FILE: SetOnce<Option<PermitFile>> = SetOnce::new();
    FILE.get_or_init(|| open_permits().ok()).as_ref()
}

/// The permit words; `None` when the file cannot be had, which only means that nobody spins for
/// longer than the grace time.
fn permits() -> Option<&'static [AtomicU64]> {
    let words = permit_file()?
        .mapping
        .address()
        .as_ptr()
        .cast::<AtomicU64>();
    // SAFETY: a page-aligned mapping of FILE_BYTES bytes that is never unmapped; atomics accept
    // any bits and changes by other processes.
    Some(unsafe { std::slice::from_raw_parts(words, PERMITS) })
}

fn open_permits() -> io::Result<PermitFile> {
    let path = permit_path();
    // Somebody may remove or create the file in between: look again, but not for ever.
    for _ in 0..16 {
        let descriptor = match file::open(&path, Access::ReadWrite) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create_permits()?;
                continue;
            }
            opened => opened?,
        };
        let facts = FileFacts::of(&descriptor)?;
        if !facts.regular || facts.size_bytes != FILE_BYTES as u64 {
            return Err(io::Error::other("not a permit file"));
        }
        // Whoever removes the file holds the exclusive lock: once the shared one is held, a file
        // that still has its name keeps it.
        let is_current = file::try_lock_shared(&descriptor)?
            && FileFacts::of_path(&path).is_ok_and(|named| named.identity == facts.identity);
        if is_current {
            let mapping = Mapping::new(descriptor.as_fd(), 0, FILE_BYTES, Protection::ReadWrite)?;
            return Ok(PermitFile {
                mapping,
                descriptor,
            });
        }
    }
    Err(io::Error::other("the permit file keeps changing"))
}

fn create_permits() -> io::Result<()> {
    let directory = file::default_directory();
    let mut fresh = UnpublishedFile::new(&directory, FILE_BYTES as u64, 0o600, None)
        .map_err(io::Error::other)?;
    let name = permit_path();
    let name = name.file_name().and_then(|name| name.to_str());
    match fresh.publish(name.unwrap_or_default()) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        published => published.map(drop),
    }
}

/// Removes the permit file if no other process uses it.
pub(crate) fn remove_unused_permits() {
    let Some(permits) = permit_file() else {
        return;
    };
    let is_alone = file::try_lock_exclusive(&permits.descriptor).unwrap_or(false);
    let is_named = FileFacts::of(&permits.descriptor)
        .and_then(|own| Ok(own.identity == FileFacts::of_path(&permit_path())?.identity))
        .unwrap_or(false);
    if is_alone && is_named {
        // If it fails the file stays, as it would have anyway.
        file::remove(&permit_path()).ok();
    }
    // Back to "in use"; a refusal means that somebody else is about to remove it.
    file::try_lock_shared(&permits.descriptor).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_stay_below_the_cpus() {
        let taken: Vec<SpinPermit> = std::iter::from_fn(SpinPermit::take).collect();
        assert!(
            taken.len() < allowed_cpus(monotonic_ns()),
            "{} permits",
            taken.len()
        );
        drop(taken);
    }
}
