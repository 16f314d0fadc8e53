//! The loop of a source: lend it the next slots, publish what it produced.

use std::sync::atomic::Ordering;
use std::time::Duration;

use smallvec::SmallVec;
use thalweg_kernels::{AuxiliaryFrame, NodeError, Produced, Source, SourceContext};
use thalweg_os::clock::{deadline_after, monotonic_ns};
use thalweg_os::futex;
use thalweg_shm::counters::command;
use thalweg_shm::stream::error::WaitError;
use thalweg_shm::{ArrayMut, Loan, Patience, PublishOptions, Stream, WaitPolicy};

use super::message::WorkerReport;
use super::worker::{Worker, WorkerFailure, add, report, wait_for_go};

/// Outputs up to this number are handled without allocating.
const FEW: usize = 4;

/// Runs `source` until told to stop or until it comes to its end.
pub(super) fn run_source(
    worker: &mut Worker,
    mut source: Box<dyn Source>,
) -> Result<(), WorkerFailure> {
    let auxiliary = worker.open(&worker.order.auxiliary.clone())?;
    let outputs = worker.open(&worker.order.outputs.clone())?;
    worker.report_ready(source.figure_definitions())?;
    wait_for_go()?;
    loop {
        match worker.command() {
            command::STOP => return Ok(()),
            command::PAUSE => {
                worker.sleep_paused();
                continue;
            }
            _ => {}
        }
        let began_ns = monotonic_ns();
        match produce(worker, source.as_mut(), &auxiliary, &outputs, began_ns)? {
            Produced::Frame { .. } => worker.publish_figures(|values| source.figures(values)),
            Produced::Nothing => {}
            Produced::Finished => {
                worker.publish_figures(|values| source.figures(values));
                return report(&WorkerReport::Finished).map_err(WorkerFailure::of);
            }
        }
    }
}

/// One frame, or none because a stop or a pause came first.
fn produce(
    worker: &Worker,
    source: &mut dyn Source,
    auxiliary: &[Stream],
    outputs: &[Stream],
    began_ns: u64,
) -> Result<Produced, WorkerFailure> {
    let mut loans: SmallVec<[Loan; FEW]> = SmallVec::new();
    for output in outputs {
        loans.push(output.loan(Patience::ENDLESS).map_err(WorkerFailure::of)?);
    }
    let mut arrays: SmallVec<[ArrayMut<'_>; FEW]> = SmallVec::new();
    for loan in &mut loans {
        arrays.push(loan.array().map_err(WorkerFailure::of)?);
    }
    let mut context = Context { worker, auxiliary };
    let produced = loop {
        let produced = source.produce(&mut context, &mut arrays)?;
        if produced != Produced::Nothing || worker.is_interrupted() {
            break produced;
        }
        // The slots stay lent meanwhile: nothing was written to them that anybody waits for.
        context.sleep_until(monotonic_ns() + worker.order.poll_interval_ns);
    };
    drop(arrays);
    let Produced::Frame { frame_id } = produced else {
        return Ok(produced);
    };
    let origin_ns = Some(monotonic_ns());
    let counters = worker.counters();
    for (index, loan) in loans.into_iter().enumerate() {
        let published = loan
            .publish(PublishOptions {
                frame_id,
                origin_ns,
            })
            .map_err(WorkerFailure::of)?;
        if index == 0 {
            counters
                .output_count
                .store(published.count, Ordering::Relaxed);
        }
    }
    let ended_ns = monotonic_ns();
    counters.execution.record(ended_ns - began_ns);
    counters.last_frame_ns.store(ended_ns, Ordering::Relaxed);
    add(&counters.frames, 1);
    Ok(produced)
}

struct Context<'a> {
    worker: &'a Worker,
    auxiliary: &'a [Stream],
}

impl Context<'_> {
    fn stream(&self, index: usize) -> Result<&Stream, NodeError> {
        self.auxiliary.get(index).ok_or_else(|| {
            NodeError::Failed(format!(
                "there is no auxiliary stream {index}, only {}",
                self.auxiliary.len()
            ))
        })
    }
}

fn failed(error: impl std::fmt::Display) -> NodeError {
    NodeError::Failed(error.to_string())
}

impl SourceContext for Context<'_> {
    fn stop_requested(&self) -> bool {
        self.worker.is_interrupted()
    }

    fn now_ns(&self) -> u64 {
        monotonic_ns()
    }

    fn sleep_until(&mut self, deadline_ns: u64) -> bool {
        while !self.stop_requested() && monotonic_ns() < deadline_ns {
            let word = &self.worker.counters().command;
            futex::wait(word, command::RUN, Some(deadline_ns));
        }
        self.stop_requested()
    }

    fn read_auxiliary(
        &mut self,
        index: usize,
        out: &mut ArrayMut<'_>,
    ) -> Result<Option<AuxiliaryFrame>, NodeError> {
        let stream = self.stream(index)?;
        if stream.count() == 0 {
            return Ok(None);
        }
        let read = stream.read_into_array(out, None).map_err(failed)?;
        Ok(Some(AuxiliaryFrame {
            count: read.count,
            frame_id: read.frame_id,
        }))
    }

    fn wait_auxiliary(
        &mut self,
        index: usize,
        frame_id: u64,
        timeout: Duration,
        out: &mut ArrayMut<'_>,
    ) -> Result<Option<AuxiliaryFrame>, NodeError> {
        let stream = self.stream(index)?;
        let interrupt = || self.worker.is_interrupted();
        let patience = Patience {
            deadline_ns: Some(deadline_after(timeout)),
            interrupt: Some(&interrupt),
        };
        loop {
            let newest = stream.newest();
            if newest.count > 0 && newest.frame_id >= frame_id {
                let read = stream.read_into_array(out, None).map_err(failed)?;
                return Ok(Some(AuxiliaryFrame {
                    count: read.count,
                    frame_id: read.frame_id,
                }));
            }
            match stream.wait_for_frame(newest.count, WaitPolicy::Adaptive, patience) {
                Ok(_) => {}
                Err(WaitError::TimedOut { .. } | WaitError::Interrupted { .. }) => return Ok(None),
                Err(error) => return Err(failed(error)),
            }
        }
    }
}
