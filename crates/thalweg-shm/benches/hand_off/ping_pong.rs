//! A frame goes there, an answer comes back: the same loop for everything that can carry one.

use crate::Outcome;
use crate::samples::{Samples, calls};

/// One end of a connection that carries numbered frames.
pub(crate) trait Side {
    /// Sends frame `number`.
    fn send(&mut self, number: u64) -> Outcome<()>;
    /// Waits for frame `number` of the other side, and takes it.
    fn receive(&mut self, number: u64) -> Outcome<()>;
}

/// How often, and how many round trips make one sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) round_trips: usize,
    pub(crate) batch: usize,
}

/// Sends first; the duration of round trips.
pub(crate) fn lead(side: &mut impl Side, extent: Extent) -> Outcome<Samples> {
    let mut number = 0;
    Samples::take(extent.round_trips, extent.batch, || {
        number += 1;
        side.send(number)?;
        side.receive(number)
    })
}

/// Answers every frame.
pub(crate) fn follow(side: &mut impl Side, extent: Extent) -> Outcome<()> {
    for number in 1..=calls(extent.round_trips, extent.batch) as u64 {
        side.receive(number)?;
        side.send(number)?;
    }
    Ok(())
}
