//! Random kills of any process of the running default pipeline: whatever dies, nothing hangs,
//! nothing is torn, and nothing is left after the run or after the next start.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// `THALWEG_SOAK_KILLS` asks for another number.
const KILLS: u32 = 200;
/// Far more than ending takes.
const WATCHDOG: Duration = Duration::from_secs(60);

/// xorshift64 (Marsaglia 2003): reproducible, and random enough to pick victims.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn start(streams: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_thalweg"))
        .args(["run", "--frames", "1000000"])
        .env("THALWEG_SHM_DIR", streams)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn children_of(pid: u32) -> Vec<u32> {
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

fn is_running(pid: u32) -> bool {
    // A zombie has no command line any more; nor has a process that is gone.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

fn kill(pid: u32) {
    Command::new("kill")
        .args(["-9", &pid.to_string()])
        .stderr(Stdio::null())
        .status()
        .unwrap();
}

fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + WATCHDOG;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "the run hangs");
        std::thread::yield_now();
    }
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + WATCHDOG;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

fn leftovers(streams: &Path) -> Vec<String> {
    std::fs::read_dir(streams)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("thalweg-permits."))
        .collect()
}

#[test]
fn whatever_is_killed_nothing_hangs_and_nothing_stays() {
    let kills: u32 =
        std::env::var("THALWEG_SOAK_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let streams = tempfile::Builder::new()
        .prefix("thalweg-test-")
        .tempdir_in("/dev/shm")
        .unwrap();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut supervisors_killed = 0;
    for round in 0..kills {
        let mut run = start(streams.path());
        // Any moment from before the first worker to the closed loop.
        let delay = Duration::from_micros(random.below(120_000));
        std::thread::park_timeout(delay);
        let mut processes = children_of(run.id());
        processes.push(run.id());
        let victim = processes[random.below(processes.len() as u64) as usize];
        kill(victim);
        if victim == run.id() {
            supervisors_killed += 1;
            assert_eq!(wait(&mut run).signal(), Some(9), "round {round}");
            wait_until("a worker outlived its supervisor", || {
                !processes.iter().any(|&pid| is_running(pid))
            });
        } else {
            let status = wait(&mut run);
            assert_eq!(status.code(), Some(1), "round {round}: {status}");
            assert_eq!(
                leftovers(streams.path()),
                Vec::<String>::new(),
                "round {round}"
            );
        }
    }
    assert!(kills < 50 || supervisors_killed > 0);
    // What killed supervisors left, the next start recognises and replaces; its end removes it.
    let status = Command::new(env!("CARGO_BIN_EXE_thalweg"))
        .args(["run", "--frames", "600"])
        .env("THALWEG_SHM_DIR", streams.path())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(leftovers(streams.path()), Vec::<String>::new());
}
