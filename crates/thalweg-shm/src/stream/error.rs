//! What can go wrong with a stream, one enum per operation.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thalweg_os::file::BuildError;

use crate::dtype::DType;
use crate::protocol::Corrupt;
use crate::segment::geometry::GeometryError;
use crate::segment::header::HeaderError;
use crate::segment::name::NameError;

/// A stream could not be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The name cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Dtype, shape or slots cannot be.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The name is taken.
    #[error("shared memory stream {name:?} already exists")]
    Exists {
        /// The name.
        name: String,
    },
    /// No file of that size could be made.
    #[error("cannot create stream {name:?}: {source}")]
    Build {
        /// The name.
        name: String,
        /// Why.
        source: BuildError,
    },
    /// The system refused something else.
    #[error("cannot create stream {name:?} in {}: {source}", directory.display())]
    System {
        /// The name.
        name: String,
        /// The folder.
        directory: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// A stream was not replaced; what had the name before still has it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplaceError {
    /// The new stream could not be created.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The stream belongs to a run that is under way.
    #[error("stream {name:?} belongs to a running pipeline (process {pid}): stop that first")]
    InUse {
        /// The stream.
        name: String,
        /// Pid of the run.
        pid: u32,
    },
    /// The system refused.
    #[error("cannot replace stream {name:?}: {source} ({})", path.display())]
    System {
        /// The stream.
        name: String,
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// A stream could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The name cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No such stream.
    #[error("shared memory stream {name:?} does not exist")]
    Missing {
        /// The name.
        name: String,
    },
    /// No such stream came into being.
    #[error(
        "shared memory stream {name:?} did not appear in {} within {waited:.1?}: start the process that creates it, allow it more time, or check the name",
        directory.display()
    )]
    TimedOut {
        /// The name.
        name: String,
        /// The folder.
        directory: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// The caller's interrupt asked to stop.
    #[error("interrupted while waiting for shared memory stream {name:?} to be created")]
    Interrupted {
        /// The name.
        name: String,
    },
    /// The file is not a stream.
    #[error("cannot open stream {name:?}: {source} ({})", path.display())]
    Header {
        /// The name.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: HeaderError,
    },
    /// The system refused.
    #[error("cannot open stream {name:?}: {source} ({})", path.display())]
    System {
        /// The name.
        name: String,
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl OpenError {
    /// What the system said about the stream `name` at `path`.
    pub(crate) fn of_system(source: io::Error, name: &str, path: &Path) -> Self {
        let name = name.to_owned();
        if source.kind() == io::ErrorKind::NotFound {
            Self::Missing { name }
        } else {
            let path = path.to_owned();
            Self::System { name, path, source }
        }
    }
}

/// Why a handle cannot be used, whatever for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StaleReason {
    /// The name was removed.
    #[error("it was unlinked")]
    Unlinked,
    /// The name leads to a newer stream.
    #[error("it was replaced by a newer stream of the same name")]
    Replaced,
    /// The writer declared the end.
    #[error("its writer ended it")]
    Ended,
}

/// The writer lock was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody else held it until the deadline.
    #[error(
        "timed out waiting for the shared memory lock of stream {name:?}{}{}",
        held_by(*.holder),
        waiting_for(*.waits_for)
    )]
    TimedOut {
        /// The stream.
        name: String,
        /// Pid of the holder, if another process.
        holder: Option<u32>,
        /// Pid of the lossless reader that keeps the holder from going on, if one does.
        waits_for: Option<u32>,
    },
    /// The caller's interrupt asked to stop.
    #[error("interrupted while waiting for the shared memory lock of stream {name:?}")]
    Interrupted {
        /// The stream.
        name: String,
    },
    /// This process may only read the stream.
    #[error("stream {name:?} is read-only for this process")]
    ReadOnly {
        /// The stream.
        name: String,
    },
    /// All rows of the attachment table are taken by living processes.
    #[error("stream {name:?} has {limit} attached processes already")]
    TooManyProcesses {
        /// The stream.
        name: String,
        /// Rows of the table.
        limit: usize,
    },
    /// The system refused.
    #[error("cannot attach to stream {name:?}: {source}")]
    System {
        /// The stream.
        name: String,
        /// What it said.
        source: io::Error,
    },
}

fn held_by(holder: Option<u32>) -> String {
    holder.map_or_else(
        || ": another thread of this process holds it".to_owned(),
        |pid| format!(": process {pid} holds it"),
    )
}

fn waiting_for(reader: Option<u32>) -> String {
    reader.map_or_else(String::new, |pid| {
        format!(
            ", and waits for a lossless reader in process {pid}; let that read faster, subscribe it \
             with a larger budget, or end it"
        )
    })
}

fn in_process(pid: Option<u32>) -> String {
    pid.map_or_else(
        || " (its process has left meanwhile)".to_owned(),
        |pid| format!(" in process {pid}"),
    )
}

/// A frame was not written. The last good frame is still there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The lock was not taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The payload has another size.
    #[error("stream {name:?} holds {expected_bytes} bytes per frame, found {found_bytes}")]
    Size {
        /// The stream.
        name: String,
        /// Bytes of a payload.
        expected_bytes: usize,
        /// Bytes given.
        found_bytes: usize,
    },
    /// The payload has another dtype or shape.
    #[error(
        "stream {name:?} holds {expected_dtype} of shape {expected_shape:?}, found {found_dtype} of shape {found_shape:?}"
    )]
    Shape {
        /// The stream.
        name: String,
        /// Its dtype.
        expected_dtype: DType,
        /// Its shape.
        expected_shape: Vec<usize>,
        /// Dtype given.
        found_dtype: DType,
        /// Shape given.
        found_shape: Vec<usize>,
    },
    /// The same thread is writing a frame already.
    #[error("a frame of stream {name:?} is being written already: publish or abort it first")]
    ScopeOpen {
        /// The stream.
        name: String,
    },
    /// A lossless reader was as far behind as its budget allows until the deadline.
    #[error(
        "timed out waiting for a lossless reader of stream {name:?}{}: it is {behind} frames behind the newest and its budget is {budget}, so the next frame has no room; let it read faster, subscribe it with a larger budget, or end it",
        in_process(*.pid)
    )]
    Lagging {
        /// The stream.
        name: String,
        /// Pid of its process, in its own namespace, if it is still known.
        pid: Option<u32>,
        /// Published frames it is not done with.
        behind: u64,
        /// Frames the writer may begin beyond those it is done with.
        budget: usize,
    },
    /// The caller's interrupt asked to stop.
    #[error("interrupted while waiting for the lossless readers of stream {name:?}")]
    Interrupted {
        /// The stream.
        name: String,
    },
    /// Rows were announced where nobody can look for them.
    #[error(
        "stream {name:?} is not progressive, so no rows of an unfinished frame can be announced: create it with progressive set"
    )]
    NotProgressive {
        /// The stream.
        name: String,
    },
    /// Fewer rows were announced than before, or more than there are.
    #[error(
        "{announced} of the {of_rows} rows of a frame of stream {name:?} are announced, found {found}: announce {announced} to {of_rows}"
    )]
    Rows {
        /// The stream.
        name: String,
        /// Rows announced before.
        announced: usize,
        /// Rows of a frame.
        of_rows: usize,
        /// Rows given.
        found: usize,
    },
    /// The frame was begun before a fork.
    #[error(
        "a frame of stream {name:?} belongs to the parent process, which began it: write another"
    )]
    Inherited {
        /// The stream.
        name: String,
    },
    /// See [`Corrupt`].
    #[error("stream {name:?}: {source}")]
    Corrupt {
        /// The stream.
        name: String,
        /// What was found.
        source: Corrupt,
    },
    /// The system refused to map the segment for writing.
    #[error("cannot map stream {name:?} for writing: {source}")]
    System {
        /// The stream.
        name: String,
        /// What it said.
        source: io::Error,
    },
}

/// No frame was read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The target has another size.
    #[error(
        "stream {name:?} holds {expected_bytes} bytes per frame, the target holds {found_bytes}"
    )]
    Size {
        /// The stream.
        name: String,
        /// Bytes of a payload.
        expected_bytes: usize,
        /// Bytes of the target.
        found_bytes: usize,
    },
    /// The writer gave its frame up, in a strict stream or before the first complete one.
    #[error(
        "stream {name:?} has an incomplete write: the writer aborted or exited before it was done"
    )]
    Inconsistent {
        /// The stream.
        name: String,
    },
    /// The target has another dtype or shape.
    #[error("stream {name:?} holds {expected}, the target is {found}")]
    Shape {
        /// The stream.
        name: String,
        /// Dtype and shape of the stream.
        expected: String,
        /// Dtype and shape of the target.
        found: String,
    },
    /// Frames were replaced faster than they could be copied.
    #[error(
        "timed out waiting for a stable write of stream {name:?}: {attempts} copies were overtaken by the writer and no pin ticket was free (create it with more slots)"
    )]
    Overtaken {
        /// The stream.
        name: String,
        /// Copies that were started.
        attempts: u32,
    },
    /// See [`Corrupt`].
    #[error("stream {name:?}: {source}")]
    Corrupt {
        /// The stream.
        name: String,
        /// What was found.
        source: Corrupt,
    },
}

/// No frame was borrowed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BorrowError {
    /// Nothing was published yet.
    #[error("stream {name:?} has no frame to borrow yet")]
    Empty {
        /// The stream.
        name: String,
    },
    /// The writer gave its frame up, in a strict stream or before the first complete one.
    #[error(
        "stream {name:?} has an incomplete write: the writer aborted or exited before it was done"
    )]
    Inconsistent {
        /// The stream.
        name: String,
    },
    /// Two slots leave nothing to pin.
    #[error(
        "borrow() needs slots >= 3; stream {name:?} has 2: use read(), or create it with more slots"
    )]
    TooFewSlots {
        /// The stream.
        name: String,
    },
    /// All tickets are taken by living processes.
    #[error(
        "all {tickets} frames of stream {name:?} that can be borrowed at once are held (by process {}): release one, or create the stream with slots >= {}",
        list(holders),
        tickets + 3
    )]
    Limit {
        /// The stream.
        name: String,
        /// Tickets of the stream.
        tickets: usize,
        /// Pids of the holders.
        holders: Vec<u32>,
    },
    /// This process may only read the stream.
    #[error(
        "stream {name:?} is read-only for this process, and borrowing needs a ticket: use read()"
    )]
    ReadOnly {
        /// The stream.
        name: String,
    },
    /// No row in the attachment table.
    #[error(transparent)]
    Attach(LockError),
    /// See [`Corrupt`].
    #[error("stream {name:?}: {source}")]
    Corrupt {
        /// The stream.
        name: String,
        /// What was found.
        source: Corrupt,
    },
}

fn list(pids: &[u32]) -> String {
    let texts: Vec<String> = pids.iter().map(u32::to_string).collect();
    texts.join(", ")
}

/// Nobody was subscribed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// A budget the stream can never grant.
    #[error(
        "a lossless reader of stream {name:?} can have a budget of 1 to {slots} frames, its number of slots, found {budget}"
    )]
    Budget {
        /// The stream.
        name: String,
        /// Slots of the stream.
        slots: usize,
        /// The budget asked for.
        budget: usize,
    },
    /// The tickets that the budget costs are taken by living processes.
    #[error(
        "a budget of {budget} frames takes {} of the {tickets} tickets of stream {name:?}, and too few are free (held by process {}): release borrowed frames, subscribe with a budget of 2, which needs none, or create the stream with more slots",
        budget - 2,
        list(holders)
    )]
    Limit {
        /// The stream.
        name: String,
        /// The budget asked for, above 2.
        budget: usize,
        /// Tickets of the stream.
        tickets: usize,
        /// Pids of the holders.
        holders: Vec<u32>,
    },
    /// This process may only read the stream.
    #[error(
        "stream {name:?} is read-only for this process, and the writer has to know its lossless readers: use read()"
    )]
    ReadOnly {
        /// The stream.
        name: String,
    },
    /// No row in the attachment table.
    #[error(transparent)]
    Attach(LockError),
}

/// A lossless reader did not get its next frame. The frame is not lost.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LosslessError {
    /// It did not come.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// It could not be copied.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The reader was subscribed before a fork.
    #[error(
        "this lossless reader of stream {name:?} belongs to the parent process, which subscribed it: subscribe another"
    )]
    Inherited {
        /// The stream.
        name: String,
    },
    /// See [`Corrupt`].
    #[error("stream {name:?}: {source}")]
    Corrupt {
        /// The stream.
        name: String,
        /// What was found.
        source: Corrupt,
    },
}

/// Rows of a frame were not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowsError {
    /// They did not come.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// The target has another size.
    #[error(
        "{rows} rows of stream {name:?} are {expected_bytes} bytes, the target holds {found_bytes}"
    )]
    Size {
        /// The stream.
        name: String,
        /// Rows asked for.
        rows: usize,
        /// Their bytes.
        expected_bytes: usize,
        /// Bytes of the target.
        found_bytes: usize,
    },
    /// More rows were asked for than there are, or than are known to be written.
    #[error(
        "{of_rows} rows of a frame of stream {name:?} can be asked for here, found {found}; wait_more_rows() waits for more of them"
    )]
    Rows {
        /// The stream.
        name: String,
        /// Rows there are.
        of_rows: usize,
        /// Rows asked for.
        found: usize,
    },
    /// Frames of this stream can be read only once they are complete.
    #[error(
        "stream {name:?} is not progressive, so its frames can be read only when they are complete: use read(), or create it with progressive set"
    )]
    NotProgressive {
        /// The stream.
        name: String,
    },
    /// The writer gave the frame up, or died: the rows read of it so far are no part of the stream.
    #[error(
        "frame {count} of stream {name:?} was given up by its writer before it was complete: drop the rows read of it, and wait for its next attempt"
    )]
    FrameAborted {
        /// The stream.
        name: String,
        /// Number of the frame; the next attempt has the same.
        count: u64,
    },
    /// The frame's slot holds another one by now.
    #[error(
        "frame {count} of stream {name:?} was replaced before the rows were read: read sooner, or create the stream with more slots"
    )]
    Overtaken {
        /// The stream.
        name: String,
        /// Number of the frame.
        count: u64,
    },
}

/// A wait ended without a new frame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The deadline passed.
    #[error("timed out waiting for stream {name:?} to pass count {after}")]
    TimedOut {
        /// The stream.
        name: String,
        /// The count that was not passed.
        after: u64,
    },
    /// Nothing new will ever come under this handle.
    #[error("stream {name:?} will not be written any more: {reason}")]
    Stale {
        /// The stream.
        name: String,
        /// Why.
        reason: StaleReason,
    },
    /// A wait for any of several streams was given none.
    #[error("no stream to wait for: name at least one")]
    NoStream,
    /// The thread that waits on behalf of futures could not be started.
    #[error("cannot wait for stream {name:?}: no thread could be started to wait for it: {source}")]
    System {
        /// The stream.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody closed the handle meanwhile.
    #[error("stream {name:?} was closed while a read was waiting")]
    Closed {
        /// The stream.
        name: String,
    },
    /// The caller's interrupt asked to stop.
    #[error("interrupted while waiting for stream {name:?}")]
    Interrupted {
        /// The stream.
        name: String,
    },
    /// The writer gave its frame up, in a strict stream.
    #[error(
        "stream {name:?} has an incomplete write: the writer aborted or exited before it was done"
    )]
    Inconsistent {
        /// The stream.
        name: String,
    },
}

/// A name was not removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnlinkError {
    /// The name cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The handle belongs to an older stream of this name.
    #[error("stream {name:?} was replaced by a newer generation; this handle cannot unlink it")]
    Stale {
        /// The stream.
        name: String,
    },
    /// The stream belongs to a run that is under way.
    #[error("stream {name:?} belongs to a running pipeline (process {pid}): stop that first")]
    InUse {
        /// The stream.
        name: String,
        /// Pid of the run.
        pid: u32,
    },
    /// The system refused.
    #[error("cannot unlink stream {name:?}: {source} ({})", path.display())]
    System {
        /// The stream.
        name: String,
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}
