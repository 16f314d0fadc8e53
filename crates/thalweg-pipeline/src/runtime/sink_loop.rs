//! The loop of a sink: wait for a frame, consume it in place.

use std::sync::atomic::Ordering;

use thalweg_kernels::{AuxiliaryFrame, FillOutput, NodeError, Sink, SinkContext, SinkFrame};
use thalweg_os::clock::monotonic_ns;
use thalweg_shm::Patience;
use thalweg_shm::counters::command;
use thalweg_shm::{ArrayMut, Publication, PublishOptions, Stream};

use super::beside::{cut_short, read_newest, write_slot};
use super::worker::{Trigger, Worker, WorkerFailure, add, trigger};

/// Runs `sink` until told to stop.
pub(super) fn run_sink(worker: &mut Worker, mut sink: Box<dyn Sink>) -> Result<(), WorkerFailure> {
    let auxiliary = worker.open(&worker.order.auxiliary.clone())?;
    let outputs = worker.open(&worker.order.outputs.clone())?;
    let opened = sink.open(&mut Context {
        is_restart: is_restart(worker),
        worker,
        auxiliary: &auxiliary,
        outputs: &outputs,
        origin_ns: None,
        is_cut_short: false,
    });
    let outcome = match opened {
        Ok(()) => consume_all(worker, sink.as_mut(), &auxiliary, &outputs),
        Err(error) => Err(error.into()),
    };
    let closed = sink.close().map_err(WorkerFailure::from);
    // What went wrong first is what is told.
    outcome.and(closed)
}

fn consume_all(
    worker: &mut Worker,
    sink: &mut dyn Sink,
    auxiliary: &[Stream],
    outputs: &[Stream],
) -> Result<(), WorkerFailure> {
    let is_restart = is_restart(worker);
    let mut inputs = worker.open_inputs(&worker.order.inputs.clone())?;
    let Some(input) = inputs.first_mut() else {
        return Err(WorkerFailure::of("a sink needs a stream"));
    };
    input.skip_to_now();
    worker.report_ready(sink.figure_definitions())?;
    loop {
        match worker.command() {
            command::STOP => return Ok(()),
            command::PAUSE => {
                worker.sleep_paused();
                continue;
            }
            _ => {}
        }
        if let Some(seen) = worker.take_over() {
            input.go_on_after(seen);
        }
        let wait_began_ns = monotonic_ns();
        let interrupt = || worker.is_interrupted();
        let patience = Patience {
            deadline_ns: None,
            interrupt: Some(&interrupt),
        };
        let waited = input
            .stream
            .wait_for_frame(input.looked_at(), worker.order.wait, patience);
        if let Trigger::Interrupted = trigger(waited)? {
            continue;
        }
        let Some(missed) = input.refresh()? else {
            continue;
        };
        let publication = input.publication();
        let began_ns = monotonic_ns();
        let busy_since_ns = &worker.counters().busy_since_ns;
        busy_since_ns.store(began_ns, Ordering::Relaxed);
        let mut context = Context {
            is_restart,
            worker,
            auxiliary,
            outputs,
            origin_ns: Some(publication.origin_ns).filter(|&origin_ns| origin_ns != 0),
            is_cut_short: false,
        };
        let frame = SinkFrame::new(input.array(), publication, missed);
        match sink.consume_with(&frame, &mut context) {
            // Whatever it says about that: there is nothing wrong with it.
            Err(_) if context.is_cut_short => continue,
            outcome => outcome?,
        }
        let ended_ns = monotonic_ns();
        worker.counters().busy_since_ns.store(0, Ordering::Relaxed);
        input.release();
        let counters = worker.counters();
        add(&counters.missed, missed);
        counters.record_execution(ended_ns - began_ns);
        counters.wait.record(began_ns - wait_began_ns);
        let latency_ns = ended_ns.saturating_sub(publication.origin_ns);
        counters.latency.record(latency_ns);
        worker.check_deadline(latency_ns);
        counters.last_frame_ns.store(ended_ns, Ordering::Relaxed);
        add(&counters.frames, 1);
        // Last: whoever sees it knows that the frame was consumed. Pairs with the Acquire of
        // `is_drained`.
        counters
            .input_count
            .store(publication.count, Ordering::Release);
        worker.publish_figures(|values| sink.figures(values));
    }
}

/// Whether another worker did the same in this run. Before this one is ready.
fn is_restart(worker: &Worker) -> bool {
    let counters = worker.counters();
    // A worker may have ended before it was ready; one that was ready may have been started again on
    // request, which begins the count of restarts anew.
    counters.restarts.load(Ordering::Relaxed) > 0 || counters.ready_ns.load(Ordering::Relaxed) != 0
}

struct Context<'a> {
    is_restart: bool,
    worker: &'a Worker,
    auxiliary: &'a [Stream],
    outputs: &'a [Stream],
    /// When the data of the frame being consumed entered the system.
    origin_ns: Option<u64>,
    /// True once an output had no room until the worker had to end.
    is_cut_short: bool,
}

impl SinkContext for Context<'_> {
    fn stop_requested(&self) -> bool {
        self.worker.is_interrupted()
    }

    fn is_restart(&self) -> bool {
        self.is_restart
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

    fn write_output(
        &mut self,
        index: usize,
        options: PublishOptions,
        fill: FillOutput<'_>,
    ) -> Result<Publication, NodeError> {
        let options = PublishOptions {
            origin_ns: options.origin_ns.or(self.origin_ns),
            ..options
        };
        let written = write_slot(self.worker, self.outputs, index, options, fill)?;
        written.ok_or_else(|| {
            self.is_cut_short = true;
            cut_short(index)
        })
    }
}
