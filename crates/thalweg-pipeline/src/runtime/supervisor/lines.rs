//! Whole lines from a pipe, without waiting for them.

use std::io::Read;
use std::os::fd::AsFd;

use thalweg_os::descriptor;

/// Longest line kept; what a worker reports is far shorter.
const MAX_LINE_BYTES: usize = 1 << 20;

/// A pipe, and what came of a line that is not whole yet.
pub(super) struct Lines<R> {
    pub(super) source: R,
    partial: Vec<u8>,
}

impl<R: Read + AsFd> Lines<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            source,
            partial: Vec::new(),
        }
    }

    /// All complete lines there are now. At the end of the pipe `lines` becomes `None`.
    pub(super) fn take(lines: &mut Option<Self>) -> Vec<String> {
        let mut taken = Vec::new();
        while let Some(this) = lines {
            let is_readable = descriptor::wait_readable(&[this.source.as_fd()], Some(0))
                .is_ok_and(|readable| readable == [true]);
            if !is_readable {
                break;
            }
            let mut bytes = [0u8; 4096];
            match this.source.read(&mut bytes) {
                Ok(0) | Err(_) => {
                    if !this.partial.is_empty() {
                        taken.push(String::from_utf8_lossy(&this.partial).into_owned());
                    }
                    *lines = None;
                }
                Ok(count) => {
                    this.partial.extend_from_slice(&bytes[..count]);
                    while let Some(end) = this.partial.iter().position(|&byte| byte == b'\n') {
                        let line: Vec<u8> = this.partial.drain(..=end).collect();
                        taken.push(String::from_utf8_lossy(&line[..end]).into_owned());
                    }
                    this.partial.truncate(MAX_LINE_BYTES);
                }
            }
        }
        taken
    }
}
