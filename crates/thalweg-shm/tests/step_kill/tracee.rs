//! A forked child that is run one instruction at a time.

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use libc::{c_int, c_void, pid_t};

/// Runs in the child: stops it until the tracer goes on. The first call says "from here on, step
/// by step", the second "done".
pub(crate) fn mark() {
    // SAFETY: getpid has no preconditions.
    let own = unsafe { libc::getpid() };
    // SAFETY: kill touches no memory; the child stops itself.
    unsafe { libc::kill(own, libc::SIGSTOP) };
}

/// A child that waits for the next step. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Tracee {
    pid: pid_t,
    is_alive: bool,
}

/// Where a step led.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// One instruction further.
    Next,
    /// The child has reached its second mark.
    Done,
}

/// The machine does not let processes trace their children.
#[derive(Debug)]
pub(crate) struct Refused;

const EXIT_REFUSED: c_int = 77;
/// Where the kernel shows a stopped process's instruction pointer.
const INSTRUCTION_POINTER: usize = std::mem::offset_of!(libc::user_regs_struct, rip);

impl Tracee {
    /// Forks a child that runs `work`, and returns when it has reached its first [`mark`].
    pub(crate) fn start(work: impl FnOnce()) -> Result<Self, Refused> {
        // SAFETY: the child runs `work` and ends without returning. Its only thread is this one;
        // allocation works, because the C library prepares its locks for a fork.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            run_child(work);
        }
        assert!(pid > 0, "fork: {}", io::Error::last_os_error());
        let mut tracee = Self {
            pid,
            is_alive: true,
        };
        let mut status = tracee.wait();
        if is_stopped_by(status, libc::SIGCHLD) {
            // It killed a child of its own.
            status = tracee.resume(libc::PTRACE_CONT);
        }
        if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == EXIT_REFUSED {
            return Err(Refused);
        }
        assert!(
            is_stopped_by(status, libc::SIGSTOP),
            "the child ended before its first mark, wait status {status:#x}"
        );
        let options = libc::PTRACE_O_EXITKILL;
        tracee.request(libc::PTRACE_SETOPTIONS, 0, options as usize);
        Ok(tracee)
    }

    /// Lets the child execute one instruction.
    pub(crate) fn step(&mut self) -> Step {
        let status = self.resume(libc::PTRACE_SINGLESTEP);
        if is_stopped_by(status, libc::SIGSTOP) {
            return Step::Done;
        }
        assert!(
            is_stopped_by(status, libc::SIGTRAP),
            "the child did something of its own while stepped, wait status {status:#x}"
        );
        Step::Next
    }

    /// Has the child go on in one way or the other until it stops; returns the wait status.
    fn resume(&mut self, way: libc::c_uint) -> c_int {
        loop {
            self.request(way, 0, 0);
            let status = self.wait();
            let is_incidental = [libc::SIGCHLD, libc::SIGCONT, libc::SIGWINCH]
                .into_iter()
                .any(|signal| is_stopped_by(status, signal));
            if !is_incidental {
                return status;
            }
            // From a child of its own, a shell, a terminal: withheld, because it changes nothing.
        }
    }

    /// Runs the child at full speed until it is about to execute `address` for the `visits`th time,
    /// now included.
    pub(crate) fn run_to(&mut self, address: usize, visits: usize) -> Step {
        for visit in 1..=visits {
            if visit > 1 && self.step() == Step::Done {
                return Step::Done;
            }
            // One instruction may repeat itself.
            let is_there = visit > 1 && self.instruction_pointer() == address;
            if !is_there && self.run_to_next(address) == Step::Done {
                return Step::Done;
            }
        }
        Step::Next
    }

    fn run_to_next(&mut self, address: usize) -> Step {
        const BREAKPOINT: usize = 0xcc;
        let instruction = self.request(libc::PTRACE_PEEKTEXT, address, 0) as usize;
        // The child's own copy of the page: nobody else sees it.
        let trapping = instruction & !0xff | BREAKPOINT;
        self.request(libc::PTRACE_POKETEXT, address, trapping);
        let status = self.resume(libc::PTRACE_CONT);
        if is_stopped_by(status, libc::SIGSTOP) {
            return Step::Done;
        }
        assert!(
            is_stopped_by(status, libc::SIGTRAP) && self.instruction_pointer() == address + 1,
            "the child did not stop at {address:#x}, wait status {status:#x}"
        );
        self.request(libc::PTRACE_POKETEXT, address, instruction);
        self.request(libc::PTRACE_POKEUSER, INSTRUCTION_POINTER, address);
        Step::Next
    }

    /// Address of the next instruction.
    pub(crate) fn instruction_pointer(&self) -> usize {
        self.request(libc::PTRACE_PEEKUSER, INSTRUCTION_POINTER, 0) as usize
    }

    /// True if the next instruction is a system call.
    pub(crate) fn is_at_system_call(&self) -> bool {
        const SYSCALL: [u8; 2] = [0x0f, 0x05];
        let word = self.request(libc::PTRACE_PEEKTEXT, self.instruction_pointer(), 0);
        word.to_le_bytes()[..2] == SYSCALL
    }

    /// Kills the child where it stands, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if self.is_alive {
            // SAFETY: kill touches no memory; the pid is our child's, not waited for yet.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
        }
        while self.is_alive {
            self.wait();
        }
    }

    /// For `PTRACE_PEEK*` the word read, as the C library's wrapper returns it.
    fn request(&self, request: libc::c_uint, address: usize, data: usize) -> i64 {
        // SAFETY: the child is stopped and ours. The requests used here read or write nothing in
        // this process; peeking is done by the wrapper into its own variable.
        unsafe {
            libc::ptrace(
                request,
                self.pid,
                address as *mut c_void,
                data as *mut c_void,
            )
        }
    }

    /// Waits until the child stops or ends; returns the wait status.
    fn wait(&mut self) -> c_int {
        let mut status = 0;
        loop {
            // SAFETY: `status` is a local the kernel fills in.
            let pid = unsafe { libc::waitpid(self.pid, &raw mut status, libc::__WALL) };
            if pid == self.pid {
                self.is_alive = libc::WIFSTOPPED(status);
                return status;
            }
            let error = io::Error::last_os_error();
            assert_eq!(
                error.kind(),
                io::ErrorKind::Interrupted,
                "waitpid({}): {error}",
                self.pid
            );
        }
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        self.end();
    }
}

fn is_stopped_by(status: c_int, signal: c_int) -> bool {
    libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == signal
}

fn run_child(work: impl FnOnce()) -> ! {
    // SAFETY: asks to be traced by the parent; touches no memory.
    let refused = unsafe {
        libc::ptrace(
            libc::PTRACE_TRACEME,
            0,
            std::ptr::null_mut::<c_void>(),
            std::ptr::null_mut::<c_void>(),
        )
    } < 0;
    let code = if refused {
        EXIT_REFUSED
    } else {
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(()) => 0,
            Err(panic) => {
                let message = panic.downcast_ref::<String>().map_or("panicked", |s| s);
                // The test harness does not see what a child prints.
                writeln!(io::stderr(), "the child: {message}").ok();
                1
            }
        }
    };
    // SAFETY: ends the process at once; nothing of the parent's is flushed or dropped twice.
    unsafe { libc::_exit(code) }
}
