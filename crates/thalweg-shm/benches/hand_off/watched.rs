//! What a writer pays while others watch its stream, none of which it ever waits for.

use std::thread;
use std::time::Duration;

use thalweg_os::{affinity, process};
use thalweg_shm::{ArrayRef, Patience, PublishOptions, Stream, WaitPolicy};

use crate::readers::Reader;
use crate::samples::Samples;
use crate::stream::create;
use crate::{Outcome, println};

const BYTES: usize = 64;
const PERIOD: Duration = Duration::from_millis(1);

/// Publishing 64 bytes while `readers` processes, all on CPU `cpu`, watch in the way of `how`.
///
/// `asleep`: each sleeps until there is a frame. The writer pauses before every frame, so that all
/// of them do. `looking`: each looks once a millisecond, and the writer never pauses.
pub(crate) fn publish(readers: usize, how: &str, rounds: usize, cpu: usize) -> Outcome<String> {
    let name = format!("thalweg-bench.{}.watched", std::process::id());
    let owned = create(&name, BYTES)?;
    let stream = &owned.0;
    let readers = (0..readers)
        .map(|_| Reader::start(&["watcher", &name, how, &cpu.to_string()]))
        .collect::<Outcome<Vec<_>>>()?;
    let frame = [1f32; BYTES / 4];
    let write = || -> Outcome<()> {
        let frame = ArrayRef::from_slice(&frame, stream.shape());
        stream.write(frame, PublishOptions::default(), Patience::ENDLESS)?;
        Ok(())
    };
    let samples = match how {
        "asleep" => Samples::take_after(rounds, || thread::sleep(PERIOD), write)?,
        "looking" => Samples::take(rounds, 64, write)?,
        _ => return Err(format!("expected `asleep` or `looking`, found `{how}`").into()),
    };
    // Its end is what those who sleep wait for.
    drop(owned);
    drop(readers);
    Ok(format!("ns={:.1}", samples.median()))
}

/// The reader's life: it takes every frame it sees, until the stream has ended.
pub(crate) fn watch(name: &str, how: &str, cpu: &str) -> Outcome<()> {
    process::die_with_parent(std::os::unix::process::parent_id())
        .map_err(|_orphaned| "the writer has ended")?;
    affinity::set_allowed_cpus(&[cpu.parse()?])?;
    let stream = Stream::open(name)?;
    let mut frame = [0u8; BYTES];
    let mut seen = stream.count();
    println("ready")?;
    while stream.stale_reason().is_none() {
        if how == "looking" {
            thread::sleep(PERIOD);
        } else {
            match stream.wait_after(seen, WaitPolicy::Park, Patience::ENDLESS) {
                Ok(count) => seen = count,
                Err(_ended) => break,
            }
        }
        stream.read_into(&mut frame, None)?;
        std::hint::black_box(&frame);
    }
    Ok(())
}
