//! Random kills of any process of the default pipeline, whose nodes are not started again: the run
//! ends, and nothing is left after it or after the next start.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::support::{
    Random, children_of, is_running, kill, kills, leftovers, start, streams, wait, wait_until,
};

#[test]
fn whatever_is_killed_nothing_hangs_and_nothing_stays() {
    let kills = kills(200);
    let streams = streams();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut supervisors_killed = 0;
    for round in 0..kills {
        let mut run = start(streams.path(), &["run", "--frames", "1000000"]);
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
