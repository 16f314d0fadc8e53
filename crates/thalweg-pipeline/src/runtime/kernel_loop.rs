//! The loop of a kernel: wait for the triggers, compute into fresh slots, publish.

use std::any::Any;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use smallvec::SmallVec;
use thalweg_kernels::{FrameInputs, Kernel, Preparer};
use thalweg_os::clock::monotonic_ns;
use thalweg_shm::{ArrayMut, ArrayRef, Loan, Patience, PublishOptions, Stream, WaitPolicy};

use super::input::Input;
use super::worker::{Trigger, Worker, WorkerFailure, add, trigger};
use thalweg_shm::counters::command;

/// Inputs and outputs up to this number are handled without allocating.
const FEW: usize = 4;

type Prepared = Result<(usize, Box<dyn Any + Send>), WorkerFailure>;

/// Runs `kernel` until told to stop.
pub(super) fn run_kernel(
    worker: &mut Worker,
    mut kernel: Box<dyn Kernel>,
) -> Result<(), WorkerFailure> {
    let mut triggers = worker.open_inputs(&worker.order.inputs.clone())?;
    let mut auxiliary = worker.open_inputs(&worker.order.auxiliary.clone())?;
    let outputs = worker.open(&worker.order.outputs.clone())?;
    let prepared = start_preparers(worker, kernel.as_mut(), &mut auxiliary)?;
    for input in &mut triggers {
        input.skip_to_now();
    }
    worker.report_ready(kernel.figure_definitions())?;
    worker.publish_figures(|values| kernel.figures(values));
    loop {
        match worker.command() {
            command::STOP => return Ok(()),
            command::PAUSE => {
                worker.sleep_paused();
                continue;
            }
            _ => {}
        }
        let wait_began_ns = monotonic_ns();
        if let Trigger::Interrupted = wait_for_triggers(worker, &triggers)? {
            continue;
        }
        if !take_triggers(worker, &mut triggers)? {
            continue;
        }
        for input in &mut auxiliary {
            input.refresh()?;
        }
        while let Ok(outcome) = prepared.try_recv() {
            let (index, value) = outcome?;
            kernel.install(index, value);
        }
        compute(
            worker,
            kernel.as_mut(),
            &triggers,
            &auxiliary,
            &outputs,
            wait_began_ns,
        )?;
        for input in &mut triggers {
            // Held only as long as needed: others want tickets, too.
            input.release();
        }
        worker.publish_figures(|values| kernel.figures(values));
    }
}

fn wait_for_triggers(worker: &Worker, triggers: &[Input]) -> Result<Trigger, WorkerFailure> {
    let interrupt = || worker.is_interrupted();
    let patience = Patience {
        deadline_ns: None,
        interrupt: Some(&interrupt),
    };
    if worker.order.any_trigger && triggers.len() > 1 {
        let waited: Vec<(&Stream, u64)> = triggers
            .iter()
            .map(|input| (&input.stream, input.seen()))
            .collect();
        return trigger(Stream::wait_any(&waited, patience));
    }
    // One trigger, or all of several: in turn, because what came does not go away.
    for input in triggers {
        let waited = input
            .stream
            .wait_for_frame(input.seen(), WaitPolicy::Adaptive, patience);
        if let Trigger::Interrupted = trigger(waited)? {
            return Ok(Trigger::Interrupted);
        }
    }
    Ok(Trigger::New)
}

/// Takes what the triggers have; false when a frame turned out to have been given up.
fn take_triggers(worker: &Worker, triggers: &mut [Input]) -> Result<bool, WorkerFailure> {
    let (mut new, mut missed) = (0, 0);
    for input in triggers.iter_mut() {
        if let Some(skipped) = input.refresh()? {
            new += 1;
            missed += skipped;
        }
    }
    add(&worker.counters().missed, missed);
    let needed = if worker.order.any_trigger {
        1
    } else {
        triggers.len()
    };
    Ok(new >= needed)
}

fn compute(
    worker: &Worker,
    kernel: &mut dyn Kernel,
    triggers: &[Input],
    auxiliary: &[Input],
    outputs: &[Stream],
    wait_began_ns: u64,
) -> Result<(), WorkerFailure> {
    let mut loans: SmallVec<[Loan; FEW]> = SmallVec::new();
    for output in outputs {
        loans.push(output.loan(Patience::ENDLESS).map_err(WorkerFailure::of)?);
    }
    let trigger_arrays: SmallVec<[ArrayRef<'_>; FEW]> = triggers.iter().map(Input::array).collect();
    let auxiliary_arrays: SmallVec<[ArrayRef<'_>; FEW]> =
        auxiliary.iter().map(Input::array).collect();
    let frame_id = triggers
        .iter()
        .map(|input| input.publication().frame_id)
        .max()
        .unwrap_or(0);
    let inputs = FrameInputs {
        triggers: &trigger_arrays,
        auxiliary: &auxiliary_arrays,
        frame_id,
    };
    let mut output_arrays: SmallVec<[ArrayMut<'_>; FEW]> = SmallVec::new();
    for loan in &mut loans {
        output_arrays.push(loan.array().map_err(WorkerFailure::of)?);
    }
    let began_ns = monotonic_ns();
    kernel.compute(&inputs, &mut output_arrays)?;
    let ended_ns = monotonic_ns();
    drop(output_arrays);
    // The oldest of its inputs is how old a result is.
    let origin_ns = triggers
        .iter()
        .map(|input| input.publication().origin_ns)
        .filter(|&origin_ns| origin_ns != 0)
        .min();
    let stamp = (worker.order.propagate_frame_id && frame_id != 0).then_some(frame_id);
    let counters = worker.counters();
    for (index, loan) in loans.into_iter().enumerate() {
        let published = loan
            .publish(PublishOptions {
                frame_id: stamp,
                origin_ns,
            })
            .map_err(WorkerFailure::of)?;
        if index == 0 {
            let latency_ns = published.publish_ns.saturating_sub(published.origin_ns);
            counters.latency.record(latency_ns);
            counters
                .output_count
                .store(published.count, Ordering::Relaxed);
        }
    }
    counters.execution.record(ended_ns - began_ns);
    counters.wait.record(began_ns.saturating_sub(wait_began_ns));
    counters.last_frame_ns.store(ended_ns, Ordering::Relaxed);
    add(&counters.frames, 1);
    if let Some(first) = triggers.first() {
        // Last: whoever sees it sees the frame published. Pairs with the Acquire of `is_drained`.
        counters.input_count.store(first.seen(), Ordering::Release);
    }
    Ok(())
}

/// Prepares what the auxiliary streams hold already, and starts a thread for each that has to be
/// prepared again whenever it changes.
fn start_preparers(
    worker: &Worker,
    kernel: &mut dyn Kernel,
    auxiliary: &mut [Input],
) -> Result<Receiver<Prepared>, WorkerFailure> {
    let (sender, receiver) = sync_channel(1);
    for (index, input) in auxiliary.iter_mut().enumerate() {
        let Some(mut preparer) = kernel.preparer(index) else {
            continue;
        };
        let seen = input.stream.count();
        if input.refresh()?.is_some() {
            let prepared = preparer.prepare(input.array())?;
            kernel.install(index, prepared);
        }
        let own = Input::new(input.stream.duplicate())?;
        let sender = sender.clone();
        std::thread::Builder::new()
            .name(format!("prepare-{index}"))
            .spawn(move || keep_preparing(index, preparer.as_mut(), own, seen, &sender))
            .map_err(|error| {
                WorkerFailure::of(format!(
                    "cannot start the preparing thread of {:?}: {error}",
                    worker.order.spec.name
                ))
            })?;
    }
    Ok(receiver)
}

/// Ends with the process: a wait for a matrix that never changes has nobody to end it.
fn keep_preparing(
    index: usize,
    preparer: &mut dyn Preparer,
    mut input: Input,
    prepared_count: u64,
    sender: &SyncSender<Prepared>,
) {
    let mut seen = prepared_count;
    loop {
        let outcome = input
            .stream
            .wait_for_frame(seen, WaitPolicy::Park, Patience::ENDLESS)
            .map_err(WorkerFailure::of)
            .and_then(|_| Ok(input.refresh()?))
            .and_then(|_| Ok(preparer.prepare(input.array())?))
            .map(|prepared| (index, prepared));
        seen = input.seen().max(seen);
        input.release();
        let is_last = outcome.is_err();
        if sender.send(outcome).is_err() || is_last {
            return;
        }
    }
}
