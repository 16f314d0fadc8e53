//! `thalweg record`: every frame of a stream from now on, with its times and ids, into a file.

use std::time::Duration;

use thalweg::kernels::OwnedArray;
use thalweg::kernels::files::RecordingWriter;
use thalweg::shm::stream::error::{LosslessError, WaitError};
use thalweg::{Patience, Stream, StreamDirectory, WaitPolicy};
use thalweg_os::clock::{deadline_after, monotonic_ns};
use thalweg_os::signal::StopSignals;

use super::Failed;
use super::facts::explain;
use crate::cli::RecordArguments;

/// Frames the writer may be ahead of a recording that misses none.
const LOSSLESS_BUDGET: usize = 2;

pub(crate) fn record(arguments: &RecordArguments) -> Result<(), Failed> {
    let signals = StopSignals::block().map_err(Failed::because)?;
    let stream = Stream::open(&arguments.name)
        .map_err(|error| Failed::because(explain(&error, &StreamDirectory::default())))?;
    let path = arguments
        .output
        .clone()
        .unwrap_or_else(|| format!("{}.npy", arguments.name.replace('/', "_")).into());
    let mut recording = Recording {
        writer: RecordingWriter::create(
            &path,
            &arguments.name,
            stream.dtype(),
            stream.shape(),
            arguments.force,
        )
        .map_err(Failed::because)?,
        wanted: arguments.frames,
        end_ns: arguments
            .duration
            .map(|duration| deadline_after(Duration::from_secs_f64(duration))),
        missed: 0,
        was_interrupted: std::cell::Cell::new(false),
        signals,
    };
    let outcome = if arguments.lossless {
        recording.follow_losslessly(&stream)
    } else {
        recording.follow(&stream)
    };
    let Recording {
        writer,
        missed,
        was_interrupted,
        ..
    } = recording;
    let frames = writer.frames();
    // What was written is kept whatever has happened.
    writer.finish().map_err(Failed::because)?;
    eprintln!(
        "recorded {frames} frames of {:?} in {}{}",
        arguments.name,
        path.display(),
        if missed > 0 {
            format!(", {missed} came too fast; `--lossless` has the writer wait")
        } else {
            String::new()
        }
    );
    outcome?;
    if was_interrupted.get() && arguments.frames.is_some() {
        return Err(Failed::silently(Failed::INTERRUPTED));
    }
    Ok(())
}

struct Recording {
    writer: RecordingWriter,
    wanted: Option<u64>,
    end_ns: Option<u64>,
    missed: u64,
    was_interrupted: std::cell::Cell<bool>,
    signals: StopSignals,
}

impl Recording {
    fn is_over(&self) -> bool {
        let has_all = self
            .wanted
            .is_some_and(|wanted| self.writer.frames() >= wanted);
        has_all || self.is_stopped() || self.end_ns.is_some_and(|end_ns| monotonic_ns() >= end_ns)
    }

    fn is_stopped(&self) -> bool {
        if self.signals.take().is_some() {
            self.was_interrupted.set(true);
        }
        self.was_interrupted.get()
    }

    /// Takes what the slots hold, as fast as it can be written; the writer of the stream does not
    /// notice.
    fn follow(&mut self, stream: &Stream) -> Result<(), Failed> {
        let slots = stream.header().geometry.slots;
        let mut copy =
            OwnedArray::zeros(stream.dtype(), stream.shape()).map_err(Failed::because)?;
        let mut seen = stream.count();
        while !self.is_over() {
            if !self.wait(stream, seen)? {
                continue;
            }
            let newest = stream.count();
            for frame in stream.held_frames(slots).map_err(Failed::because)? {
                if frame.count() <= seen || self.wanted == Some(self.writer.frames()) {
                    continue;
                }
                let is_whole = frame
                    .copy_to_array(&mut copy.as_array_mut())
                    .map_err(Failed::because)?;
                if is_whole {
                    self.missed += frame.count() - seen - 1;
                    seen = frame.count();
                    self.writer
                        .append(copy.as_array(), &frame.publication())
                        .map_err(Failed::because)?;
                }
            }
            // What could not be taken is gone, or was given up by its writer.
            if newest > seen {
                self.missed += newest - seen;
                seen = newest;
            }
        }
        Ok(())
    }

    /// Waits for a publication after `seen`; false if there is none and it is time to look around.
    fn wait(&self, stream: &Stream, seen: u64) -> Result<bool, Failed> {
        let interrupt = || self.is_stopped();
        let patience = Patience {
            deadline_ns: self.end_ns,
            interrupt: Some(&interrupt),
        };
        match stream.wait_for_frame(seen, WaitPolicy::Park, patience) {
            Ok(_) => Ok(true),
            Err(WaitError::TimedOut { .. } | WaitError::Interrupted { .. }) => Ok(false),
            Err(error) => Err(Failed::because(error)),
        }
    }

    /// Takes every frame; the writer of the stream waits if this is too slow.
    fn follow_losslessly(&mut self, stream: &Stream) -> Result<(), Failed> {
        let mut reader = stream.subscribe(LOSSLESS_BUDGET).map_err(Failed::because)?;
        while !self.is_over() {
            let interrupt = || self.is_stopped();
            let patience = Patience {
                deadline_ns: self.end_ns,
                interrupt: Some(&interrupt),
            };
            match reader.next(WaitPolicy::Park, patience) {
                Ok(frame) => self
                    .writer
                    .append(frame.array(), &frame.publication())
                    .map_err(Failed::because)?,
                Err(LosslessError::Wait(
                    WaitError::TimedOut { .. } | WaitError::Interrupted { .. },
                )) => {}
                Err(error) => return Err(Failed::because(error)),
            }
        }
        Ok(())
    }
}
