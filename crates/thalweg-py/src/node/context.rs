//! What a native source outside a worker process works with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use thalweg::kernels::node::FillOutput;
use thalweg::kernels::{AuxiliaryFrame, NodeError, SinkContext, SourceContext};
use thalweg::shm::stream::error::WaitError;
use thalweg::{ArrayMut, Patience, Publication, PublishOptions, Stream, WaitPolicy};
use thalweg_os::clock::{deadline_after, monotonic_ns};
use thalweg_os::futex;

/// A word another thread ends the work with.
#[derive(Debug, Default)]
pub(super) struct StopWord(AtomicU32);

impl StopWord {
    pub(super) fn stop(&self) {
        self.0.store(1, Ordering::Relaxed);
        futex::wake(&self.0, u32::MAX);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }
}

/// The context of a node whose auxiliary streams are handles of this process, and whose outputs are
/// arrays.
pub(super) struct HandleContext<'c, 'a> {
    pub(super) stop: &'c StopWord,
    pub(super) auxiliary: &'c [Arc<Stream>],
    /// For nodes that write outputs when they want to.
    pub(super) outputs: &'c mut [ArrayMut<'a>],
    /// Which outputs such a node has written, and the ids it wants on them.
    pub(super) written: Vec<(usize, Option<u64>)>,
}

impl<'c, 'a> HandleContext<'c, 'a> {
    pub(super) fn new(
        stop: &'c StopWord,
        auxiliary: &'c [Arc<Stream>],
        outputs: &'c mut [ArrayMut<'a>],
    ) -> Self {
        Self {
            stop,
            auxiliary,
            outputs,
            written: Vec::new(),
        }
    }

    fn sleep(&self, deadline_ns: u64) -> bool {
        while !self.stop.is_set() && monotonic_ns() < deadline_ns {
            futex::wait(&self.stop.0, 0, Some(deadline_ns));
        }
        self.stop.is_set()
    }

    fn read(
        &self,
        index: usize,
        out: &mut ArrayMut<'_>,
    ) -> Result<Option<AuxiliaryFrame>, NodeError> {
        let stream = self.stream(index)?;
        if stream.count() == 0 {
            return Ok(None);
        }
        copied(stream, out)
    }

    fn write(
        &mut self,
        index: usize,
        options: PublishOptions,
        fill: FillOutput<'_>,
    ) -> Result<Publication, NodeError> {
        let count = self.outputs.len();
        let output = self.outputs.get_mut(index).ok_or_else(|| {
            NodeError::Failed(format!("there is no output {index}, only {count}"))
        })?;
        fill(output)?;
        self.written.push((index, options.frame_id));
        Ok(Publication::default())
    }

    fn stream(&self, index: usize) -> Result<&Stream, NodeError> {
        self.auxiliary.get(index).map(Arc::as_ref).ok_or_else(|| {
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

fn copied(stream: &Stream, out: &mut ArrayMut<'_>) -> Result<Option<AuxiliaryFrame>, NodeError> {
    let read = stream.read_into_array(out, None).map_err(failed)?;
    Ok(Some(AuxiliaryFrame {
        count: read.count,
        frame_id: read.frame_id,
    }))
}

impl SourceContext for HandleContext<'_, '_> {
    fn stop_requested(&self) -> bool {
        self.stop.is_set()
    }

    fn now_ns(&self) -> u64 {
        monotonic_ns()
    }

    fn sleep_until(&mut self, deadline_ns: u64) -> bool {
        self.sleep(deadline_ns)
    }

    fn read_auxiliary(
        &mut self,
        index: usize,
        out: &mut ArrayMut<'_>,
    ) -> Result<Option<AuxiliaryFrame>, NodeError> {
        self.read(index, out)
    }

    fn wait_publication(
        &mut self,
        index: usize,
        after_count: u64,
        timeout: Duration,
    ) -> Result<Option<AuxiliaryFrame>, NodeError> {
        let stream = self.stream(index)?;
        let interrupt = || self.stop.is_set();
        let patience = Patience {
            deadline_ns: Some(deadline_after(timeout)),
            interrupt: Some(&interrupt),
        };
        match stream.wait_for_frame(after_count, WaitPolicy::Adaptive, patience) {
            Ok(_) => {
                let newest = stream.newest();
                Ok(Some(AuxiliaryFrame {
                    count: newest.count,
                    frame_id: newest.frame_id,
                }))
            }
            Err(WaitError::TimedOut { .. } | WaitError::Interrupted { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    fn write_output(
        &mut self,
        index: usize,
        options: PublishOptions,
        fill: FillOutput<'_>,
    ) -> Result<Publication, NodeError> {
        self.write(index, options, fill)
    }

    fn wait_auxiliary(
        &mut self,
        index: usize,
        frame_id: u64,
        timeout: Duration,
        out: &mut ArrayMut<'_>,
    ) -> Result<Option<AuxiliaryFrame>, NodeError> {
        let stream = self.stream(index)?;
        let interrupt = || self.stop.is_set();
        let patience = Patience {
            deadline_ns: Some(deadline_after(timeout)),
            interrupt: Some(&interrupt),
        };
        loop {
            let newest = stream.newest();
            if newest.count > 0 && newest.frame_id >= frame_id {
                return copied(stream, out);
            }
            match stream.wait_for_frame(newest.count, WaitPolicy::Adaptive, patience) {
                Ok(_) => {}
                Err(WaitError::TimedOut { .. } | WaitError::Interrupted { .. }) => return Ok(None),
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

impl SinkContext for HandleContext<'_, '_> {
    fn stop_requested(&self) -> bool {
        self.stop.is_set()
    }

    fn now_ns(&self) -> u64 {
        monotonic_ns()
    }

    fn sleep_until(&mut self, deadline_ns: u64) -> bool {
        self.sleep(deadline_ns)
    }

    fn read_auxiliary(
        &mut self,
        index: usize,
        out: &mut ArrayMut<'_>,
    ) -> Result<Option<AuxiliaryFrame>, NodeError> {
        self.read(index, out)
    }

    fn write_output(
        &mut self,
        index: usize,
        options: PublishOptions,
        fill: FillOutput<'_>,
    ) -> Result<Publication, NodeError> {
        self.write(index, options, fill)
    }
}
