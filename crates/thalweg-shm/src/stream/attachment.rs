//! What this process shares about one segment: mappings, its row in the attachment table, pins.
//!
//! One attachment per segment and process, however many handles there are. It lives until the last
//! handle and the last exported view are gone; only then is anything unmapped.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use thalweg_os::file::{self, Access, FileFacts, FileIdentity};
use thalweg_os::mapping::{Mapping, Protection};
use thalweg_os::process::{self, Liveness, ProcessIdentity};
use thalweg_os::set_once::SetOnce;
use thalweg_os::{clock, fork, futex};

use super::error::{LockError, OpenError, StaleReason};
use super::holder::Holder;
use super::lent::Windows;
use super::lossless::Subscriptions;
use super::registry;
use crate::copy::copy_bytes;
use crate::protocol::control::{Control, SlotHeader};
use crate::protocol::lock::LockEnvironment;
use crate::protocol::publish::state;
use crate::protocol::words::{AttachmentId, Head, LockWord, ROWS, Who};
use crate::protocol::{Words, pin::Pin, sync};
use crate::segment::header::{HEADER_BYTES, Header, HeaderError, flags};

/// A slot this process has pinned, or its parent had when it forked, and how many views share the
/// ticket.
#[derive(Debug)]
pub(crate) struct LocalPin {
    pub(crate) pin: Pin,
    pub(crate) views: usize,
    pub(crate) fork_generation: u64,
}

impl LocalPin {
    /// Whether it pins frame `count` in `slot` for the process `fork_generation`.
    pub(crate) fn is_of(&self, slot: usize, count: u64, fork_generation: u64) -> bool {
        self.pin.slot == slot && self.pin.count == count && self.fork_generation == fork_generation
    }
}

/// This process's share in one segment.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) header: Header,
    pub(crate) path: PathBuf,
    identity: FileIdentity,
    file: OwnedFd,
    /// Which process opened `file`.
    opened_in: u64,
    /// The file, opened anew by a forked child, whose descriptor shares its parent's locks; and by
    /// which. Used under the lock of `pins`.
    reopened: Mutex<Option<(u64, OwnedFd)>>,
    access: Access,
    /// Control words, writable if the file is.
    control: Mapping,
    /// The whole segment, read-only: no exported view can damage a stream.
    whole: Mapping,
    /// The whole segment again, for writing frames; made by whoever first takes the lock.
    writable: SetOnce<Mapping>,
    /// `fork generation << 32 | attachment id`; 0 until registered.
    registration: AtomicU64,
    pub(crate) holder: Holder,
    /// Copy of the head, current while `last_holder` names this process. Used under the lock.
    pub(crate) cached_head: AtomicU64,
    /// Fork generation in which a frame is being written, or 0. Used under the lock.
    pub(crate) writing_since: AtomicU64,
    /// When a reader last found the writer of an unfinished frame alive, in monotonic ns.
    pub(crate) writer_seen_alive_ns: AtomicU64,
    pub(crate) pins: Mutex<Vec<LocalPin>>,
    pub(crate) subscriptions: Mutex<Subscriptions>,
    /// Writable mappings to lend memory from, see [`super::lent`].
    pub(crate) windows: Mutex<Windows>,
}

/// The maps in here are valid after every statement, so a panic elsewhere spoils nothing.
pub(crate) fn lock_ignoring_poison<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Attachment {
    /// Attaches to the segment at `path`, which must carry the name `name`.
    pub(crate) fn open(path: &Path, name: &str) -> Result<Arc<Self>, OpenError> {
        let system = |source| OpenError::of_system(source, name, path);
        let (file, access) = match file::open(path, Access::ReadWrite) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => (
                file::open(path, Access::ReadOnly).map_err(system)?,
                Access::ReadOnly,
            ),
            opened => (opened.map_err(system)?, Access::ReadWrite),
        };
        let attachment =
            Self::of_file(file, path, access).map_err(|error| error.into_open_error(name, path))?;
        attachment.check_name(name)?;
        Ok(attachment)
    }

    /// An error unless the segment carries the name `name`.
    pub(crate) fn check_name(&self, name: &str) -> Result<(), OpenError> {
        if self.header.name == name {
            return Ok(());
        }
        Err(OpenError::Header {
            name: name.to_owned(),
            path: self.path.clone(),
            source: HeaderError::Field("name"),
        })
    }

    /// Attaches to an open segment.
    pub(crate) fn of_file(
        file: OwnedFd,
        path: &Path,
        access: Access,
    ) -> Result<Arc<Self>, AttachError> {
        let facts = FileFacts::of(&file)?;
        if !facts.regular || facts.size_bytes < Control::REGION_BYTES as u64 {
            return Err(HeaderError::NotASegment.into());
        }
        let mut attachments = registry::lock();
        if let Some(existing) = attachments.get(&facts.identity).and_then(Weak::upgrade) {
            // A handle that may write does not settle for the mapping of one that may not.
            if existing.access == Access::ReadWrite || access == Access::ReadOnly {
                return Ok(existing);
            }
        }
        let protection = match access {
            Access::ReadOnly => Protection::ReadOnly,
            Access::ReadWrite => Protection::ReadWrite,
        };
        let control = Mapping::new(file.as_fd(), 0, Control::REGION_BYTES, protection)?;
        let mut identity = [0u8; HEADER_BYTES];
        // SAFETY: the mapping is at least HEADER_BYTES long and the target is private.
        unsafe {
            copy_bytes(
                control.address().as_ptr(),
                identity.as_mut_ptr(),
                HEADER_BYTES,
            );
        };
        let header = Header::check(&identity, facts.size_bytes)?;
        let whole = Mapping::new(
            file.as_fd(),
            0,
            header.geometry.file_bytes,
            Protection::ReadOnly,
        )?;
        let attachment = Arc::new(Self {
            header,
            path: path.to_owned(),
            identity: facts.identity,
            file,
            opened_in: fork::generation(),
            reopened: Mutex::new(None),
            access,
            control,
            whole,
            writable: SetOnce::new(),
            registration: AtomicU64::new(0),
            holder: Holder::default(),
            cached_head: AtomicU64::new(0),
            writing_since: AtomicU64::new(0),
            writer_seen_alive_ns: AtomicU64::new(0),
            pins: Mutex::new(Vec::new()),
            subscriptions: Mutex::default(),
            windows: Mutex::default(),
        });
        attachments.retain(|_, weak| weak.strong_count() > 0);
        attachments.insert(facts.identity, Arc::downgrade(&attachment));
        drop(attachments);
        if access == Access::ReadWrite {
            attachment.reap_dead(None);
        }
        Ok(attachment)
    }

    /// The user's name of the stream.
    pub(crate) fn name(&self) -> String {
        self.header.name.clone()
    }

    /// True when this process may write the control words.
    pub(crate) fn is_writable(&self) -> bool {
        self.access == Access::ReadWrite
    }

    /// The shared words; slot headers are behind the read-only mapping.
    pub(crate) fn words(&self) -> Words<'_> {
        self.words_over(&self.whole)
    }

    fn words_over<'a>(&'a self, data: &'a Mapping) -> Words<'a> {
        let control = self.control.address().as_ptr();
        let control = control.wrapping_add(Control::OFFSET).cast::<Control>();
        // SAFETY: the control mapping is REGION_BYTES long, which Control fits in (asserted where
        // it is defined), page aligned, and lives as long as self. Control consists of atomics, so
        // any bits are valid and other processes may change them.
        let control = unsafe { &*control };
        let geometry = &self.header.geometry;
        let headers = data.address().as_ptr();
        let headers = headers.wrapping_add(geometry.headers_offset);
        // SAFETY: the geometry was checked against the file: `slots` headers lie inside the
        // mapping, aligned like it. SlotHeader consists of atomics, as above.
        let slots =
            unsafe { std::slice::from_raw_parts(headers.cast::<SlotHeader>(), geometry.slots) };
        Words {
            control,
            slots,
            reuses_slots: self.header.has(flags::REUSES_SLOTS),
        }
    }

    /// The shared words with writable slot headers, for the holder of the lock.
    pub(crate) fn writer_words(&self) -> io::Result<Words<'_>> {
        Ok(self.words_over(self.writable()?))
    }

    fn writable(&self) -> io::Result<&Mapping> {
        self.writable.get_or_try_init(|| self.map_writable())
    }

    /// One more mapping of the whole segment for writing.
    pub(crate) fn map_writable(&self) -> io::Result<Mapping> {
        Mapping::new(
            self.file.as_fd(),
            0,
            self.header.geometry.file_bytes,
            Protection::ReadWrite,
        )
    }

    /// Address of the payload of `slot` for reading.
    pub(crate) fn payload(&self, slot: usize) -> NonNull<u8> {
        self.payload_in(&self.whole, slot)
    }

    /// Address of the payload of `slot` for writing.
    pub(crate) fn payload_mut(&self, slot: usize) -> io::Result<NonNull<u8>> {
        Ok(self.payload_in(self.writable()?, slot))
    }

    pub(crate) fn payload_in(&self, mapping: &Mapping, slot: usize) -> NonNull<u8> {
        let geometry = &self.header.geometry;
        // Whatever a shared word claimed: no address outside the mapping is ever made.
        let slot = slot.min(geometry.slots - 1);
        let offset = geometry.payload_offset_of(slot);
        debug_assert!(offset + geometry.payload_bytes <= mapping.size_bytes());
        // SAFETY: the checked geometry lies inside the mapping.
        unsafe { mapping.address().add(offset) }
    }

    /// The slot whose payload begins at `address`, where that of slot 0 begins at `first`.
    pub(crate) fn slot_at(&self, first: NonNull<u8>, address: *const u8) -> Option<usize> {
        let geometry = &self.header.geometry;
        let offset = address.addr().checked_sub(first.addr().get())?;
        let slot = offset / geometry.slot_stride_bytes;
        let is_start = offset.is_multiple_of(geometry.slot_stride_bytes);
        (is_start && slot < geometry.slots).then_some(slot)
    }

    /// This process's id in the segment; registers it at first use and after a fork.
    pub(crate) fn id(&self) -> Result<AttachmentId, LockError> {
        let generation = fork::generation();
        let registered = self.registration.load(Ordering::Acquire);
        if registered >> 32 == generation & u64::from(u32::MAX)
            && let Some(id) = AttachmentId::from_bits(registered as u32)
        {
            return Ok(id);
        }
        self.register(generation)
    }

    fn register(&self, generation: u64) -> Result<AttachmentId, LockError> {
        if !self.is_writable() {
            return Err(LockError::ReadOnly { name: self.name() });
        }
        let system = |source| LockError::System {
            name: self.name(),
            source,
        };
        // One registration per process, however many threads come at once.
        let pins = lock_ignoring_poison(&self.pins);
        let registered = self.registration.load(Ordering::Acquire);
        if registered >> 32 == generation & u64::from(u32::MAX)
            && let Some(id) = AttachmentId::from_bits(registered as u32)
        {
            return Ok(id);
        }
        let identity = ProcessIdentity::current().map_err(system)?;
        let namespace = self.namespace_index(identity.pid_namespace);
        let who = Who::new(namespace, identity.start_ticks, identity.pid);
        let id = match self.take_row(who, generation).map_err(system)? {
            Some(id) => id,
            None => {
                self.reap_dead(None);
                self.take_row(who, generation)
                    .map_err(system)?
                    .ok_or_else(|| LockError::TooManyProcesses {
                        name: self.name(),
                        limit: ROWS,
                    })?
            }
        };
        self.registration.store(
            (generation & u64::from(u32::MAX)) << 32 | u64::from(id.bits()),
            Ordering::Release,
        );
        drop(pins);
        Ok(id)
    }

    /// A row, with its witness. The caller holds the lock of `pins`.
    fn take_row(&self, who: Who, generation: u64) -> io::Result<Option<AttachmentId>> {
        let mut reopened = lock_ignoring_poison(&self.reopened);
        let is_own = |of: u64| of == generation;
        if !is_own(self.opened_in) && !reopened.as_ref().is_some_and(|&(of, _)| is_own(of)) {
            // A child's witness must end with the child. Where the file cannot be opened anew, it
            // ends with the last process that has the parent's open file.
            *reopened = file::reopen(&self.file, Access::ReadWrite)
                .ok()
                .map(|file| (generation, file));
        }
        let file = reopened.as_ref().map_or(&self.file, |(_, file)| file);
        self.words().register_witnessed(
            who,
            |row| file::witness(file, row as u64),
            |row| {
                // If it fails, another process takes longer to find out that the row's is dead.
                file::end_witness(file, row as u64).ok();
            },
        )
    }

    fn namespace_index(&self, namespace: u64) -> usize {
        let inodes = &self.words().control.namespaces.inodes;
        inodes
            .iter()
            .position(|inode| {
                let seen =
                    inode.compare_exchange(0, namespace, Ordering::AcqRel, Ordering::Acquire);
                seen == Ok(0) || seen == Err(namespace)
            })
            .unwrap_or(Who::UNKNOWN_NAMESPACE)
    }

    /// The process that `who` is, if its pid means something here.
    fn process_of(&self, who: Who) -> Option<ProcessIdentity> {
        let words = self.words();
        let inode = words
            .control
            .namespaces
            .inodes
            .get(who.namespace_index())
            .map_or(0, |inode| inode.load(Ordering::Acquire));
        (inode != 0 && inode == process::pid_namespace()).then(|| ProcessIdentity {
            pid: who.pid(),
            start_ticks: who.start_ticks(),
            pid_namespace: inode,
        })
    }

    /// Whether the process in `row` lives.
    pub(crate) fn liveness(&self, row: usize, who: Who) -> Liveness {
        if let Some(process) = self.process_of(who)
            && let known @ (Liveness::Alive | Liveness::Dead) = process.liveness()
        {
            return known;
        }
        // Its pid says nothing here; the lock its open file holds does. Opened anew, because it may
        // share this process's.
        let witnessed = file::reopen(&self.file, Access::ReadOnly)
            .and_then(|file| file::is_witnessed(file, row as u64));
        match witnessed {
            Ok(true) => Liveness::Alive,
            Ok(false) => Liveness::Dead,
            Err(_) => Liveness::Unknown,
        }
    }

    pub(crate) fn is_dead(&self, id: AttachmentId) -> bool {
        match self.words().who(id) {
            // The row moved on, so the process of this id is gone.
            None => true,
            Some(who) => self.liveness(id.row(), who) == Liveness::Dead,
        }
    }

    /// Pid of the process `id`, in its own namespace.
    pub(crate) fn pid_of(&self, id: AttachmentId) -> Option<u32> {
        self.words().who(id).map(Who::pid)
    }

    /// Clears the rows of processes that have ended, with their tickets. A lock held by one of
    /// them is taken over and repaired if `own` is given.
    pub(crate) fn reap_dead(&self, own: Option<AttachmentId>) {
        let words = self.words();
        for (row, who) in words.attached() {
            let Some(_reaping) = self.begin_reaping(row, who) else {
                continue;
            };
            words.reap(row, who, |lock| {
                if let Some(own) = own {
                    self.take_over(lock, own);
                }
            });
        }
    }

    /// Makes sure that the process in `row` is dead, and stays so while the result lives: the same
    /// process may leave and come back to the same row, with the same word in it. `None` if it lives
    /// or may live.
    pub(crate) fn begin_reaping(&self, row: usize, who: Who) -> Option<Reaping> {
        if let Some(process) = self.process_of(who) {
            match process.liveness() {
                // What is dead in one's own namespace does not come back.
                Liveness::Dead => return Some(Reaping { _claim: None }),
                Liveness::Alive => return None,
                Liveness::Unknown => {}
            }
        }
        let file = file::reopen(&self.file, Access::ReadWrite).ok()?;
        let is_claimed = file::claim_witness(&file, row as u64).unwrap_or(false);
        is_claimed.then_some(Reaping { _claim: Some(file) })
    }

    /// Takes the lock from the dead holder in `word`, repairs, and gives it back.
    fn take_over(&self, word: LockWord, own: AttachmentId) {
        if self.writer_words().is_err() {
            // Could not be repaired: it stays a dead holder's lock for others.
            return;
        }
        let taken = self.words().control.writer.lock.compare_exchange(
            word.0,
            LockWord::held(own, true).0,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        if taken.is_ok() {
            self.repair(own);
            self.words()
                .release(own, &Environment::new(self, None, None));
        }
    }

    /// Removes what a dead lock holder left. The caller holds the lock as `own`.
    pub(crate) fn repair(&self, own: AttachmentId) {
        let Ok(words) = self.writer_words() else {
            // It was mapped before the lock was taken, and mappings live as long as self.
            return;
        };
        words.repair(words.head(), self.header.has(flags::STRICT));
        words.event(0, false, || self.wake_head());
        self.cached_head.store(words.head().0, Ordering::Relaxed);
        words
            .control
            .writer
            .last_holder
            .store(own.bits(), Ordering::Relaxed);
    }

    /// The head's low half, which sleepers sleep on.
    pub(crate) fn futex_word(&self) -> &sync::AtomicU32 {
        let head = self.words().control.head.head.as_ptr();
        let low: *mut u32 = head.cast();
        let low = if cfg!(target_endian = "big") {
            low.wrapping_add(1)
        } else {
            low
        };
        // SAFETY: one half of an aligned atomic word inside the control mapping. Nobody loads or
        // stores it from here: only its address goes to the kernel, which compares 32 bits while
        // we write 64; every Linux target orders that.
        unsafe { sync::AtomicU32::from_ptr(low) }
    }

    /// Wakes everybody who sleeps on the head, and in a progressive stream on its rows.
    pub(crate) fn wake_head(&self) {
        futex::wake(self.futex_word(), u32::MAX);
        if self.is_progressive() {
            // Not as an answer to those counted in `row_parks`: the caller need not hold the lock.
            let bell = &self.words().control.row_bell.bell;
            bell.fetch_add(1, Ordering::AcqRel);
            self.wake_rows();
        }
    }

    /// Wakes everybody who sleeps until more rows are announced.
    pub(crate) fn wake_rows(&self) {
        futex::wake(&self.words().control.row_bell.bell, u32::MAX);
    }

    /// True when frames can be read while they are written.
    pub(crate) fn is_progressive(&self) -> bool {
        self.header.has(flags::PROGRESSIVE)
    }

    /// Whether the name still leads here, and if not, why. Looks at the file system.
    pub(crate) fn stale_reason(&self) -> Option<StaleReason> {
        if let Some(reason) = stale_state(self.words().state()) {
            return Some(reason);
        }
        match FileFacts::of_path(&self.path) {
            Ok(facts) if facts.identity == self.identity => None,
            Ok(_) => Some(StaleReason::Replaced),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(StaleReason::Unlinked),
            Err(_) => None,
        }
    }

    /// The file this attachment maps.
    pub(crate) fn identity(&self) -> FileIdentity {
        self.identity
    }
}

/// Keeps a row's dead process from coming back, where its pid does not.
pub(crate) struct Reaping {
    /// Holds the row's witness exclusively: nobody takes the row meanwhile.
    _claim: Option<OwnedFd>,
}

/// What the state word says about the stream's future.
pub(crate) fn stale_state(bits: u32) -> Option<StaleReason> {
    if bits & state::REPLACED != 0 {
        Some(StaleReason::Replaced)
    } else if bits & state::UNLINKED != 0 {
        Some(StaleReason::Unlinked)
    } else if bits & state::ENDED != 0 {
        Some(StaleReason::Ended)
    } else {
        None
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // The row, if it is this process's and not a parent's, with whatever is still in it.
        let registered = *self.registration.get_mut();
        let generation = fork::generation() & u64::from(u32::MAX);
        if registered >> 32 == generation
            && let Some(id) = AttachmentId::from_bits(registered as u32)
            && let Some(who) = self.words().who(id)
        {
            self.words().reap(id.row(), who, |_held| {});
            // A forked child may keep the open file, and with it a witness for whoever comes next.
            let reopened = self.reopened.get_mut();
            let reopened = reopened.unwrap_or_else(PoisonError::into_inner).as_ref();
            let file = reopened.map_or(&self.file, |(_, file)| file);
            file::end_witness(file, id.row() as u64).ok();
        }
    }
}

/// Why a file could not be attached to.
#[derive(Debug)]
pub(crate) enum AttachError {
    System(io::Error),
    Header(HeaderError),
}

impl AttachError {
    /// The same about the stream `name` at `path`.
    pub(crate) fn into_open_error(self, name: &str, path: &Path) -> OpenError {
        match self {
            Self::System(source) => OpenError::of_system(source, name, path),
            Self::Header(source) => OpenError::Header {
                name: name.to_owned(),
                path: path.to_owned(),
                source,
            },
        }
    }
}

impl From<io::Error> for AttachError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<HeaderError> for AttachError {
    fn from(error: HeaderError) -> Self {
        Self::Header(error)
    }
}

/// Asks the caller of a long wait whether it should end, after every signal and at least every
/// 100 ms.
pub type Interrupt<'a> = &'a dyn Fn() -> bool;

/// The outside world of the lock protocol.
pub(crate) struct Environment<'a> {
    attachment: &'a Attachment,
    deadline_ns: Option<u64>,
    interrupt: Option<Interrupt<'a>>,
}

impl<'a> Environment<'a> {
    pub(crate) fn new(
        attachment: &'a Attachment,
        deadline_ns: Option<u64>,
        interrupt: Option<Interrupt<'a>>,
    ) -> Self {
        Self {
            attachment,
            deadline_ns,
            interrupt,
        }
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupt.is_some_and(|interrupt| interrupt())
    }
}

impl LockEnvironment for Environment<'_> {
    fn sleep(&self, word: &AtomicU32, expected: u32, slice_ns: u64) {
        let slice_end = clock::monotonic_ns() + slice_ns;
        let end = self
            .deadline_ns
            .map_or(slice_end, |deadline| deadline.min(slice_end));
        futex::wait(word, expected, Some(end));
    }

    fn wake_one(&self, word: &AtomicU32) -> bool {
        futex::wake(word, 1) > 0
    }

    fn is_dead(&self, owner: AttachmentId) -> bool {
        self.attachment.is_dead(owner)
    }

    fn gives_up(&self) -> bool {
        self.deadline_ns
            .is_some_and(|deadline| clock::monotonic_ns() >= deadline)
            || self.is_interrupted()
    }
}

/// Reads the head the way a lock holder may: from this process's copy if nobody else wrote since.
pub(crate) fn head_under_lock(attachment: &Attachment, own: AttachmentId) -> Head {
    let words = attachment.words();
    let last = &words.control.writer.last_holder;
    if last.load(Ordering::Relaxed) != own.bits() {
        attachment
            .cached_head
            .store(words.head().0, Ordering::Relaxed);
        last.store(own.bits(), Ordering::Relaxed);
    }
    Head(attachment.cached_head.load(Ordering::Relaxed))
}
