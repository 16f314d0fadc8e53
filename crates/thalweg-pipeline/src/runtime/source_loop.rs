//! The loop of a source: lend it the next slots, publish what it produced.

use std::sync::atomic::Ordering;
use std::time::Duration;

use smallvec::SmallVec;
use thalweg_kernels::{AuxiliaryFrame, FillOutput, NodeError, Produced, Source, SourceContext};
use thalweg_os::clock::{deadline_after, monotonic_ns};
use thalweg_shm::counters::command;
use thalweg_shm::stream::error::WaitError;
use thalweg_shm::{ArrayMut, Loan, Patience, Publication, PublishOptions, Stream, WaitPolicy};

use super::beside::{cut_short, failed, lend, read_newest, stream, write_slot};
use super::message::WorkerReport;
use super::pipes::{report, wait_for_go};
use super::worker::{Worker, WorkerFailure, add};

/// Outputs up to this number are handled without allocating.
const FEW: usize = 4;

/// Runs `source` until told to stop or until it comes to its end.
pub(super) fn run_source(
    worker: &mut Worker,
    mut source: Box<dyn Source>,
) -> Result<(), WorkerFailure> {
    let auxiliary = worker.open(&worker.order.auxiliary.clone())?;
    let outputs = worker.open(&worker.order.outputs.clone())?;
    let opened = source.open(&mut Context {
        worker,
        auxiliary: &auxiliary,
        outputs: &[],
        is_cut_short: false,
    });
    let outcome = match opened {
        Ok(()) => produce_all(worker, source.as_mut(), &auxiliary, &outputs),
        Err(error) => Err(error.into()),
    };
    let closed = source.close().map_err(WorkerFailure::from);
    // What went wrong first is what is told; an end without any trouble is told last.
    if outcome.and_then(|is_finished| closed.map(|()| is_finished))? {
        report(&WorkerReport::Finished).map_err(WorkerFailure::of)?;
    }
    Ok(())
}

/// Returns whether the source came to its end, rather than being told to stop.
fn produce_all(
    worker: &mut Worker,
    source: &mut dyn Source,
    auxiliary: &[Stream],
    outputs: &[Stream],
) -> Result<bool, WorkerFailure> {
    worker.report_ready(source.figure_definitions())?;
    if !wait_for_go(|| worker.command() == command::STOP)? {
        return Ok(false);
    }
    let writes_outputs = source.writes_outputs();
    loop {
        match worker.command() {
            command::STOP => return Ok(false),
            command::PAUSE => {
                worker.sleep_paused();
                continue;
            }
            _ => {}
        }
        let produced = if writes_outputs {
            produce_by_itself(worker, source, auxiliary, outputs)?
        } else {
            produce(worker, source, auxiliary, outputs)?
        };
        match produced {
            Produced::Frame { .. } => worker.publish_figures(|values| source.figures(values)),
            Produced::Nothing => {}
            Produced::Finished => {
                worker.publish_figures(|values| source.figures(values));
                return Ok(true);
            }
        }
    }
}

/// One generation of a source that writes its outputs by itself.
fn produce_by_itself(
    worker: &Worker,
    source: &mut dyn Source,
    auxiliary: &[Stream],
    outputs: &[Stream],
) -> Result<Produced, WorkerFailure> {
    let began_ns = monotonic_ns();
    let mut context = Context {
        worker,
        auxiliary,
        outputs,
        is_cut_short: false,
    };
    let produced = match source.produce(&mut context, &mut []) {
        // Whatever it says about that: there is nothing wrong with it.
        Err(_) if context.is_cut_short => Produced::Nothing,
        outcome => outcome?,
    };
    match produced {
        Produced::Frame { .. } => {
            if let Some(first) = outputs.first() {
                let count = &worker.counters().output_count;
                count.store(first.count(), Ordering::Relaxed);
            }
            count_frame(worker, began_ns);
        }
        Produced::Nothing => {
            context.sleep_until(monotonic_ns() + worker.order.poll_interval_ns);
        }
        Produced::Finished => {}
    }
    Ok(produced)
}

/// One frame, or none because a stop or a pause came first.
fn produce(
    worker: &Worker,
    source: &mut dyn Source,
    auxiliary: &[Stream],
    outputs: &[Stream],
) -> Result<Produced, WorkerFailure> {
    let began_ns = monotonic_ns();
    let mut loans: SmallVec<[Loan; FEW]> = SmallVec::new();
    for output in outputs {
        // Nothing was produced yet that a pause could lose.
        let interrupt = || worker.is_interrupted();
        let Some(loan) = lend(output, &interrupt).map_err(WorkerFailure::of)? else {
            return Ok(Produced::Nothing);
        };
        loans.push(loan);
    }
    let mut arrays: SmallVec<[ArrayMut<'_>; FEW]> = SmallVec::new();
    for loan in &mut loans {
        arrays.push(loan.array().map_err(WorkerFailure::of)?);
    }
    let mut context = Context {
        worker,
        auxiliary,
        outputs: &[],
        is_cut_short: false,
    };
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
    for (index, loan) in loans.into_iter().enumerate() {
        let published = loan
            .publish(PublishOptions {
                frame_id,
                origin_ns,
            })
            .map_err(WorkerFailure::of)?;
        if index == 0 {
            worker
                .counters()
                .output_count
                .store(published.count, Ordering::Relaxed);
        }
    }
    count_frame(worker, began_ns);
    Ok(produced)
}

fn count_frame(worker: &Worker, began_ns: u64) {
    let counters = worker.counters();
    let ended_ns = monotonic_ns();
    counters.record_execution(ended_ns - began_ns);
    counters.last_frame_ns.store(ended_ns, Ordering::Relaxed);
    add(&counters.frames, 1);
}

struct Context<'a> {
    worker: &'a Worker,
    auxiliary: &'a [Stream],
    /// Those the source writes by itself; none of a source that is lent slots.
    outputs: &'a [Stream],
    /// True once an output had no room until the worker had to end.
    is_cut_short: bool,
}

impl Context<'_> {
    /// Waits until `is_enough` holds of the newest publication of auxiliary stream `index`.
    fn wait(
        &self,
        index: usize,
        timeout: Duration,
        is_enough: impl Fn(&Publication) -> bool,
    ) -> Result<Option<&Stream>, NodeError> {
        let stream = stream(self.auxiliary, index, "auxiliary")?;
        let interrupt = || self.worker.is_interrupted();
        let patience = Patience {
            deadline_ns: Some(deadline_after(timeout)),
            interrupt: Some(&interrupt),
        };
        loop {
            let newest = stream.newest();
            if newest.count > 0 && is_enough(&newest) {
                return Ok(Some(stream));
            }
            match stream.wait_for_frame(newest.count, WaitPolicy::Adaptive, patience) {
                Ok(_) => {}
                Err(WaitError::TimedOut { .. } | WaitError::Interrupted { .. }) => return Ok(None),
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

impl SourceContext for Context<'_> {
    fn stop_requested(&self) -> bool {
        self.worker.is_interrupted()
    }

    fn now_ns(&self) -> u64 {
        monotonic_ns()
    }

    fn sleep_until(&mut self, deadline_ns: u64) -> bool {
        self.worker.sleep_until(deadline_ns)
    }

    fn read_auxiliary(
        &mut self,
        index: usize,
        out: &mut ArrayMut<'_>,
    ) -> Result<Option<AuxiliaryFrame>, NodeError> {
        read_newest(self.auxiliary, index, out)
    }

    fn wait_auxiliary(
        &mut self,
        index: usize,
        frame_id: u64,
        timeout: Duration,
        out: &mut ArrayMut<'_>,
    ) -> Result<Option<AuxiliaryFrame>, NodeError> {
        let is_enough = |newest: &Publication| newest.frame_id >= frame_id;
        let Some(stream) = self.wait(index, timeout, is_enough)? else {
            return Ok(None);
        };
        let read = stream.read_into_array(out, None).map_err(failed)?;
        Ok(Some(AuxiliaryFrame {
            count: read.count,
            frame_id: read.frame_id,
        }))
    }

    fn wait_publication(
        &mut self,
        index: usize,
        after_count: u64,
        timeout: Duration,
    ) -> Result<Option<AuxiliaryFrame>, NodeError> {
        let is_enough = |newest: &Publication| newest.count > after_count;
        let waited = self.wait(index, timeout, is_enough)?;
        Ok(waited.map(|stream| {
            let newest = stream.newest();
            AuxiliaryFrame {
                count: newest.count,
                frame_id: newest.frame_id,
            }
        }))
    }

    fn write_output(
        &mut self,
        index: usize,
        options: PublishOptions,
        fill: FillOutput<'_>,
    ) -> Result<Publication, NodeError> {
        let written = write_slot(self.worker, self.outputs, index, options, fill)?;
        written.ok_or_else(|| {
            self.is_cut_short = true;
            cut_short(index)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes its outputs by itself.
    struct Scripted<F>(F);

    impl<F> Source for Scripted<F>
    where
        F: FnMut(&mut dyn SourceContext) -> Result<Produced, NodeError> + Send,
    {
        fn writes_outputs(&self) -> bool {
            true
        }

        fn produce(
            &mut self,
            context: &mut dyn SourceContext,
            _outputs: &mut [ArrayMut<'_>],
        ) -> Result<Produced, NodeError> {
            (self.0)(context)
        }
    }

    #[test]
    fn an_exception_of_a_source_that_writes_by_itself_keeps_its_traceback() {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let worker = Worker::in_test(folder.path());
        let mut source = Scripted(|_: &mut dyn SourceContext| {
            Err(NodeError::Raised {
                message: "ValueError: no camera".to_owned(),
                traceback: "camera.py, line 3".to_owned(),
            })
        });
        let failure = produce_by_itself(&worker, &mut source, &[], &[]).unwrap_err();
        assert_eq!(failure.error, "ValueError: no camera");
        assert_eq!(failure.traceback.as_deref(), Some("camera.py, line 3"));
    }
}
