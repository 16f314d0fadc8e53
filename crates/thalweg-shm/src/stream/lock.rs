//! Holding the writer lock of a stream.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use thalweg_os::fork;

use super::attachment::{Attachment, Environment, Interrupt};
use super::error::LockError;
use super::local_lock::{Entered, ThreadKey};
use crate::protocol::lock::{Acquired, LockEnvironment};
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
}

impl Attachment {
    /// Takes the lock, or one more level of it, for the calling thread.
    pub(crate) fn enter(&self, patience: Patience<'_>) -> Result<ThreadKey, LockError> {
        let thread = ThreadKey::current();
        let own = self.id()?;
        let environment = Environment::new(self, patience.deadline_ns, patience.interrupt);
        let entered = self
            .local_lock
            .enter(thread, || environment.gives_up())
            .ok_or_else(|| self.lock_refused(&environment, None))?;
        if entered == Entered::Outermost {
            // Before the lock is taken: whoever gets it from the dead has to be able to repair.
            if let Err(source) = self.writer_words() {
                self.local_lock.leave(|| {});
                let name = self.name();
                return Err(LockError::System { name, source });
            }
            match self.words().acquire(own, &environment) {
                Ok(Acquired::Clean) => {}
                Ok(Acquired::FromDead) => self.repair(own),
                Err(gave_up) => {
                    self.local_lock.leave(|| {});
                    let holder = gave_up.0.and_then(|id| self.pid_of(id));
                    return Err(self.lock_refused(&environment, holder));
                }
            }
        }
        Ok(thread)
    }

    /// Gives one level of the lock back.
    pub(crate) fn leave(&self) {
        self.local_lock.leave(|| {
            if let Ok(own) = self.id() {
                self.words()
                    .release(own, &Environment::new(self, None, None));
            }
        });
    }

    fn lock_refused(&self, environment: &Environment<'_>, holder: Option<u32>) -> LockError {
        if environment.is_interrupted() {
            LockError::Interrupted { name: self.name() }
        } else {
            LockError::TimedOut {
                name: self.name(),
                holder,
            }
        }
    }
}

/// The lock, for the duration of a borrow of the attachment.
#[derive(Debug)]
pub(crate) struct HeldLock<'a> {
    attachment: &'a Attachment,
}

impl<'a> HeldLock<'a> {
    pub(crate) fn take(
        attachment: &'a Attachment,
        patience: Patience<'_>,
    ) -> Result<Self, LockError> {
        attachment.enter(patience)?;
        Ok(Self { attachment })
    }
}

impl Drop for HeldLock<'_> {
    fn drop(&mut self) {
        self.attachment.leave();
    }
}

/// The writer lock of a stream, held until dropped. The thread that took it may take it again.
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
        let thread = attachment.enter(patience)?;
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
        self.attachment.local_lock.depth_of(self.thread)
    }
}

impl Drop for WriteLock {
    fn drop(&mut self) {
        // In a forked child the parent's lock is not ours to give back.
        if self.depth() > 0 {
            self.attachment.leave();
        }
    }
}

impl Attachment {
    /// Remembers the head this process just wrote.
    pub(crate) fn remember_head(&self, head: Head) {
        self.cached_head.store(head.0, Ordering::Relaxed);
    }
}
