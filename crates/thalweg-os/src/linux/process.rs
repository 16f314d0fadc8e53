//! Who a process is, and whether it still lives.
//!
//! A bare pid is no identity: pids are used again, and mean different processes in different pid
//! namespaces. A process is (pid, start time, pid namespace, boot).

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, getppid, kill_process, pidfd_open, pidfd_send_signal,
    set_parent_process_death_signal, test_kill_process,
};
use rustix::time::Timespec;

use super::fork;
use super::set_once::SetOnce;

/// Identity of a process within one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessIdentity {
    /// Pid in its own pid namespace.
    pub pid: u32,
    /// Start time in clock ticks since boot, as `/proc/<pid>/stat` tells.
    pub start_ticks: u64,
    /// Inode number of the pid namespace; 0 when `/proc` does not tell.
    pub pid_namespace: u64,
}

/// What can be said about another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// It runs, or is stopped.
    Alive,
    /// It has ended; a zombie counts as ended.
    Dead,
    /// It lives in another pid namespace, so its pid says nothing here.
    Unknown,
}

impl ProcessIdentity {
    /// The calling process. Read anew after a fork.
    pub fn current() -> io::Result<Self> {
        let pid = getpid().as_raw_nonzero().get().cast_unsigned();
        Ok(Self {
            pid,
            // Not by the pid: `/proc` may show another pid namespace than this process's.
            start_ticks: start_ticks("self")?,
            pid_namespace: pid_namespace(),
        })
    }

    /// Whether this process still runs, as far as the calling process can tell.
    pub fn liveness(&self) -> Liveness {
        if self.pid_namespace != pid_namespace() {
            return Liveness::Unknown;
        }
        // Numbers read from shared memory may be anything.
        let Some(pid) = pid_of(self.pid) else {
            return Liveness::Dead;
        };
        let descriptor = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(Errno::SRCH | Errno::INVAL) => return Liveness::Dead,
            Ok(descriptor) if has_ended(&descriptor) => return Liveness::Dead,
            Ok(descriptor) => Some(descriptor),
            // Refused or not known to this kernel: the start time decides alone.
            Err(_) => None,
        };
        let shown_as = if proc_shows_this_namespace() {
            Some(self.pid)
        } else {
            descriptor.as_ref().and_then(pid_in_proc)
        };
        let Some(shown_as) = shown_as else {
            // There is such a process, and nothing tells it from another one that had its pid.
            return Liveness::Unknown;
        };
        match start_ticks(&shown_as.to_string()) {
            Ok(ticks) if ticks == self.start_ticks => Liveness::Alive,
            // Its pid is another process's by now.
            Ok(_) => Liveness::Dead,
            // Ended meanwhile; or `/proc` hides it, or this process has no descriptor left to look:
            // that must never pass for a death.
            Err(_) if has_gone(pid, descriptor.as_ref()) => Liveness::Dead,
            Err(_) => Liveness::Unknown,
        }
    }
}

/// The pid `number`; `None` for 0 and for what no pid can be.
fn pid_of(number: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(number).ok()?)
}

/// Whether the pids in `/proc` are those of this process's namespace: not so in one that was made
/// without mounting `/proc` anew. Looked up anew after a fork.
fn proc_shows_this_namespace() -> bool {
    /// `fork generation << 1 | answer`; 0 is not known.
    static ANSWER: AtomicU64 = AtomicU64::new(0);
    let generation = fork::generation();
    let known = ANSWER.load(Ordering::Relaxed);
    if known >> 1 == generation {
        return known & 1 == 1;
    }
    let own = std::process::id().to_string();
    let answer = fs::read_link("/proc/self").is_ok_and(|shown| shown.as_os_str() == own.as_str());
    ANSWER.store(generation << 1 | u64::from(answer), Ordering::Relaxed);
    answer
}

/// The pid under which `/proc` shows the process that `descriptor` is of.
fn pid_in_proc(descriptor: &OwnedFd) -> Option<u32> {
    let path = format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd());
    let facts = fs::read_to_string(path).ok()?;
    let pid = facts.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    // Not positive where `/proc` does not show it.
    pid.trim().parse().ok().filter(|&pid| pid > 0)
}

/// Whether a process that could be looked at no closer is known to have ended.
fn has_gone(pid: Pid, descriptor: Option<&OwnedFd>) -> bool {
    match descriptor {
        Some(descriptor) => has_ended(descriptor),
        None => test_kill_process(pid) == Err(Errno::SRCH),
    }
}

fn has_ended(descriptor: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(descriptor, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    matches!(poll(&mut polled, Some(&now)), Ok(ready) if ready > 0)
}

/// Start time of the process `/proc` shows as `pid`, in clock ticks since boot; an error when it has
/// ended, a zombie included.
fn start_ticks(pid: &str) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_start_ticks(&stat)
        .ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat has an unknown form")))?
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("process {pid} has ended")))
}

/// `None`: unknown form. `Some(None)`: the process has ended.
fn parse_start_ticks(stat: &str) -> Option<Option<u64>> {
    // The command name may contain anything, `)` and spaces included; fields follow its last `)`.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return Some(None);
    }
    // Start time is field 22 of the line; the state was field 3.
    Some(Some(fields.nth(18)?.parse().ok()?))
}

/// Inode number of the calling process's pid namespace; 0 when `/proc` does not tell. Read anew
/// after a fork, because a child may be the first of a namespace of its own.
pub fn pid_namespace() -> u64 {
    static NAMESPACE: AtomicU64 = AtomicU64::new(0);
    static GENERATION: AtomicU64 = AtomicU64::new(0);
    let generation = fork::generation();
    // Acquire pairs with the Release below. Threads that come at once find the same.
    if GENERATION.load(Ordering::Acquire) != generation {
        let namespace = fs::metadata("/proc/self/ns/pid").map_or(0, |meta| meta.ino());
        NAMESPACE.store(namespace, Ordering::Relaxed);
        GENERATION.store(generation, Ordering::Release);
        return namespace;
    }
    NAMESPACE.load(Ordering::Relaxed)
}

/// Random id of the running boot.
pub fn boot_id() -> [u8; 16] {
    static BOOT: SetOnce<[u8; 16]> = SetOnce::new();
    *BOOT.get_or_init(|| {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: Vec<u8> = text
            .bytes()
            .filter_map(|byte| char::from(byte).to_digit(16))
            .map(|digit| digit as u8)
            .collect();
        let mut id = [0u8; 16];
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        id
    })
}

/// The calling process's effective user.
pub fn effective_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// A descriptor that becomes readable when process `pid` ends. Take it before the process can be
/// reaped, that is, as its parent.
pub fn watch(pid: u32) -> io::Result<OwnedFd> {
    let pid = pid_of(pid).ok_or_else(|| io::Error::from(Errno::INVAL))?;
    let descriptor = pidfd_open(pid, PidfdFlags::empty())?;

    Ok(descriptor)
}

/// Kills the process behind a descriptor of [`watch`]; never another one that has got its pid.
pub fn kill_watched(process: BorrowedFd<'_>) -> io::Result<()> {
    Ok(pidfd_send_signal(process, Signal::KILL)?)
}

/// Sends SIGTERM to `pid`, a child of the caller that was not reaped yet.
pub fn terminate(pid: u32) -> io::Result<()> {
    let pid = pid_of(pid).ok_or_else(|| io::Error::from(Errno::INVAL))?;
    Ok(kill_process(pid, Signal::TERM)?)
}

/// Ends this process without anything a normal end does: no handlers, no destructors, no buffers.
/// For forked children, to which all of that does not belong.
pub fn end_at_once(status: i32) -> ! {
    // SAFETY: ends the process; nothing that could be unsound runs any more.
    unsafe { libc::_exit(status) }
}

/// The parent this process was started by has ended already.
#[derive(Debug, thiserror::Error)]
pub enum Orphaned {
    /// Another process is the parent now.
    #[error("the parent process {expected} has ended (the parent is {found} now)")]
    Parent {
        /// The pid that started this process.
        expected: u32,
        /// The pid found.
        found: u32,
    },
    /// The kernel refused.
    #[error("cannot ask to be ended with the parent process: {0}")]
    Refused(#[from] io::Error),
}

/// Has the kernel kill this process as soon as the thread that started it ends, and checks that
/// this has not happened already. `parent` is the pid of the process that did.
pub fn die_with_parent(parent: u32) -> Result<(), Orphaned> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)?;
    let found = getppid().map_or(0, |pid| pid.as_raw_nonzero().get().cast_unsigned());
    if found == parent {
        Ok(())
    } else {
        Err(Orphaned::Parent {
            expected: parent,
            found,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_its_past_dead() {
        let current = ProcessIdentity::current().unwrap();
        assert_eq!(current.liveness(), Liveness::Alive);
        let earlier = ProcessIdentity {
            start_ticks: current.start_ticks + 1,
            ..current
        };
        assert_eq!(earlier.liveness(), Liveness::Dead, "pid used again");
        let elsewhere = ProcessIdentity {
            pid_namespace: current.pid_namespace + 1,
            ..current
        };
        assert_eq!(elsewhere.liveness(), Liveness::Unknown);
    }

    #[test]
    fn numbers_that_are_no_pid_are_dead() {
        let current = ProcessIdentity::current().unwrap();
        for pid in [0, 1 << 31, u32::MAX] {
            let nobody = ProcessIdentity { pid, ..current };
            assert_eq!(nobody.liveness(), Liveness::Dead, "pid {pid}");
            assert!(watch(pid).is_err() && terminate(pid).is_err(), "pid {pid}");
        }
    }

    #[test]
    fn a_zombie_is_dead() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let watched = watch(child.id()).unwrap();
        let mut polled = [PollFd::new(&watched, PollFlags::IN)];
        assert_eq!(poll(&mut polled, None), Ok(1), "ended");
        let zombie = ProcessIdentity {
            pid: child.id(),
            start_ticks: 0,
            pid_namespace: pid_namespace(),
        };
        assert_eq!(zombie.liveness(), Liveness::Dead);
        child.wait().unwrap();
    }

    #[test]
    fn command_names_do_not_confuse_the_parser() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        let line = format!("42 (a) b) {fields}");
        assert_eq!(parse_start_ticks(&line), Some(Some(4711)));
        assert_eq!(parse_start_ticks("42 (x) Z 1"), Some(None));
        assert_eq!(parse_start_ticks("nonsense"), None);
    }

    #[test]
    fn boot_id_is_not_empty() {
        assert_ne!(boot_id(), [0; 16]);
    }
}
