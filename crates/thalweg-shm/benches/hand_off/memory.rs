//! What a writer and its readers occupy.

use std::hint::black_box;
use std::io::{self, BufRead};

use thalweg_os::process;
use thalweg_shm::segment::name::file_name;
use thalweg_shm::{DType, Patience, PublishOptions, Stream, StreamOptions};

use crate::readers::Reader;
use crate::stream::OwnedStream;
use crate::{Outcome, footprint, println};

/// Publishes `frames` frames of `bytes` bytes to `readers` processes, each of which reads every one
/// of them in place. `held`: it keeps it until it is told to read the next, for which the stream
/// has the slots; `released`: it gives it back at once.
pub(crate) fn measure(bytes: usize, readers: usize, frames: usize, how: &str) -> Outcome<String> {
    let name = format!("thalweg-bench.{}.large", std::process::id());
    let options = StreamOptions {
        ends_with_creator: true,
        ..StreamOptions::new(DType::Float32, &[bytes / 4])
    };
    let owned = OwnedStream(match how {
        "released" => Stream::create(&name, &options)?,
        "held" => {
            let slots = 2 + readers;
            Stream::create(&name, &StreamOptions { slots, ..options })?
        }
        _ => return Err(format!("expected `held` or `released`, found `{how}`").into()),
    });
    let stream = &owned.0;
    let mut readers = (0..readers)
        .map(|_| Reader::start(&["reader", &name, how]))
        .collect::<Outcome<Vec<_>>>()?;
    for _ in 0..frames {
        // In place, so that no frame outside of shared memory is counted.
        let mut loan = stream.loan(Patience::ENDLESS)?;
        loan.array()?.clear();
        loan.publish(PublishOptions::default())?;
        footprint::let_read(&mut readers)?;
    }
    footprint::report(&readers, &file_name(&name)?)
}

/// The reader's life: it looks at the newest frame whenever it is told to.
pub(crate) fn read(name: &str, how: &str) -> Outcome<()> {
    process::die_with_parent(std::os::unix::process::parent_id())
        .map_err(|_orphaned| "the writer has ended")?;
    let stream = Stream::open(name)?;
    println("ready")?;
    let mut held = None;
    for line in io::stdin().lock().lines() {
        line?;
        // Before the next is borrowed: one at a time.
        drop(held.take());
        let frame = stream.borrow()?;
        let array = frame.array();
        let mut element = [0f32];
        for start in (0..array.len()).step_by(footprint::PAGE_BYTES / size_of::<f32>()) {
            array.copy_range_to(start, &mut element)?;
            black_box(element);
        }
        held = Some(frame).filter(|_| how == "held");
        println("done")?;
    }
    Ok(())
}
