//! Opening streams that do not exist yet.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::Cell;
use std::time::Duration;

use thalweg_os::clock::{deadline_after, monotonic_ns};
use thalweg_shm::stream::error::OpenError;
use thalweg_shm::{DType, Patience, StreamDirectory, StreamOptions};

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("thalweg-test-")
        .tempdir_in("/dev/shm")
        .unwrap()
}

fn soon() -> Patience<'static> {
    Patience::until(deadline_after(Duration::from_secs(20)))
}

fn options() -> StreamOptions {
    StreamOptions::new(DType::Uint8, &[3])
}

#[test]
fn a_stream_that_exists_is_opened_at_once() {
    let folder = folder();
    let directory = StreamDirectory::new(folder.path());
    directory.create("s", &options()).unwrap();
    let stream = directory.open_within("s", Patience::until(0)).unwrap();
    assert_eq!(stream.shape(), [3]);
}

#[test]
fn a_stream_is_opened_as_soon_as_it_exists() {
    let folder = folder();
    let directory = StreamDirectory::new(folder.path());
    std::thread::scope(|scope| {
        for round in 0..50 {
            let name = format!("s{round}");
            let opening = scope.spawn({
                let (directory, name) = (&directory, name.clone());
                move || directory.open_within(&name, soon())
            });
            directory.create("other", &options()).unwrap();
            directory.unlink("other").unwrap();
            directory.create(&name, &options()).unwrap();
            assert_eq!(opening.join().unwrap().unwrap().header().name, name);
        }
    });
}

#[test]
fn the_folder_may_come_later_too() {
    let folder = folder();
    let directory = StreamDirectory::new(folder.path().join("later"));
    std::thread::scope(|scope| {
        let opening = scope.spawn(|| directory.open_within("s", soon()));
        std::fs::create_dir(directory.path()).unwrap();
        directory.create("s", &options()).unwrap();
        opening.join().unwrap().unwrap();
    });
}

#[test]
fn a_stream_that_never_comes_is_waited_for_until_the_deadline() {
    let folder = folder();
    let directory = StreamDirectory::new(folder.path());
    let deadline_ns = deadline_after(Duration::from_millis(30));
    let error = directory
        .open_within("camera", Patience::until(deadline_ns))
        .unwrap_err();
    assert!(monotonic_ns() >= deadline_ns);
    let OpenError::TimedOut { waited, .. } = &error else {
        panic!("{error}");
    };
    assert!(*waited >= Duration::from_millis(29), "{waited:?}");
    let text = error.to_string();
    let place = folder.path().display().to_string();
    for part in ["camera", &place, "ms", "start the process"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn an_interrupt_ends_the_wait() {
    let folder = folder();
    let directory = StreamDirectory::new(folder.path());
    let asked = Cell::new(0);
    let interrupt = || {
        asked.set(asked.get() + 1);
        asked.get() > 2
    };
    let patience = Patience {
        interrupt: Some(&interrupt),
        ..soon()
    };
    let outcome = directory.open_within("s", patience);
    assert!(matches!(outcome, Err(OpenError::Interrupted { .. })));
}

#[test]
fn other_errors_are_not_waited_out() {
    let folder = folder();
    let directory = StreamDirectory::new(folder.path());
    std::fs::write(folder.path().join("thalweg.broken"), b"no stream").unwrap();
    let broken = directory.open_within("broken", soon());
    assert!(matches!(broken, Err(OpenError::Header { .. })));
    let unnamed = directory.open_within(" ", soon());
    assert!(matches!(unnamed, Err(OpenError::Name(_))));
}
