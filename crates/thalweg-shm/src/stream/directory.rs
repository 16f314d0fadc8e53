//! The folder streams live in: creating, opening, finding and removing them by name.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thalweg_os::clock;
use thalweg_os::file::{self, Access, FileFacts, UnpublishedFile};
use thalweg_os::locked_file::LockedFile;
use thalweg_os::mapping::{Mapping, Protection};
use thalweg_os::process::{Liveness, ProcessIdentity, boot_id};
use thalweg_os::random::random_id;

use super::attachment::Attachment;
use super::error::{CreateError, OpenError, UnlinkError};
use super::publication::Publication;
use super::{Stream, StreamOptions, spin};
use crate::copy::copy_bytes;
use crate::dtype::DType;
use crate::protocol::control::Control;
use crate::protocol::publish::state;
use crate::protocol::sync::Ordering;
use crate::protocol::words::{LockWord, RowsDone};
use crate::segment::geometry::{Geometry, GeometryError};
use crate::segment::header::{Header, flags};
use crate::segment::name::{PREFIX, file_name};

/// A folder on a shared-memory file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamDirectory {
    path: PathBuf,
}

impl Default for StreamDirectory {
    /// `/dev/shm`, or what the environment variable `THALWEG_SHM_DIR` names.
    fn default() -> Self {
        Self::new(file::default_directory())
    }
}

/// Facts about one stream, as of one look.
#[derive(Clone, Debug)]
pub struct StreamStat {
    /// Name, layout, creator and flags.
    pub header: Header,
    /// Whether the creating process still runs.
    pub creator: Liveness,
    /// The newest frame; count 0 if there is none.
    pub newest: Publication,
    /// Attached processes that live: pid in its own namespace.
    pub attached_pids: Vec<u32>,
    /// Frames borrowed right now.
    pub borrowed: usize,
    /// Processes with lossless readers, which the writer waits for.
    pub lossless: Vec<LosslessStat>,
    /// Pid of the process that holds the writer lock.
    pub lock_holder_pid: Option<u32>,
    /// True if this process may write it.
    pub is_writable: bool,
    /// Bytes of the file.
    pub file_bytes: u64,
}

/// The lossless readers of one process, as of one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LosslessStat {
    /// Pid in its own namespace.
    pub pid: u32,
    /// Frames published that the slowest of them is not done with.
    pub lag: u64,
    /// Frames the writer may begin beyond those it is done with: the smallest budget among them.
    pub budget: usize,
}

/// What became of one stream in [`StreamDirectory::purge`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purged {
    /// It was removed (or would have been).
    Removed,
    /// It belongs to a run of this process, which lives.
    InUse {
        /// Pid of the run.
        pid: u32,
    },
    /// It could not be removed.
    Failed {
        /// Why.
        message: String,
    },
}

impl StreamDirectory {
    /// The folder `path`, which should be on a tmpfs.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates the stream `name`: built without a name, complete before anybody can see it. A
    /// creator that dies half way leaves nothing.
    pub fn create(&self, name: &str, options: &StreamOptions) -> Result<Stream, CreateError> {
        let file_name = file_name(name)?;
        let path = self.path.join(&file_name);
        let exists = || CreateError::Exists {
            name: name.to_owned(),
        };
        if FileFacts::of_path(&path).is_ok() {
            // Saves building a large segment in vain; linking it decides.
            return Err(exists());
        }
        let mut file = self.build(name, options)?;
        let published = file.publish(&file_name);
        published
            .and_then(|descriptor| Self::attach(descriptor, &path))
            .map_err(|error| {
                if error.kind() == io::ErrorKind::AlreadyExists {
                    exists()
                } else {
                    self.cannot_create(name, error)
                }
            })
    }

    /// A complete stream without a name.
    pub(crate) fn build(
        &self,
        name: &str,
        options: &StreamOptions,
    ) -> Result<UnpublishedFile, CreateError> {
        file_name(name)?;
        let geometry = Geometry::new(options.dtype, &options.shape, options.slots)?;
        if options.progressive && geometry.shape[0] > RowsDone::MAX_ROWS {
            return Err(CreateError::Geometry(GeometryError::TooManyRows {
                rows: geometry.shape[0],
                most: RowsDone::MAX_ROWS,
            }));
        }
        let system = |source| self.cannot_create(name, source);
        let header = Header {
            name: name.to_owned(),
            instance: random_id().map_err(system)?,
            boot: boot_id(),
            creator: ProcessIdentity::current().map_err(system)?,
            flags: flags_of(options),
            created_wall_ns: clock::wall_ns(),
            geometry,
        };
        let file = UnpublishedFile::new(
            &self.path,
            header.geometry.file_bytes as u64,
            options.mode,
            options.group,
        )
        .map_err(|source| CreateError::Build {
            name: name.to_owned(),
            source,
        })?;
        write_identity(&file, &header).map_err(system)?;
        Ok(file)
    }

    /// A handle of the stream that this process just gave the name `path`.
    pub(crate) fn attach(descriptor: OwnedFd, path: &Path) -> io::Result<Stream> {
        let attachment = Attachment::of_file(descriptor, path, Access::ReadWrite)
            .map_err(|error| io::Error::other(format!("the new segment: {error:?}")))?;
        Ok(Stream::of(attachment))
    }

    fn cannot_create(&self, name: &str, source: io::Error) -> CreateError {
        CreateError::System {
            name: name.to_owned(),
            directory: self.path.clone(),
            source,
        }
    }

    /// Opens the stream `name`; read-only if its mode allows this process no more.
    pub fn open(&self, name: &str) -> Result<Stream, OpenError> {
        let path = self.path.join(file_name(name)?);
        Ok(Stream::of(Attachment::open(&path, name)?))
    }

    /// Removes the stream `name`, whatever generation is current; also a file of that name that is
    /// no stream, so that no name is ever stuck. True if there was something to remove.
    ///
    /// Streams of a running pipeline are refused.
    pub fn unlink(&self, name: &str) -> Result<bool, UnlinkError> {
        let path = self.path.join(file_name(name)?);
        match Attachment::open(&path, name) {
            Ok(attachment) => {
                refuse_live_run(&attachment.header)?;
                match unlink_attachment(&attachment) {
                    // Replaced meanwhile, by what is current now.
                    Err(UnlinkError::Stale { .. }) => self.unlink(name),
                    removed => removed.map(|()| true),
                }
            }
            // Only waiting for a stream ends in the last two.
            Err(
                OpenError::Missing { .. }
                | OpenError::TimedOut { .. }
                | OpenError::Interrupted { .. },
            ) => Ok(false),
            Err(OpenError::Header { .. }) => match unlink_unreadable(&path, name)? {
                Some(removed) => Ok(removed),
                None => self.unlink(name),
            },
            Err(OpenError::System { name, path, source }) => {
                Err(UnlinkError::System { name, path, source })
            }
            Err(OpenError::Name(error)) => Err(error.into()),
        }
    }

    /// Names of all streams this user can read, sorted.
    pub fn list(&self) -> io::Result<Vec<String>> {
        let mut names: Vec<String> = self
            .segments()?
            .into_iter()
            .filter_map(|path| header_of(&path))
            .map(|header| header.name)
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Files that carry the name of a stream and are none, or that this user may not read. No
    /// creator leaves such: it was another program's, another format's, or another user's.
    pub fn unreadable(&self) -> io::Result<Vec<PathBuf>> {
        let mut paths = self.segments()?;
        paths.retain(|path| header_of(path).is_none() && FileFacts::of_path(path).is_ok());
        paths.sort_unstable();
        Ok(paths)
    }

    fn segments(&self) -> io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with(PREFIX)) {
                paths.push(entry.path());
            }
        }
        Ok(paths)
    }

    /// Facts about the stream `name`.
    pub fn stat(&self, name: &str) -> Result<StreamStat, OpenError> {
        let path = self.path.join(file_name(name)?);
        let attachment = Attachment::open(&path, name)?;
        let words = attachment.words();
        let lock = LockWord(words.control.writer.lock.load(Ordering::Relaxed));
        let attached_pids = words
            .attached()
            .filter(|&(row, who)| attachment.liveness(row, who) != Liveness::Dead)
            .map(|(_, who)| who.pid())
            .collect();
        Ok(StreamStat {
            creator: attachment.header.creator_liveness(),
            newest: attachment.newest(),
            attached_pids,
            borrowed: words.pin_owners().count(),
            lossless: lossless_stats(&attachment),
            lock_holder_pid: lock.owner().and_then(|owner| attachment.pid_of(owner)),
            is_writable: attachment.is_writable(),
            file_bytes: attachment.header.geometry.file_bytes as u64,
            header: attachment.header.clone(),
        })
    }

    /// Removes every stream whose name begins with `prefix`, except those of pipelines that run,
    /// and what creators that died have left. With `dry_run` it only tells what it would do.
    pub fn purge(&self, prefix: &str, dry_run: bool) -> io::Result<Vec<(String, Purged)>> {
        let mut purged = Vec::new();
        for name in self.list()? {
            if !name.starts_with(prefix) {
                continue;
            }
            let outcome = if dry_run {
                self.stat(&name)
                    .map_err(|error| error.to_string())
                    .and_then(|stat| {
                        refuse_live_run(&stat.header).map_err(|error| error.to_string())
                    })
            } else {
                self.unlink(&name)
                    .map(drop)
                    .map_err(|error| error.to_string())
            };
            let live_run = self
                .stat(&name)
                .ok()
                .and_then(|stat| live_run(&stat.header));
            purged.push((
                name,
                match (outcome, live_run) {
                    (Ok(()), _) => Purged::Removed,
                    (Err(_), Some(pid)) => Purged::InUse { pid },
                    (Err(message), None) => Purged::Failed { message },
                },
            ));
        }
        if !dry_run {
            self.tidy()?;
        }
        Ok(purged)
    }

    /// Removes what nobody uses any more and no name leads to: segments whose creators died before
    /// naming them, and, in the default directory, the user's file of permits to spin.
    pub fn tidy(&self) -> io::Result<()> {
        file::remove_abandoned(&self.path)?;
        if *self == Self::default() {
            spin::remove_unused_permits();
        }
        Ok(())
    }
}

fn lossless_stats(attachment: &Attachment) -> Vec<LosslessStat> {
    let words = attachment.words();
    words
        .subscribers()
        .filter_map(|subscriber| {
            let who = words.who(subscriber.owner)?;
            let row = subscriber.owner.row();
            (attachment.liveness(row, who) != Liveness::Dead).then(|| LosslessStat {
                pid: who.pid(),
                lag: words.head().count().saturating_sub(subscriber.cursor),
                budget: subscriber.budget.into(),
            })
        })
        .collect()
}

fn flags_of(options: &StreamOptions) -> u32 {
    let reads_without_writing = |shift: u32| options.mode >> shift & 0o6 == 0o4;
    let mut bits = 0;
    if options.strict {
        bits |= flags::STRICT;
    }
    if options.ends_with_creator {
        bits |= flags::ENDS_WITH_CREATOR;
    }
    if options.reuse_slots {
        bits |= flags::REUSES_SLOTS;
    }
    if options.progressive {
        bits |= flags::PROGRESSIVE;
    }
    if options.notify {
        bits |= flags::NOTIFY;
    }
    if reads_without_writing(3) || reads_without_writing(0) {
        bits |= flags::WAKE_ALWAYS;
    }
    bits
}

/// Fills in the identity and the words that do not begin as zero, and touches every page.
fn write_identity(file: &UnpublishedFile, header: &Header) -> io::Result<()> {
    let mapping = Mapping::new(
        file.descriptor(),
        0,
        header.geometry.file_bytes,
        Protection::ReadWrite,
    )?;
    let identity = header.encode();
    let control = Control::new();
    let start = mapping.address().as_ptr();
    // SAFETY: the mapping is at least REGION_BYTES long, and private until published.
    unsafe { copy_bytes(identity.as_ptr(), start, identity.len()) };
    // SAFETY: as above; Control fits in the region behind the identity, and is plain words.
    unsafe {
        copy_bytes(
            std::ptr::from_ref(&control).cast(),
            start.wrapping_add(Control::OFFSET),
            size_of::<Control>(),
        );
    };
    Ok(())
}

fn header_of(path: &Path) -> Option<Header> {
    use std::os::fd::AsFd;
    let file = file::open(path, Access::ReadOnly).ok()?;
    let facts = FileFacts::of(&file).ok()?;
    if !facts.regular || facts.size_bytes < Control::REGION_BYTES as u64 {
        return None;
    }
    let mapping = Mapping::new(file.as_fd(), 0, Control::OFFSET, Protection::ReadOnly).ok()?;
    let mut identity = [0u8; Control::OFFSET];
    // SAFETY: the mapping is OFFSET bytes long and the target is private.
    unsafe {
        copy_bytes(
            mapping.address().as_ptr(),
            identity.as_mut_ptr(),
            Control::OFFSET,
        );
    };
    let header = Header::check(&identity, facts.size_bytes).ok()?;
    let expected = file_name(&header.name).ok()?;
    (path.file_name()?.to_str()? == expected).then_some(header)
}

/// Pid of the living run the stream belongs to.
pub(crate) fn live_run(header: &Header) -> Option<u32> {
    let is_live = header.has(flags::ENDS_WITH_CREATOR)
        && header.creator_liveness() != Liveness::Dead
        && header.creator.pid != std::process::id();
    is_live.then_some(header.creator.pid)
}

fn refuse_live_run(header: &Header) -> Result<(), UnlinkError> {
    match live_run(header) {
        Some(pid) => Err(UnlinkError::InUse {
            name: header.name.clone(),
            pid,
        }),
        None => Ok(()),
    }
}

/// Removes the name of `attachment` while it leads there, and wakes everybody.
pub(crate) fn unlink_attachment(attachment: &Arc<Attachment>) -> Result<(), UnlinkError> {
    let path = &attachment.path;
    let system = |source| UnlinkError::System {
        name: attachment.name(),
        path: path.clone(),
        source,
    };
    // Only the holder of the file's lock may remove or replace the name: nobody removes a
    // generation he did not look at.
    let lock = match LockedFile::open(path) {
        // Gone already, by somebody else's hand: the waiters may not know yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            announce_unlink(attachment);
            return Ok(());
        }
        opened => opened.map_err(system)?,
    };
    let is_own = lock.identity() == attachment.identity();
    let is_current = lock.is_at(path);
    if !is_own {
        return if is_current {
            Err(UnlinkError::Stale {
                name: attachment.name(),
            })
        } else {
            // The name changed hands while waiting for the lock: look again.
            drop(lock);
            unlink_attachment(attachment)
        };
    }
    if is_current {
        file::remove(path).map_err(system)?;
    }
    announce_unlink(attachment);
    Ok(())
}

fn announce_unlink(attachment: &Attachment) {
    announce(attachment, state::UNLINKED);
}

/// Tells everybody who waits on a stream what became of it.
pub(crate) fn announce(attachment: &Attachment, bits: u32) {
    if attachment.is_writable() {
        let words = attachment.words();
        words.event(bits, false, || attachment.wake_head());
    }
}

/// Removes a file that is no stream; whether there was one. `None` if it is one by now.
fn unlink_unreadable(path: &Path, name: &str) -> Result<Option<bool>, UnlinkError> {
    let system = |source| UnlinkError::System {
        name: name.to_owned(),
        path: path.to_owned(),
        source,
    };
    let lock = match LockedFile::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(false)),
        opened => opened.map_err(system)?,
    };
    let is_no_stream = matches!(Attachment::open(path, name), Err(OpenError::Header { .. }));
    if !lock.is_at(path) || !is_no_stream {
        return Ok(None);
    }
    file::remove(path).map_err(system)?;
    Ok(Some(true))
}

/// Dtype and shape in one line, for messages: `float32[480, 640]`.
pub fn describe_layout(dtype: DType, shape: &[usize]) -> String {
    format!("{dtype}{shape:?}")
}
