//! The loop of a sink: wait for a frame, consume it in place.

use std::sync::atomic::Ordering;

use thalweg_kernels::{Sink, SinkFrame};
use thalweg_os::clock::monotonic_ns;
use thalweg_shm::Patience;
use thalweg_shm::counters::command;

use super::worker::{Trigger, Worker, WorkerFailure, add, trigger};

/// Runs `sink` until told to stop.
pub(super) fn run_sink(worker: &mut Worker, mut sink: Box<dyn Sink>) -> Result<(), WorkerFailure> {
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
            input.skip_to(seen);
        }
        let wait_began_ns = monotonic_ns();
        let interrupt = || worker.is_interrupted();
        let patience = Patience {
            deadline_ns: None,
            interrupt: Some(&interrupt),
        };
        let waited = input
            .stream
            .wait_for_frame(input.seen(), worker.order.wait, patience);
        if let Trigger::Interrupted = trigger(waited)? {
            continue;
        }
        let Some(missed) = input.refresh()? else {
            continue;
        };
        let publication = input.publication();
        let began_ns = monotonic_ns();
        sink.consume(&SinkFrame {
            array: input.array(),
            count: publication.count,
            frame_id: publication.frame_id,
            missed,
        })?;
        let ended_ns = monotonic_ns();
        input.release();
        let counters = worker.counters();
        add(&counters.missed, missed);
        counters.execution.record(ended_ns - began_ns);
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
