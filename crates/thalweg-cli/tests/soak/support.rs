//! What the soak tests share.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Far more than ending takes.
pub(super) const WATCHDOG: Duration = Duration::from_secs(60);

/// xorshift64 (Marsaglia 2003): reproducible, and random enough to pick victims.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Runs `thalweg` with `arguments` and its streams in `streams`.
pub(super) fn start(streams: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_thalweg"))
        .args(arguments)
        .env("THALWEG_SHM_DIR", streams)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

pub(super) fn children_of(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task");
    let Ok(threads) = std::fs::read_dir(path) else {
        return Vec::new();
    };
    threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("children")).ok())
        .flat_map(|text| {
            let pids: Vec<u32> = text
                .split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect();
            pids
        })
        .collect()
}

pub(super) fn is_running(pid: u32) -> bool {
    // A zombie has no command line any more; nor has a process that is gone.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

pub(super) fn kill(pid: u32) {
    Command::new("kill")
        .args(["-9", &pid.to_string()])
        .stderr(Stdio::null())
        .status()
        .unwrap();
}

pub(super) fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + WATCHDOG;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "the run hangs");
        std::thread::yield_now();
    }
}

pub(super) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + WATCHDOG;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

pub(super) fn leftovers(streams: &Path) -> Vec<String> {
    std::fs::read_dir(streams)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("thalweg-permits."))
        .collect()
}

/// Kills to be made: `usual`, unless `THALWEG_SOAK_KILLS` asks for another number.
pub(super) fn kills(usual: u32) -> u32 {
    std::env::var("THALWEG_SOAK_KILLS").map_or(usual, |text| text.parse().unwrap())
}

/// A folder for streams.
pub(super) fn streams() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("thalweg-test-")
        .tempdir_in("/dev/shm")
        .unwrap()
}
