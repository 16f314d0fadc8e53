//! Waiting for a producer that keeps a pace: how late a frame is seen, and what waiting costs.

use std::io::{self, BufRead};
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use thalweg_os::clock::monotonic_ns;
use thalweg_os::{affinity, process};
use thalweg_shm::{ArrayRef, Patience, PublishOptions, Stream, WaitPolicy};

use crate::readers::Reader;
use crate::samples::Samples;
use crate::stream::create;
use crate::{Outcome, println};

const BYTES: usize = 64;

/// Publishes a frame every `period_us` microseconds to one reader that waits in the way of `policy`
/// and may run on both of `cpus`: one that is tied to a single CPU never spins.
pub(crate) fn measure(
    policy: &str,
    period_us: u64,
    frames: usize,
    cpus: [usize; 2],
) -> Outcome<String> {
    let name = format!("thalweg-bench.{}.paced", std::process::id());
    let owned = create(&name, BYTES)?;
    let stream = &owned.0;
    let calls = frames + warm_up_of(frames);
    let [first, second] = cpus.map(|cpu| cpu.to_string());
    let count = frames.to_string();
    let mut reader = Reader::start(&["waiter", &name, policy, &count, &first, &second])?;
    reader.tell("begin")?;
    let frame = [1f32; BYTES / 4];
    let mut due_ns = monotonic_ns() + 10_000_000;
    for _ in 0..calls {
        // As a camera does: it sleeps until the frame is due, and is a little late.
        thread::sleep(Duration::from_nanos(due_ns.saturating_sub(monotonic_ns())));
        let frame = ArrayRef::from_slice(&frame, stream.shape());
        stream.write(frame, PublishOptions::default(), Patience::ENDLESS)?;
        due_ns += 1000 * period_us;
    }
    let answer = reader.answer()?;
    if answer.is_empty() {
        return Err("the reader has ended".into());
    }
    Ok(answer)
}

fn warm_up_of(frames: usize) -> usize {
    (frames / 5).max(20)
}

/// The reader's life.
pub(crate) fn wait(name: &str, policy: &str, frames: &str, cpus: [&str; 2]) -> Outcome<()> {
    process::die_with_parent(std::os::unix::process::parent_id())
        .map_err(|_orphaned| "the writer has ended")?;
    affinity::set_allowed_cpus(&[cpus[0].parse()?, cpus[1].parse()?])?;
    let policy = match policy {
        "adaptive" => WaitPolicy::Adaptive,
        "park" => WaitPolicy::Park,
        other => return Err(format!("expected `adaptive` or `park`, found `{other}`").into()),
    };
    let frames: usize = frames.parse()?;
    let stream = Stream::open(name)?;
    println("ready")?;
    io::stdin().lock().read_line(&mut String::new())?;
    // Counted by the writer's frames: one that a busy machine made us miss does not come again.
    let first = stream.count();
    let warm = first + warm_up_of(frames) as u64;
    let last = warm + frames as u64;
    let mut seen = first;
    let mut latencies = Vec::with_capacity(frames);
    let (mut began_ns, mut began_cpu_ns) = (0, 0);
    while seen < last {
        if began_ns == 0 && seen >= warm {
            (began_ns, began_cpu_ns) = (monotonic_ns(), processor_ns());
        }
        seen = stream.wait_after(seen, policy, Patience::ENDLESS)?;
        let now_ns = monotonic_ns();
        if began_ns > 0 {
            latencies.push(now_ns.saturating_sub(stream.newest().publish_ns) as f64);
        }
    }
    let spent = (processor_ns() - began_cpu_ns) as f64 / (monotonic_ns() - began_ns) as f64;
    let latencies = Samples::of(latencies);
    println(&format!(
        "p50_us={:.3} p99_us={:.3} processor_percent={:.3}",
        latencies.median() / 1000.0,
        latencies.quantile(0.99) / 1000.0,
        100.0 * spent
    ))?;
    Ok(())
}

/// Processor time this process has spent.
fn processor_ns() -> u64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    spent.tv_sec.cast_unsigned() * 1_000_000_000 + spent.tv_nsec.cast_unsigned()
}
