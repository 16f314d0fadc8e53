//! What a publisher pays for a sample that nobody takes.

use crate::samples::Samples;
use crate::{Outcome, node};

const BYTES: usize = 64;
const BATCH: usize = 64;

/// Publishing 64 bytes to this many subscribers, none of which ever looks.
pub(crate) fn publish(prefix: &str, subscribers: usize, rounds: usize) -> Outcome<String> {
    let node = node::node(prefix)?;
    let service = "published";
    let publisher = node::publisher(&node, service, BYTES)?;
    let subscribers = (0..subscribers)
        .map(|_| node::subscriber(&node, service))
        .collect::<Outcome<Vec<_>>>()?;
    let frame = [1u8; BYTES];
    let samples = Samples::take(rounds, BATCH, || {
        let sample = publisher.loan_slice_uninit(BYTES)?;
        sample.write_from_slice(&frame).send()?;
        Ok(())
    })?;
    drop(subscribers);
    Ok(format!("ns={:.1}", samples.median()))
}
