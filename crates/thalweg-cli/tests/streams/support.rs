//! Folders of their own for a test's streams and files, and the command run in them.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use thalweg::{ArrayRef, DType, Patience, PublishOptions, Stream, StreamDirectory, StreamOptions};
use thalweg_os::clock::deadline_after;

/// Folders that vanish with the test.
pub(crate) struct Scratch {
    pub(crate) directory: StreamDirectory,
    streams: tempfile::TempDir,
    files: tempfile::TempDir,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let streams = tempfile::Builder::new()
            .prefix("thalweg-test-")
            .tempdir_in("/dev/shm")
            .unwrap();
        Self {
            directory: StreamDirectory::new(streams.path()),
            streams,
            files: tempfile::tempdir().unwrap(),
        }
    }

    /// A stream of two by three numbers.
    pub(crate) fn stream(&self, name: &str, slots: usize) -> Stream {
        let options = StreamOptions {
            slots,
            ..StreamOptions::new(DType::Uint16, &[2, 3])
        };
        self.directory.create(name, &options).unwrap()
    }

    /// Where the command is run and leaves its files.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Names of the files there.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.files.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        names
    }

    /// The command, not started yet.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
        command
            .args(arguments)
            .env("THALWEG_SHM_DIR", self.streams.path())
            .current_dir(self.files.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the command to its end.
    pub(crate) fn thalweg(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs the command, which has to succeed, and returns its standard output.
    pub(crate) fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.thalweg(arguments);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {error}");
        text(&output.stdout)
    }

    /// Runs the command, which has to fail with status 1 and these words on standard error.
    pub(crate) fn refuses(&self, arguments: &[&str], words: &[&str]) {
        let output = self.thalweg(arguments);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
        for word in words {
            assert!(
                error.contains(word),
                "{arguments:?}: no {word:?} in {error}"
            );
        }
        assert!(!error.contains("panicked"), "{error}");
    }
}

/// The bytes as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Generous: it only ends a test that would hang.
pub(crate) fn patience() -> Patience<'static> {
    Patience::until(deadline_after(Duration::from_secs(60)))
}

/// Publishes a frame whose elements are `value` and its successors, with `value` as its id.
pub(crate) fn publish(stream: &Stream, value: u16) {
    let frame: Vec<u16> = (value..value + 6).collect();
    let options = PublishOptions {
        frame_id: Some(value.into()),
        origin_ns: None,
    };
    stream
        .write(ArrayRef::from_slice(&frame, &[2, 3]), options, patience())
        .unwrap();
}
