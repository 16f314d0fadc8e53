//! The loop of kernels: wait for triggers, compute into fresh slots, publish. A process runs one
//! kernel or the kernels of a group, one after the other on one thread.

use std::any::Any;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use smallvec::SmallVec;
use thalweg_kernels::{FrameInputs, Kernel, Preparer};
use thalweg_os::clock::monotonic_ns;
use thalweg_shm::counters::command;
use thalweg_shm::stream::error::WaitError;
use thalweg_shm::{ArrayMut, ArrayRef, Loan, Patience, PublishOptions, Stream, WaitPolicy};

use super::beside::lend_until_stop;
use super::input::Input;
use super::skew::{Skew, take_matching};
use super::worker::{Worker, WorkerFailure, add};

/// Inputs and outputs up to this number are handled without allocating.
const FEW: usize = 4;

type Prepared = Result<(usize, Box<dyn Any + Send>), WorkerFailure>;

/// A kernel and its streams.
pub(super) struct Stage {
    pub(super) worker: Worker,
    kernel: Box<dyn Kernel>,
    triggers: Vec<Input>,
    auxiliary: Vec<Input>,
    outputs: Vec<Stream>,
    prepared: Receiver<Prepared>,
    skew: Skew,
}

/// Runs `stages` until told to stop.
pub(super) fn run_stages(mut stages: Vec<Stage>) -> Result<(), WorkerFailure> {
    for stage in &mut stages {
        stage
            .begin()
            .map_err(|failure| failure.about(stage.row()))?;
    }
    let external = external_triggers(&stages);
    let mut wait_began_ns = monotonic_ns();
    loop {
        let Some(first) = stages.first() else {
            return Ok(());
        };
        match first.worker.command() {
            command::STOP => return Ok(()),
            command::PAUSE => {
                first.worker.sleep_paused();
                wait_began_ns = monotonic_ns();
                continue;
            }
            _ => {}
        }
        let mut has_computed = false;
        for stage in &mut stages {
            let step = stage.step(wait_began_ns);
            has_computed |= step.map_err(|failure| failure.about(stage.row()))?;
        }
        if has_computed {
            wait_began_ns = monotonic_ns();
        } else if !stages.iter().any(|stage| stage.worker.is_interrupted()) {
            wait(&stages, &external)?;
        }
    }
}

/// For each stage, which of its triggers may be published by others than the stages themselves:
/// only those are worth waiting for.
fn external_triggers(stages: &[Stage]) -> Vec<Vec<usize>> {
    let is_internal = |name: &String| {
        let mut outputs = stages.iter().flat_map(|stage| &stage.worker.order.outputs);
        outputs.any(|output| output == name)
    };
    let external = stages.iter().map(|stage| {
        let inputs = stage.worker.order.inputs.iter().enumerate();
        inputs
            .filter(|(_, name)| !is_internal(name))
            .map(|(index, _)| index)
            .collect()
    });
    external.collect()
}

/// Waits until a stage may have something to do, or the supervisor wants something.
fn wait(stages: &[Stage], external: &[Vec<usize>]) -> Result<(), WorkerFailure> {
    let mut awaited: SmallVec<[(&Stream, u64, WaitPolicy); FEW]> = SmallVec::new();
    let mut deadline_ns: Option<u64> = None;
    for (stage, external) in stages.iter().zip(external) {
        let missing = external
            .iter()
            .filter_map(|&index| stage.triggers.get(index))
            .filter(|input| stage.waits_for(input));
        let policy = stage.worker.order.wait;
        // Of several that are all needed the first one does: what comes does not go away.
        let needed = if stage.worker.order.any_trigger {
            usize::MAX
        } else {
            1
        };
        awaited.extend(
            missing
                .take(needed)
                .map(|input| (&input.stream, input.looked_at(), policy)),
        );
        let stage_ns = stage.skew_deadline_ns();
        deadline_ns = match (deadline_ns, stage_ns) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    let interrupt = || stages.iter().any(|stage| stage.worker.is_interrupted());
    let patience = Patience {
        deadline_ns,
        interrupt: Some(&interrupt),
    };
    if awaited.is_empty() {
        // Everything has news by now, or waits for other stages.
        awaited.extend(stages.iter().flat_map(|stage| {
            let inputs = stage.triggers.iter();
            inputs.map(|input| (&input.stream, input.looked_at(), stage.worker.order.wait))
        }));
    }
    let waited = match awaited.as_slice() {
        [(stream, seen, policy)] => stream.wait_for_frame(*seen, *policy, patience).map(drop),
        many => {
            let many: SmallVec<[(&Stream, u64); FEW]> = many
                .iter()
                .map(|&(stream, seen, _)| (stream, seen))
                .collect();
            Stream::wait_any(&many, patience).map(drop)
        }
    };
    match waited {
        Ok(()) | Err(WaitError::Interrupted { .. } | WaitError::TimedOut { .. }) => Ok(()),
        Err(error) => Err(WorkerFailure::of(error)),
    }
}

impl Stage {
    /// Attaches `kernel` to its streams, and prepares what they hold already.
    pub(super) fn new(worker: Worker, mut kernel: Box<dyn Kernel>) -> Result<Self, WorkerFailure> {
        let triggers = worker.open_inputs(&worker.order.inputs)?;
        let mut auxiliary = worker.open_inputs(&worker.order.auxiliary)?;
        let outputs = worker.open(&worker.order.outputs)?;
        let prepared = start_preparers(&worker, kernel.as_mut(), &mut auxiliary)?;
        Ok(Self {
            worker,
            kernel,
            triggers,
            auxiliary,
            outputs,
            prepared,
            skew: Skew::default(),
        })
    }

    fn row(&self) -> usize {
        self.worker.order.row
    }

    /// What is published from now on will be seen.
    fn begin(&mut self) -> Result<(), WorkerFailure> {
        for input in &mut self.triggers {
            input.skip_to_now();
        }
        self.worker.report_ready(self.kernel.figure_definitions())?;
        let kernel = &self.kernel;
        self.worker.publish_figures(|values| kernel.figures(values));
        Ok(())
    }

    /// Whether a publication of `input` could make the stage go on.
    fn waits_for(&self, input: &Input) -> bool {
        let is_at_hand = self.worker.order.matching.is_some() && input.is_at_hand();
        !is_at_hand && !input.has_news()
    }

    fn skew_deadline_ns(&self) -> Option<u64> {
        let max_wait_ns = self.worker.order.matching?.max_wait_ns?;
        Some(self.skew.since_ns?.saturating_add(max_wait_ns))
    }

    /// Computes a frame if its triggers are there; whether it did.
    fn step(&mut self, wait_began_ns: u64) -> Result<bool, WorkerFailure> {
        if let Some(seen) = self.worker.take_over()
            && let Some(first) = self.triggers.first_mut()
        {
            first.go_on_after(seen);
        }
        if !self.take_triggers()? {
            return Ok(false);
        }
        for input in &mut self.auxiliary {
            input.refresh()?;
        }
        while let Ok(outcome) = self.prepared.try_recv() {
            let (index, value) = outcome?;
            self.kernel.install(index, value);
        }
        let has_computed = self.compute(wait_began_ns)?;
        for input in &mut self.triggers {
            // Held only as long as needed: others want tickets, too.
            input.release();
        }
        if !has_computed {
            return Ok(false);
        }
        let kernel = &self.kernel;
        self.worker.publish_figures(|values| kernel.figures(values));
        Ok(true)
    }

    /// Takes what the triggers have, if it is enough to compute with.
    fn take_triggers(&mut self) -> Result<bool, WorkerFailure> {
        if let Some(matching) = self.worker.order.matching {
            let counters = self.worker.counters();
            return Ok(take_matching(
                &mut self.triggers,
                matching,
                &mut self.skew,
                counters,
            )?);
        }
        let news = self
            .triggers
            .iter()
            .filter(|input| input.has_news())
            .count();
        let needed = if self.worker.order.any_trigger {
            1
        } else {
            self.triggers.len()
        };
        if news < needed {
            return Ok(false);
        }
        let (mut new, mut missed) = (0, 0);
        for input in &mut self.triggers {
            if let Some(skipped) = input.refresh()? {
                new += 1;
                missed += skipped;
            } else {
                // Of several triggers any of which is enough, the others are as they were.
                input.keep_at_hand()?;
            }
        }
        add(&self.worker.counters().missed, missed);
        // A frame may turn out to have been given up.
        Ok(new >= needed)
    }

    /// Computes a frame of what is at hand; false if the end has to come before there is room for it.
    fn compute(&mut self, wait_began_ns: u64) -> Result<bool, WorkerFailure> {
        let mut loans: SmallVec<[Loan; FEW]> = SmallVec::new();
        for output in &self.outputs {
            // The triggers are taken: a pause must not lose them.
            match lend_until_stop(&self.worker, output).map_err(WorkerFailure::of)? {
                Some(loan) => loans.push(loan),
                None => return Ok(false),
            }
        }
        let triggers: SmallVec<[ArrayRef<'_>; FEW]> =
            self.triggers.iter().map(Input::array).collect();
        let auxiliary: SmallVec<[ArrayRef<'_>; FEW]> =
            self.auxiliary.iter().map(Input::array).collect();
        let publications = || self.triggers.iter().map(Input::publication);
        let frame_id = publications().map(|one| one.frame_id).max().unwrap_or(0);
        let inputs = FrameInputs {
            triggers: &triggers,
            auxiliary: &auxiliary,
            frame_id,
        };
        let mut outputs: SmallVec<[ArrayMut<'_>; FEW]> = SmallVec::new();
        for loan in &mut loans {
            outputs.push(loan.array().map_err(WorkerFailure::of)?);
        }
        let began_ns = monotonic_ns();
        let busy_since_ns = &self.worker.counters().busy_since_ns;
        busy_since_ns.store(began_ns, Ordering::Relaxed);
        self.kernel.compute(&inputs, &mut outputs)?;
        let ended_ns = monotonic_ns();
        busy_since_ns.store(0, Ordering::Relaxed);
        drop(outputs);
        // The oldest of its inputs is how old a result is.
        let origin_ns = publications()
            .map(|one| one.origin_ns)
            .filter(|&origin_ns| origin_ns != 0)
            .min();
        let propagates = self.worker.order.propagate_frame_id;
        let stamp = (propagates && frame_id != 0).then_some(frame_id);
        let counters = self.worker.counters();
        for (index, loan) in loans.into_iter().enumerate() {
            let options = PublishOptions {
                frame_id: stamp,
                origin_ns,
            };
            let published = loan.publish(options).map_err(WorkerFailure::of)?;
            if index == 0 {
                let latency_ns = published.publish_ns.saturating_sub(published.origin_ns);
                counters.latency.record(latency_ns);
                self.worker.check_deadline(latency_ns);
                counters
                    .output_count
                    .store(published.count, Ordering::Relaxed);
            }
        }
        counters.record_execution(ended_ns - began_ns);
        counters.wait.record(began_ns.saturating_sub(wait_began_ns));
        counters.last_frame_ns.store(ended_ns, Ordering::Relaxed);
        add(&counters.frames, 1);
        if let Some(first) = self.triggers.first() {
            // Last: whoever sees it sees the frame published. Pairs with the Acquire of
            // `is_drained`.
            counters.input_count.store(first.seen(), Ordering::Release);
        }
        Ok(true)
    }
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
        let mut own = Input::new(input.stream.duplicate())?;
        own.go_on_after(seen);
        let sender = sender.clone();
        std::thread::Builder::new()
            .name(format!("prepare-{index}"))
            .spawn(move || keep_preparing(index, preparer.as_mut(), own, &sender))
            .map_err(|error| {
                WorkerFailure::of(format!(
                    "cannot start the preparing thread of {:?}: {error}",
                    worker.order.spec.name
                ))
            })?;
    }
    Ok(receiver)
}

/// Ends with the process: a wait for a matrix that never changes has nobody to end it. What was
/// published until `input` was made to skip it is prepared already.
fn keep_preparing(
    index: usize,
    preparer: &mut dyn Preparer,
    mut input: Input,
    sender: &SyncSender<Prepared>,
) {
    loop {
        let outcome = match prepare_next(preparer, &mut input) {
            Ok(Some(prepared)) => Ok((index, prepared)),
            // Given up by its writer: what was prepared before is what counts.
            Ok(None) => continue,
            Err(failure) => Err(failure),
        };
        input.release();
        let is_last = outcome.is_err();
        if sender.send(outcome).is_err() || is_last {
            return;
        }
    }
}

/// Waits for the next publication of `input` and prepares it, unless it was given up.
fn prepare_next(
    preparer: &mut dyn Preparer,
    input: &mut Input,
) -> Result<Option<Box<dyn Any + Send>>, WorkerFailure> {
    input
        .stream
        .wait_for_frame(input.looked_at(), WaitPolicy::Park, Patience::ENDLESS)
        .map_err(WorkerFailure::of)?;
    if input.refresh()?.is_none() {
        return Ok(None);
    }
    Ok(Some(preparer.prepare(input.array())?))
}

#[cfg(test)]
mod tests {
    use thalweg_kernels::NodeError;
    use thalweg_shm::{DType, StreamDirectory, StreamOptions};

    use super::*;

    struct FirstElement;

    impl Preparer for FirstElement {
        fn prepare(&mut self, array: ArrayRef<'_>) -> Result<Box<dyn Any + Send>, NodeError> {
            Ok(Box::new(array.to_vec::<f32>()?[0]))
        }
    }

    #[test]
    fn what_a_writer_has_given_up_is_not_prepared() {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let options = StreamOptions {
            strict: true,
            ..StreamOptions::new(DType::Float32, &[1])
        };
        let directory = StreamDirectory::new(folder.path());
        let stream = directory.create("matrix", &options).unwrap();
        let mut input = Input::new(directory.open("matrix").unwrap()).unwrap();
        let publish = |element: f32| {
            let elements = [element];
            let frame = ArrayRef::from_slice(&elements, &[1]);
            let options = PublishOptions::default();
            stream.write(frame, options, Patience::ENDLESS).unwrap();
        };
        publish(1.0);
        stream.loan(Patience::ENDLESS).unwrap().abort();
        let mut next = || prepare_next(&mut FirstElement, &mut input).unwrap();
        assert!(next().is_none());
        publish(2.0);
        let prepared = next().unwrap().downcast::<f32>().unwrap();
        assert_eq!(*prepared, 2.0);
    }
}
