//! The streams of a run: made or attached to, filled, and removed again. All or nothing.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use thalweg_kernels::NodeError;
use thalweg_kernels::initial::Initial;
use thalweg_os::process::Liveness;
use thalweg_shm::stream::directory::describe_layout;
use thalweg_shm::stream::error::{CreateError, OpenError, UnlinkError, WriteError};
use thalweg_shm::{Patience, PublishOptions, Stream, StreamDirectory};

use super::plan::{Plan, StreamPlan};
use crate::config::StreamMode;

/// The streams of a pipeline could not be made. Nothing is left of the attempt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamsError {
    /// A stream could not be created.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// An existing stream could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// An existing stream could not be removed.
    #[error(transparent)]
    Unlink(#[from] UnlinkError),
    /// `mode: attach`, and what exists is something else.
    #[error("stream {name:?} exists as {found}, the pipeline needs {expected}")]
    Incompatible {
        /// The stream.
        name: String,
        /// What the configuration says.
        expected: String,
        /// What exists.
        found: String,
    },
    /// The stream belongs to another run.
    #[error(
        "stream {name:?} belongs to a running pipeline (process {pid}): stop that first, or choose another `namespace`"
    )]
    InUse {
        /// The stream.
        name: String,
        /// The process that runs it.
        pid: u32,
    },
    /// The initial contents could not be made.
    #[error("cannot fill stream {name:?}: {source}")]
    Initial {
        /// The stream.
        name: String,
        /// Why not.
        source: NodeError,
    },
    /// The initial contents could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The folder could not be read.
    #[error("cannot look for what ended runs have left: {0}")]
    Directory(#[from] io::Error),
}

/// The streams of one run, by their names in the configuration.
#[derive(Debug)]
pub(super) struct RunStreams {
    streams: BTreeMap<String, Arc<Stream>>,
    /// Those this run created and removes again.
    owned: Vec<String>,
}

impl RunStreams {
    /// Makes all streams of `plan`, then fills those that have initial contents, in order. After
    /// an error nothing that was created is left.
    pub(super) fn build(plan: &Plan, directory: &StreamDirectory) -> Result<Self, StreamsError> {
        let mut built = Self {
            streams: BTreeMap::new(),
            owned: Vec::new(),
        };
        let outcome = built.make_all(plan, directory);
        if outcome.is_err() {
            built.remove(false);
        }
        outcome.map(|()| built)
    }

    /// Makes the streams of `plan` that this run has not got yet. After an error it has what it had.
    pub(super) fn add(
        &mut self,
        plan: &Plan,
        directory: &StreamDirectory,
    ) -> Result<Vec<String>, StreamsError> {
        let mut added = Self {
            streams: BTreeMap::new(),
            owned: Vec::new(),
        };
        let is_new = |stream: &&StreamPlan| !self.streams.contains_key(&stream.name);
        let new: Vec<&StreamPlan> = plan.streams.iter().filter(is_new).collect();
        if let Err(error) = added.make_these(&new, directory) {
            added.remove(false);
            return Err(error);
        }
        self.owned.append(&mut added.owned);
        self.streams.append(&mut added.streams);
        Ok(new.iter().map(|stream| stream.name.clone()).collect())
    }

    /// Forgets the streams `names`; removes those of them that this run created.
    pub(super) fn forget(&mut self, names: &[String]) {
        for name in names {
            if let Some(stream) = self.streams.remove(name)
                && self.owned.contains(name)
            {
                // As in `remove`.
                stream.unlink().ok();
            }
        }
        self.owned.retain(|owned| !names.contains(owned));
    }

    fn make_all(&mut self, plan: &Plan, directory: &StreamDirectory) -> Result<(), StreamsError> {
        let all: Vec<&StreamPlan> = plan.streams.iter().collect();
        self.make_these(&all, directory)
    }

    fn make_these(
        &mut self,
        plans: &[&StreamPlan],
        directory: &StreamDirectory,
    ) -> Result<(), StreamsError> {
        for stream in plans {
            let (handle, is_owned) = make(stream, directory)?;
            if is_owned {
                self.owned.push(stream.name.clone());
            }
            self.streams.insert(stream.name.clone(), Arc::new(handle));
        }
        for stream in plans {
            if let (Some(initial), Some(handle)) = (&stream.initial, self.streams.get(&stream.name))
            {
                fill(&stream.name, handle, initial)?;
            }
        }
        Ok(())
    }

    /// The stream `name` of the configuration.
    pub(super) fn get(&self, name: &str) -> Option<&Arc<Stream>> {
        self.streams.get(name)
    }

    /// The names in the configuration.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.streams.keys().map(String::as_str)
    }

    /// Has everybody who sleeps on any of the streams look again.
    pub(super) fn nudge(&self) {
        for stream in self.streams.values() {
            stream.nudge();
        }
    }

    /// Removes the streams this run created; with `external` those it attached to as well.
    pub(super) fn remove(&mut self, external: bool) {
        for (name, stream) in &self.streams {
            if external || self.owned.contains(name) {
                // A newer stream of that name is somebody else's; nothing else can be done here.
                stream.unlink().ok();
            }
        }
        self.owned.clear();
    }
}

fn make(plan: &StreamPlan, directory: &StreamDirectory) -> Result<(Stream, bool), StreamsError> {
    let name = &plan.resource_name;
    // Somebody may create or remove the name in between: one more look settles it.
    let mut last = None;
    for _ in 0..3 {
        let existing = match directory.open(name) {
            Ok(stream) if stream.is_abandoned() => {
                // Left by a run that was killed.
                directory.unlink(name)?;
                None
            }
            Ok(stream) => Some(stream),
            Err(OpenError::Missing { .. }) => None,
            Err(OpenError::Header { .. }) if plan.mode != StreamMode::Attach => {
                // A file of that name that is no stream.
                directory.unlink(name)?;
                None
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(stream) = existing {
            refuse_live_run(&stream)?;
            match (plan.mode, is_compatible(&stream, plan)) {
                (StreamMode::Create, _) => {
                    return Err(CreateError::Exists { name: name.clone() }.into());
                }
                (StreamMode::Attach | StreamMode::CreateOrAttach, true) => {
                    return Ok((stream, false));
                }
                (StreamMode::Attach, false) => {
                    return Err(StreamsError::Incompatible {
                        name: name.clone(),
                        expected: describe_layout(plan.options.dtype, &plan.options.shape),
                        found: describe_layout(stream.dtype(), stream.shape()),
                    });
                }
                (StreamMode::CreateOrAttach, false) | (StreamMode::Replace, _) => {
                    stream.unlink()?;
                }
            }
        } else if plan.mode == StreamMode::Attach {
            return Err(OpenError::Missing { name: name.clone() }.into());
        }
        match directory.create(name, &plan.options) {
            Ok(stream) => return Ok((stream, true)),
            Err(error @ CreateError::Exists { .. }) => last = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    Err(last
        .unwrap_or_else(|| CreateError::Exists { name: name.clone() })
        .into())
}

fn is_compatible(stream: &Stream, plan: &StreamPlan) -> bool {
    stream.dtype() == plan.options.dtype && stream.shape() == plan.options.shape
}

fn refuse_live_run(stream: &Stream) -> Result<(), StreamsError> {
    use thalweg_shm::segment::header::flags;
    let header = stream.header();
    if header.has(flags::ENDS_WITH_CREATOR) && stream.creator_liveness() != Liveness::Dead {
        return Err(StreamsError::InUse {
            name: header.name.clone(),
            pid: header.creator.pid,
        });
    }
    Ok(())
}

fn fill(name: &str, stream: &Stream, initial: &Initial) -> Result<(), StreamsError> {
    let mut loan = stream.loan(Patience::ENDLESS)?;
    initial
        .fill(&mut loan.array()?)
        .map_err(|source| StreamsError::Initial {
            name: name.to_owned(),
            source,
        })?;
    loan.publish(PublishOptions::default())?;
    Ok(())
}
