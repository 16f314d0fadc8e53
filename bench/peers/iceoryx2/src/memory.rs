//! What one publisher and its subscribers occupy.

use std::io::{self, BufRead};

use thalweg_os::process;

use crate::readers::Reader;
use crate::{Outcome, footprint, node, println};

const SERVICE: &str = "large";

/// Publishes `frames` frames of `bytes` bytes to `readers` processes, each of which reads every one
/// of them in place. `held`: it keeps it until it is told to read the next; `released`: it gives it
/// back at once.
pub(crate) fn measure(
    prefix: &str,
    bytes: usize,
    readers: usize,
    frames: usize,
    how: &str,
) -> Outcome<String> {
    let node = node::node(prefix)?;
    let publisher = node::publisher(&node, SERVICE, bytes)?;
    let mut readers = (0..readers)
        .map(|_| Reader::start(&["reader", how, prefix]))
        .collect::<Outcome<Vec<_>>>()?;
    for number in 0..frames {
        // In place, so that no frame outside of shared memory is counted.
        let sample = publisher.loan_slice_uninit(bytes)?;
        sample.write_from_fn(|_index| number as u8).send()?;
        footprint::let_read(&mut readers)?;
    }
    footprint::report(&readers, prefix)
}

/// A subscriber that takes a frame whenever it is told to.
pub(crate) fn read(how: &str, prefix: &str) -> Outcome<()> {
    process::die_with_parent(std::os::unix::process::parent_id())
        .map_err(|_orphaned| "the publisher has ended")?;
    let node = node::node(prefix)?;
    let subscriber = node::subscriber(&node, SERVICE)?;
    println("ready")?;
    let mut held = None;
    for line in io::stdin().lock().lines() {
        line?;
        drop(held.take());
        let sample = subscriber.receive()?.ok_or("no sample")?;
        for byte in sample.payload().iter().step_by(footprint::PAGE_BYTES) {
            std::hint::black_box(byte);
        }
        held = Some(sample).filter(|_| how == "held");
        println("done")?;
    }
    Ok(())
}
