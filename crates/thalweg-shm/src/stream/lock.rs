//! Holding the writer lock of a stream.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use thalweg_os::clock::monotonic_ns;
use thalweg_os::fork;

use super::attachment::{Attachment, Environment, Interrupt};
use super::error::LockError;
use super::holder::ThreadKey;
use crate::protocol::lock::Acquired;
use crate::protocol::words::Head;

/// How long to wait, and who may end the wait early.
#[derive(Clone, Copy, Default)]
pub struct Patience<'a> {
    /// Absolute monotonic deadline in ns; `None` waits for ever.
    pub deadline_ns: Option<u64>,
    /// Asked after every signal and at least every 100 ms; true ends the wait.
    pub interrupt: Option<Interrupt<'a>>,
}

impl std::fmt::Debug for Patience<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Patience")
            .field("deadline_ns", &self.deadline_ns)
            .field("interruptible", &self.interrupt.is_some())
            .finish()
    }
}

impl Patience<'_> {
    /// Waits for ever, uninterrupted.
    pub const ENDLESS: Self = Self {
        deadline_ns: None,
        interrupt: None,
    };

    /// Waits until `deadline_ns`, uninterrupted.
    pub fn until(deadline_ns: u64) -> Self {
        Self {
            deadline_ns: Some(deadline_ns),
            interrupt: None,
        }
    }

    /// True once the deadline is reached.
    pub(crate) fn has_passed(&self) -> bool {
        self.deadline_ns
            .is_some_and(|deadline| monotonic_ns() >= deadline)
    }

    /// Asks the caller whether to stop.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupt.is_some_and(|interrupt| interrupt())
    }
}

impl Attachment {
    /// Takes the shared lock for `thread`, which does not hold it.
    fn acquire(&self, thread: ThreadKey, patience: Patience<'_>) -> Result<(), LockError> {
        let own = self.id()?;
        // Before the lock is taken: whoever gets it from the dead has to be able to repair.
        self.writer_words().map_err(|source| LockError::System {
            name: self.name(),
            source,
        })?;
        let environment = Environment::new(self, patience.deadline_ns, patience.interrupt);
        match self.words().acquire(own, &environment) {
            Ok(Acquired::Clean) => {}
            Ok(Acquired::FromDead) => self.repair(own),
            Err(gave_up) => {
                // Its own id: another thread of this process.
                let other = gave_up.0.filter(|&holder| holder != own);
                let holder = other.and_then(|holder| self.pid_of(holder));
                return Err(self.lock_refused(&environment, holder));
            }
        }
        self.holder.set(thread);
        Ok(())
    }

    /// Gives the shared lock back.
    fn release(&self) {
        if let Ok(own) = self.id() {
            self.words()
                .release(own, &Environment::new(self, None, None));
        }
    }

    fn lock_refused(&self, environment: &Environment<'_>, holder: Option<u32>) -> LockError {
        if environment.is_interrupted() {
            LockError::Interrupted { name: self.name() }
        } else {
            let laggard = self.words().waited_for();
            LockError::TimedOut {
                name: self.name(),
                holder,
                waits_for: laggard.and_then(|laggard| self.pid_of(laggard.owner)),
            }
        }
    }
}

/// The lock for the duration of one operation, by the thread that does it.
#[derive(Debug)]
pub(crate) struct HeldLock<'a> {
    attachment: &'a Attachment,
    /// False when the thread holds the lock anyway; then this is one more guard.
    is_outermost: bool,
}

impl<'a> HeldLock<'a> {
    pub(crate) fn take(
        attachment: &'a Attachment,
        patience: Patience<'_>,
    ) -> Result<Self, LockError> {
        let thread = ThreadKey::current();
        let is_outermost = !attachment.holder.add(thread);
        if is_outermost {
            attachment.acquire(thread, patience)?;
        }
        Ok(Self {
            attachment,
            is_outermost,
        })
    }
}

impl Drop for HeldLock<'_> {
    fn drop(&mut self) {
        if self.is_outermost {
            // Nobody can have added a guard: only this thread could, and it was busy.
            self.attachment.holder.clear();
            self.attachment.release();
        } else if self.attachment.holder.remove() {
            // The guards that were taken before were dropped by other threads meanwhile.
            self.attachment.release();
        }
    }
}

/// The writer lock of a stream, held until dropped, by whichever thread. The thread that took it may
/// take it again.
#[derive(Debug)]
pub struct WriteLock {
    attachment: Arc<Attachment>,
    thread: ThreadKey,
    fork_generation: u64,
}

impl WriteLock {
    pub(crate) fn take(
        attachment: &Arc<Attachment>,
        patience: Patience<'_>,
    ) -> Result<Self, LockError> {
        let thread = ThreadKey::current();
        if !attachment.holder.add(thread) {
            attachment.acquire(thread, patience)?;
        }
        Ok(Self {
            attachment: Arc::clone(attachment),
            thread,
            fork_generation: fork::generation(),
        })
    }

    pub(crate) fn attachment(&self) -> &Arc<Attachment> {
        &self.attachment
    }

    /// True in a forked child: the lock is the parent's.
    pub(crate) fn is_inherited(&self) -> bool {
        self.fork_generation != fork::generation()
    }

    /// Levels of the lock held by the thread that took it; 0 in a forked child.
    pub fn depth(&self) -> u32 {
        if self.is_inherited() {
            return 0;
        }
        self.attachment.holder.depth_of(self.thread)
    }
}

impl Drop for WriteLock {
    fn drop(&mut self) {
        // In a forked child the parent's lock is not ours to give back.
        if !self.is_inherited() && self.attachment.holder.remove() {
            self.attachment.release();
        }
    }
}

impl Attachment {
    /// Remembers the head this process just wrote.
    pub(crate) fn remember_head(&self, head: Head) {
        self.cached_head.store(head.0, Ordering::Relaxed);
    }
}
