//! How many system calls a publication makes: counted, not guessed.
//!
//! The kernel stops a traced process at the entry and at the exit of every system call. A child
//! publishes between two stops of its own; a second child does the same without publishing, so that
//! what the stops themselves cost cancels.

use std::ffi::c_void;
use std::io;
use std::process::{Child, Command, Stdio};

use libc::{c_int, c_uint, pid_t};
use thalweg_shm::{ArrayRef, Patience, PublishOptions, Stream};

use crate::Outcome;
use crate::stream::create;

/// System calls per publication, over `publications` of them; `scope` is `locked` for a writer that
/// keeps the lock.
pub(crate) fn count(publications: usize, scope: &str) -> Outcome<String> {
    let name = format!("thalweg-bench.{}.traced", std::process::id());
    let _stream = create(&name, 64)?;
    let without = calls_between_marks(&name, 0, scope)?;
    let with = calls_between_marks(&name, publications, scope)?;
    let calls = with.saturating_sub(without);
    Ok(format!(
        "calls={calls} publications={publications} per_publication={}",
        calls as f64 / publications.max(1) as f64
    ))
}

/// The traced child: publishes between two stops.
pub(crate) fn publish_traced(name: &str, publications: &str, scope: &str) -> Outcome<()> {
    let publications: usize = publications.parse()?;
    let stream = Stream::open(name)?;
    let lock = match scope {
        "locked" => Some(stream.lock(Patience::ENDLESS)?),
        _ => None,
    };
    let frame = [1.0f32; 16];
    let publish = || -> Outcome<()> {
        let frame = ArrayRef::from_slice(&frame, stream.shape());
        stream.write(frame, PublishOptions::default(), Patience::ENDLESS)?;
        Ok(())
    };
    // What is done once per process, such as mapping the stream for writing, is not the question.
    publish()?;
    let none = std::ptr::null_mut::<c_void>();
    // SAFETY: asks to be traced by the parent; touches no memory.
    if unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, none, none) } < 0 {
        return Err(format!("cannot be traced: {}", io::Error::last_os_error()).into());
    }
    mark();
    for _ in 0..publications {
        publish()?;
    }
    mark();
    drop(lock);
    Ok(())
}

fn mark() {
    // SAFETY: touches no memory; stops this process until its tracer goes on.
    unsafe { libc::raise(libc::SIGSTOP) };
}

fn calls_between_marks(name: &str, publications: usize, scope: &str) -> Outcome<usize> {
    /// How the kernel reports a stop at a system call, with `PTRACE_O_TRACESYSGOOD`.
    const AT_SYSTEM_CALL: c_int = libc::SIGTRAP | 0x80;

    let mut child = Command::new(std::env::current_exe()?)
        .args(["publisher", name, &publications.to_string(), scope])
        .stdin(Stdio::null())
        .spawn()?;
    let tracee = Tracee::of(&child)?;
    let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
    if tracee.next_stop()? != libc::SIGSTOP {
        return Err("the traced process did not reach its first mark".into());
    }
    tracee.request(libc::PTRACE_SETOPTIONS, options as usize)?;
    let mut stops = 0;
    loop {
        tracee.request(libc::PTRACE_SYSCALL, 0)?;
        match tracee.next_stop()? {
            AT_SYSTEM_CALL => stops += 1,
            libc::SIGSTOP => break,
            other => return Err(format!("the traced process was stopped by {other}").into()),
        }
    }
    tracee.request(libc::PTRACE_DETACH, 0)?;
    match child.wait()? {
        status if status.success() => Ok(stops / 2), // entry and exit
        status => Err(format!("the traced process ended with {status}").into()),
    }
}

/// A child that asked to be traced.
#[derive(Debug)]
struct Tracee(pid_t);

impl Tracee {
    fn of(child: &Child) -> Outcome<Self> {
        Ok(Self(child.id().try_into()?))
    }

    fn request(&self, request: c_uint, data: usize) -> io::Result<()> {
        let none = std::ptr::null_mut::<c_void>();
        // SAFETY: the child is stopped and ours; the requests used here touch no memory of this
        // process.
        let result = unsafe { libc::ptrace(request, self.0, none, data as *mut c_void) };
        match result {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// Waits until the child is stopped; by which signal.
    fn next_stop(&self) -> Outcome<c_int> {
        let mut status = 0;
        // SAFETY: `status` is a local the kernel fills in.
        let waited = unsafe { libc::waitpid(self.0, &raw mut status, 0) };
        if waited != self.0 {
            return Err(io::Error::last_os_error().into());
        }
        if !libc::WIFSTOPPED(status) {
            return Err("the traced process has ended before its second mark".into());
        }
        Ok(libc::WSTOPSIG(status))
    }
}
