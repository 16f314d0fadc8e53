//! What a writer pays while nobody waits.

use std::hint::black_box;

use thalweg_os::clock::monotonic_ns;
use thalweg_shm::{ArrayRef, Patience, PublishOptions};

use crate::Outcome;
use crate::arena::{Arena, BUFFER_BYTES};
use crate::samples::Samples;
use crate::stream::create;

const BATCH: usize = 64;

/// Reading the monotonic clock, which no publication can do without.
pub(crate) fn read_clock(rounds: usize) -> Outcome<String> {
    let samples = Samples::take(rounds, BATCH, || {
        black_box(monotonic_ns());
        Ok(())
    })?;
    Ok(format!("ns={:.1}", samples.median()))
}

/// Publishing 64 bytes with their record; `is_locked`: by a writer that keeps the lock.
pub(crate) fn publish(rounds: usize, is_locked: bool) -> Outcome<String> {
    let samples = written(64, rounds, BATCH, is_locked)?;
    Ok(format!("ns={:.1}", samples.median()))
}

/// Writing frames that are limited by the memory.
pub(crate) fn write(bytes: usize, rounds: usize) -> Outcome<String> {
    Ok(bandwidth(bytes, &written(bytes, rounds, 1, true)?))
}

fn written(bytes: usize, rounds: usize, batch: usize, is_locked: bool) -> Outcome<Samples> {
    let name = format!("thalweg-bench.{}.written", std::process::id());
    let owned = create(&name, bytes)?;
    let stream = &owned.0;
    let lock = match is_locked {
        true => Some(stream.lock(Patience::ENDLESS)?),
        false => None,
    };
    let frame = vec![1.0f32; bytes / 4];
    let samples = Samples::take(rounds, batch, || {
        let frame = ArrayRef::from_slice(&frame, stream.shape());
        stream.write(frame, PublishOptions::default(), Patience::ENDLESS)?;
        Ok(())
    });
    drop(lock);
    samples
}

/// Copying into shared memory and nothing else: into as many buffers in turn as a stream has.
pub(crate) fn copy_raw(bytes: usize, rounds: usize) -> Outcome<String> {
    let arena = Arena::create()?;
    let frame = vec![1u8; bytes.min(BUFFER_BYTES)];
    let mut buffer = 0;
    let samples = Samples::take(rounds, 1, || {
        arena.copy_in(buffer, &frame);
        buffer += 1;
        Ok(())
    })?;
    Ok(bandwidth(frame.len(), &samples))
}

fn bandwidth(bytes: usize, samples: &Samples) -> String {
    // Bytes per nanosecond are gigabytes per second.
    format!(
        "ns={:.1} gb_per_s={:.3}",
        samples.median(),
        bytes as f64 / samples.median()
    )
}
