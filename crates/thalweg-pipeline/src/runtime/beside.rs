//! What sources and sinks do with streams beside the frame at hand: read auxiliary ones, write
//! outputs by themselves.

use std::sync::atomic::Ordering;

use thalweg_kernels::{AuxiliaryFrame, FillOutput, NodeError};
use thalweg_shm::counters::command;
use thalweg_shm::stream::error::{LockError, WriteError};
use thalweg_shm::{ArrayMut, Loan, Patience, Publication, PublishOptions, Stream};

use super::worker::Worker;

/// Whatever the system says, in the words of a node.
pub(super) fn failed(error: impl std::fmt::Display) -> NodeError {
    NodeError::Failed(error.to_string())
}

/// Stream `index` of those a node knows as `role`.
pub(super) fn stream<'a>(
    streams: &'a [Stream],
    index: usize,
    role: &str,
) -> Result<&'a Stream, NodeError> {
    streams.get(index).ok_or_else(|| {
        NodeError::Failed(format!(
            "there is no {role} stream {index}, only {}",
            streams.len()
        ))
    })
}

/// Copies the newest publication of auxiliary stream `index`; `None` before the first.
pub(super) fn read_newest(
    auxiliary: &[Stream],
    index: usize,
    out: &mut ArrayMut<'_>,
) -> Result<Option<AuxiliaryFrame>, NodeError> {
    let stream = stream(auxiliary, index, "auxiliary")?;
    if stream.count() == 0 {
        return Ok(None);
    }
    let read = stream.read_into_array(out, None).map_err(failed)?;
    Ok(Some(AuxiliaryFrame {
        count: read.count,
        frame_id: read.frame_id,
    }))
}

/// Lends a slot of `stream`; `None` if `interrupt` ends the wait for room in it.
pub(super) fn lend(
    stream: &Stream,
    interrupt: &dyn Fn() -> bool,
) -> Result<Option<Loan>, WriteError> {
    let patience = Patience {
        deadline_ns: None,
        interrupt: Some(interrupt),
    };
    match stream.loan(patience) {
        Ok(loan) => Ok(Some(loan)),
        Err(WriteError::Interrupted { .. } | WriteError::Lock(LockError::Interrupted { .. })) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// As [`lend`], for a frame that is on its way already: the wait goes on through a pause, and only
/// the order to end makes it `None`.
pub(super) fn lend_until_stop(
    worker: &Worker,
    stream: &Stream,
) -> Result<Option<Loan>, WriteError> {
    lend(stream, &|| worker.command() == command::STOP)
}

/// Lends a slot of output `index`, has it filled and publishes it; after an error of `fill` the
/// stream keeps its last frame. A wait for room goes on through a pause; `None` if the worker has to
/// end before there is any.
pub(super) fn write_slot(
    worker: &Worker,
    outputs: &[Stream],
    index: usize,
    options: PublishOptions,
    fill: FillOutput<'_>,
) -> Result<Option<Publication>, NodeError> {
    let stream = stream(outputs, index, "output")?;
    let Some(mut loan) = lend_until_stop(worker, stream).map_err(failed)? else {
        return Ok(None);
    };
    fill(&mut loan.array().map_err(failed)?)?;
    let published = loan.publish(options).map_err(failed)?;
    if index == 0 {
        worker
            .counters()
            .output_count
            .store(published.count, Ordering::Relaxed);
    }
    Ok(Some(published))
}

/// What a node is told whose output found no room before the end.
pub(super) fn cut_short(index: usize) -> NodeError {
    NodeError::Failed(format!(
        "told to stop while waiting for room in output {index}"
    ))
}
