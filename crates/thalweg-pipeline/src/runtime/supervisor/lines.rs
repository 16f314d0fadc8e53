//! Whole lines from a pipe, without waiting for them.

use std::io::Read;
use std::os::fd::AsFd;

use thalweg_os::descriptor;

/// A line is cut here; what a worker reports is shorter.
const MAX_LINE_BYTES: usize = 1 << 20;
/// Read from one pipe at a time. Whoever writes more than can be read must not keep its reader
/// from everything else.
const MAX_READ_BYTES: usize = 64 << 10;
/// Read from the pipe of a process that has ended: what it had written before, and not what another
/// process goes on writing that has inherited the pipe.
const MAX_REST_BYTES: usize = 2 << 20;

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

    /// Complete lines there are now, not too many at once. At the end of the pipe `lines` becomes
    /// `None`.
    pub(super) fn take(lines: &mut Option<Self>) -> Vec<String> {
        Self::take_up_to(lines, MAX_READ_BYTES)
    }

    /// All there is of a process that has ended.
    pub(super) fn take_rest(lines: &mut Option<Self>) -> Vec<String> {
        Self::take_up_to(lines, MAX_REST_BYTES)
    }

    fn take_up_to(lines: &mut Option<Self>, most_bytes: usize) -> Vec<String> {
        let mut taken = Vec::new();
        let mut read_bytes = 0;
        while read_bytes < most_bytes
            && let Some(this) = lines
        {
            let is_readable = descriptor::wait_readable(&[this.source.as_fd()], Some(0))
                .is_ok_and(|readable| readable == [true]);
            if !is_readable {
                break;
            }
            let mut bytes = [0u8; 4096];
            match this.source.read(&mut bytes) {
                Ok(0) | Err(_) => {
                    if !this.partial.is_empty() {
                        taken.push(this.take_line());
                    }
                    *lines = None;
                }
                Ok(count) => {
                    read_bytes += count;
                    this.add(&bytes[..count], &mut taken);
                }
            }
        }
        taken
    }

    fn add(&mut self, bytes: &[u8], taken: &mut Vec<String>) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            self.partial.extend_from_slice(&rest[..end]);
            taken.push(self.take_line());
            rest = &rest[end + 1..];
        }
        self.partial.extend_from_slice(rest);
        if self.partial.len() >= MAX_LINE_BYTES {
            taken.push(self.take_line());
        }
    }

    fn take_line(&mut self) -> String {
        let line = std::mem::take(&mut self.partial);
        String::from_utf8_lossy(&line).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn lines_come_whole_and_the_last_one_as_it_is() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut lines = Some(Lines::new(reader));
        writer.write_all(b"one\ntw").unwrap();
        assert_eq!(Lines::take(&mut lines), ["one"]);
        writer.write_all(b"o\n\nthree").unwrap();
        assert_eq!(Lines::take(&mut lines), ["two", ""]);
        drop(writer);
        assert_eq!(Lines::take(&mut lines), ["three"]);
        assert!(lines.is_none());
    }

    #[test]
    fn a_flood_is_taken_in_portions() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut lines = Some(Lines::new(reader));
        let flood = std::thread::spawn(move || {
            // Never a line end, for as long as anybody reads.
            while writer.write_all(&[b'x'; 4096]).is_ok() {}
        });
        let mut cut = Vec::new();
        for _ in 0..2 * MAX_LINE_BYTES / MAX_READ_BYTES {
            cut.extend(Lines::take(&mut lines));
            assert!(lines.as_ref().unwrap().partial.len() < MAX_LINE_BYTES + 4096);
        }
        assert!(cut.iter().all(|line| line.len() >= MAX_LINE_BYTES));
        drop(lines);
        flood.join().unwrap();
    }
}
