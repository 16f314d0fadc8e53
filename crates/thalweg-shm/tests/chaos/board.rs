//! What all processes write down: tallies, findings, and who is inside the lock.

use std::sync::atomic::{AtomicU64, Ordering};

use thalweg_os::clock::monotonic_ns;
use thalweg_os::process::{Liveness, ProcessIdentity, pid_namespace};
use thalweg_shm::protocol::words::Who;

use super::plan::CAST;

/// What is counted. The first ones say how much happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tally {
    Kills,
    Frames,
    Aborts,
    Reads,
    Borrows,
    Waits,
    Followed,
    EarlyRows,
    Locks,
    Takeovers,
    Opens,
    SideStreams,
    /// From here on: findings, all of which must stay 0.
    Torn,
    ChangedUnderPin,
    TwoHolders,
    LateLock,
    Debris,
    Hangs,
    CountsBackwards,
    CountsLost,
    LeftBehind,
    Unexpected,
}

impl Tally {
    pub(crate) const HAPPENED: [(Self, &str); 12] = [
        (Self::Kills, "kills"),
        (Self::Frames, "frames published"),
        (Self::Aborts, "frames aborted"),
        (Self::Reads, "copies read"),
        (Self::Borrows, "frames borrowed"),
        (Self::Waits, "waits"),
        (Self::Followed, "frames read losslessly"),
        (Self::EarlyRows, "frames read while written"),
        (Self::Locks, "locks held"),
        (Self::Takeovers, "- taken over from killed holders"),
        (Self::Opens, "openings"),
        (Self::SideStreams, "side streams created"),
    ];
    pub(crate) const FINDINGS: [(Self, &str); 10] = [
        (Self::Torn, "torn frames"),
        (Self::ChangedUnderPin, "frames changed while borrowed"),
        (Self::TwoHolders, "two holders of the lock at once"),
        (Self::LateLock, "locks late after a holder's death"),
        (Self::Debris, "half-written frames not cleared up"),
        (Self::Hangs, "hangs"),
        (Self::CountsBackwards, "counts going backwards"),
        (Self::CountsLost, "counts lost"),
        (Self::LeftBehind, "things left behind"),
        (Self::Unexpected, "unexpected errors"),
    ];
}

const TALLIES: usize = Tally::Unexpected as usize + 1;

/// A dead holder's lock is back within 100 ms; the rest is for a machine that is busy.
const LOCK_BACK_NS: u64 = 100_000_000 + 900_000_000;

/// One process's line.
#[derive(Debug)]
pub(crate) struct Line {
    /// Turns of its loop, over all its lives.
    pub(crate) beats: AtomicU64,
    /// Who it is, and who it was before it was killed, and when that was.
    pub(crate) who: AtomicU64,
    killed_who: AtomicU64,
    killed_ns: AtomicU64,
}

/// Memory that all processes share.
#[derive(Debug)]
pub(crate) struct Board {
    tallies: [AtomicU64; TALLIES],
    pub(crate) lines: [Line; CAST.len()],
    /// Who is inside the lock, as far as they say so.
    inside: AtomicU64,
    /// The frame that process is writing; 0 for none.
    begun: AtomicU64,
    /// Highest count anybody has seen published.
    highest: AtomicU64,
    pub(crate) worst_lock_ns: AtomicU64,
    pub(crate) worst_pause_ns: AtomicU64,
}

impl Board {
    /// A board that is shared with every child forked from now on.
    pub(crate) fn share() -> &'static Self {
        // SAFETY: a new anonymous mapping at an address the kernel chooses touches nothing else.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<Self>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(memory, libc::MAP_FAILED, "no memory for the scoreboard");
        // SAFETY: page aligned, long enough, zeroed, never unmapped; atomics accept any bits and
        // changes by other processes.
        unsafe { &*memory.cast::<Self>() }
    }

    /// For the next stream. Nobody else is alive.
    pub(crate) fn clear(&self) {
        let words = self.tallies.iter().chain([
            &self.inside,
            &self.begun,
            &self.highest,
            &self.worst_lock_ns,
            &self.worst_pause_ns,
        ]);
        for word in words {
            word.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn count(&self, tally: Tally) {
        self.tallies[tally as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn tally(&self, tally: Tally) -> u64 {
        self.tallies[tally as usize].load(Ordering::Relaxed)
    }

    /// Counts a finding and says what it is. Past the first few it only counts.
    pub(crate) fn report(&self, finding: Tally, what: &str) {
        use std::io::Write;
        if self.tallies[finding as usize].fetch_add(1, Ordering::Relaxed) < 5 {
            // The test harness does not see what a child prints.
            let line = format!("{finding:?} (process {}): {what}\n", std::process::id());
            std::io::stderr().write_all(line.as_bytes()).ok();
        }
    }

    /// The highest count that was published by now: whoever looks at the stream after this finds at
    /// least that.
    pub(crate) fn floor(&self) -> u64 {
        self.highest.load(Ordering::Acquire)
    }

    pub(crate) fn saw(&self, count: u64) {
        self.highest.fetch_max(count, Ordering::AcqRel);
    }

    /// The process on `line` is about to be killed.
    pub(crate) fn condemn(&self, line: usize) {
        let line = &self.lines[line];
        line.killed_ns.store(monotonic_ns(), Ordering::Relaxed);
        line.killed_who
            .store(line.who.load(Ordering::Relaxed), Ordering::Release);
    }

    /// `own` is inside the lock now, which it began to want at `began_ns`.
    pub(crate) fn enter(&self, own: Who, began_ns: u64) -> Inside<'_> {
        self.count(Tally::Locks);
        let other = self.inside.swap(own.0, Ordering::AcqRel);
        let mut abandoned = 0;
        if other != 0 {
            self.check_predecessor(Who(other), began_ns);
            abandoned = self.begun.swap(0, Ordering::AcqRel);
        }
        Inside {
            board: self,
            own,
            abandoned,
        }
    }

    /// Somebody has not left: it must be dead, and not for long.
    fn check_predecessor(&self, other: Who, began_ns: u64) {
        let identity = ProcessIdentity {
            pid: other.pid(),
            start_ticks: other.start_ticks(),
            pid_namespace: pid_namespace(),
        };
        if identity.liveness() != Liveness::Dead {
            let what = format!("process {} is inside, too", other.pid());
            return self.report(Tally::TwoHolders, &what);
        }
        self.count(Tally::Takeovers);
        let line = self
            .lines
            .iter()
            .find(|line| line.killed_who.load(Ordering::Acquire) == other.0);
        let Some(line) = line else {
            // Killed twice since; so it is long ago, and others had the lock meanwhile.
            return;
        };
        let killed_ns = line.killed_ns.load(Ordering::Relaxed);
        let waited_ns = monotonic_ns().saturating_sub(killed_ns.max(began_ns));
        self.worst_lock_ns.fetch_max(waited_ns, Ordering::Relaxed);
        if waited_ns > LOCK_BACK_NS {
            let what = format!("{} ms", waited_ns / 1_000_000);
            self.report(Tally::LateLock, &what);
        }
    }
}

/// Being inside the lock.
pub(crate) struct Inside<'a> {
    board: &'a Board,
    own: Who,
    /// The frame that was being written by a process that was killed inside; 0 for none.
    pub(crate) abandoned: u64,
}

impl Inside<'_> {
    /// A slot is claimed for frame `count`.
    pub(crate) fn begins(&self, count: u64) {
        self.board.begun.store(count, Ordering::Release);
    }

    /// The frame is about to be published, or was given up.
    pub(crate) fn ends(&self) {
        self.board.begun.store(0, Ordering::Release);
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let left =
            self.board
                .inside
                .compare_exchange(self.own.0, 0, Ordering::AcqRel, Ordering::Relaxed);
        if let Err(other) = left {
            let what = format!("process {} came inside meanwhile", Who(other).pid());
            self.board.report(Tally::TwoHolders, &what);
        }
    }
}
