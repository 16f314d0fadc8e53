//! Forked processes: started, killed, waited for.
#![expect(
    unsafe_code,
    reason = "forking and what belongs to it are calls into the C library"
)]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use libc::{c_int, pid_t};

/// A child. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Child {
    pid: pid_t,
    is_alive: bool,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Killed,
    Exited(c_int),
    OtherSignal(c_int),
}

impl Child {
    /// Forks a process that runs `work` and nothing else.
    pub(crate) fn start(work: impl FnOnce()) -> Self {
        // SAFETY: the child runs `work` on its only thread and ends without returning; allocation
        // works, because the C library prepares its locks for a fork.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let code = match catch_unwind(AssertUnwindSafe(work)) {
                Ok(()) => 0,
                Err(panic) => {
                    use io::Write;
                    let message = panic.downcast_ref::<String>().map_or("panicked", |s| s);
                    writeln!(io::stderr(), "a process: {message}").ok();
                    1
                }
            };
            // SAFETY: ends the process at once; nothing of the parent's is flushed or dropped.
            unsafe { libc::_exit(code) }
        }
        assert!(pid > 0, "fork: {}", io::Error::last_os_error());
        Self {
            pid,
            is_alive: true,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    pub(crate) fn signal(&self, signal: c_int) {
        // SAFETY: kill touches no memory; the pid is our child's, not waited for yet.
        unsafe { libc::kill(self.pid, signal) };
    }

    /// Kills the child wherever it is, and waits until it is gone.
    pub(crate) fn kill(mut self) -> End {
        self.end()
    }

    /// Waits until the child ends by itself.
    pub(crate) fn finish(mut self) -> End {
        self.wait()
    }

    fn end(&mut self) -> End {
        self.signal(libc::SIGKILL);
        self.wait()
    }

    fn wait(&mut self) -> End {
        let mut status = 0;
        loop {
            // SAFETY: `status` is a local the kernel fills in.
            let pid = unsafe { libc::waitpid(self.pid, &raw mut status, 0) };
            if pid == self.pid {
                self.is_alive = false;
                return if libc::WIFEXITED(status) {
                    End::Exited(libc::WEXITSTATUS(status))
                } else if libc::WTERMSIG(status) == libc::SIGKILL {
                    End::Killed
                } else {
                    End::OtherSignal(libc::WTERMSIG(status))
                };
            }
            let error = io::Error::last_os_error();
            assert_eq!(error.kind(), io::ErrorKind::Interrupted, "waitpid: {error}");
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.is_alive {
            self.end();
        }
    }
}
