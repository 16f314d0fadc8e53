//! Random kills of any process of a pipeline whose nodes are started again: it resumes every time.
//! Only the death of the supervisor ends it, and then nothing outlives that.

use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::Duration;

use thalweg::{Patience, StreamDirectory, WaitPolicy};
use thalweg_os::clock::deadline_after;

use super::support::{
    Random, WATCHDOG, children_of, is_running, kill, kills, leftovers, start, streams, wait,
    wait_until,
};

/// Sources, kernels with a process each, a group, a sink that writes nothing.
const YAML: &str = "
shared_memory:
  - {name: camera, shape: [16], dtype: float32}
  - {name: a, shape: [16], dtype: float32}
  - {name: b, shape: [16], dtype: float32}
  - {name: c, shape: [16], dtype: float32}
  - {name: result, shape: [16], dtype: float32}
sources:
  - {name: pattern, kind: synthetic.array, stream: camera, restart: RESTART, parameters: {rate_hz: 2000}}
kernels:
  - {name: first, kind: cpu.scale, input: camera, output: a, restart: RESTART, parameters: {factor: 2}}
  - {name: second, kind: cpu.copy, input: a, output: b, restart: RESTART, group: pair}
  - {name: third, kind: cpu.copy, input: b, output: c, restart: RESTART, group: pair}
  - {name: fourth, kind: cpu.leaky_integrator, input: c, output: result, restart: RESTART,
     parameters: {leak: 0.5, gain: 0.5}}
sinks:
  - {name: drop, kind: null.sink, stream: result, restart: RESTART}
";
const RESTART: &str = "{policy: on-failure, backoff_s: 0.001, backoff_max_s: 0.01}";
/// Processes: a source, three of kernels, a sink.
const WORKERS: usize = 5;

/// Waits until frames come out that cannot have been on their way before.
fn wait_for_frames(directory: &StreamDirectory, run: &mut Child) {
    wait_until("not all workers are there", || {
        children_of(run.id()).len() == WORKERS
    });
    let patience = || Patience::until(deadline_after(WATCHDOG));
    let stream = directory.open("result").unwrap();
    let mut count = stream.count();
    // More than the streams in between can hold.
    for _ in 0..8 {
        count = stream
            .wait_after(count, WaitPolicy::Park, patience())
            .unwrap();
    }
    assert!(run.try_wait().unwrap().is_none(), "the run has ended");
}

#[test]
fn whatever_is_killed_the_pipeline_resumes() {
    let kills = kills(150);
    let streams = streams();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipeline.yaml");
    std::fs::write(&path, YAML.replace("RESTART", RESTART)).unwrap();
    let arguments = ["run", path.to_str().unwrap()];
    let directory = StreamDirectory::new(streams.path());
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut supervisors_killed = 0;
    let mut run = start(streams.path(), &arguments);
    wait_until("the streams were never made", || {
        directory.open("result").is_ok()
    });
    let mut is_new = true;
    for round in 0..kills {
        // Mostly at work, but also in the middle of coming back; a pipeline that loses a worker before
        // it has started does not start.
        if is_new || random.below(4) > 0 {
            wait_for_frames(&directory, &mut run);
        }
        is_new = false;
        std::thread::park_timeout(Duration::from_micros(random.below(3_000)));
        let workers = children_of(run.id());
        if random.below(25) == 0 || workers.is_empty() {
            supervisors_killed += 1;
            kill(run.id());
            assert_eq!(wait(&mut run).signal(), Some(9), "round {round}");
            wait_until("a worker outlived its supervisor", || {
                !workers.iter().any(|&pid| is_running(pid))
            });
            run = start(streams.path(), &arguments);
            is_new = true;
            // The new run replaces what the old one has left.
            wait_until("the new run did not begin", || {
                directory
                    .open("result")
                    .is_ok_and(|stream| !stream.is_abandoned())
            });
        } else {
            kill(workers[random.below(workers.len() as u64) as usize]);
        }
    }
    wait_for_frames(&directory, &mut run);
    assert!(kills < 100 || supervisors_killed > 0);
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&run),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    assert_eq!(wait(&mut run).code(), Some(130), "ends when it is asked to");
    assert_eq!(leftovers(streams.path()), Vec::<String>::new());
}
