//! `thalweg dump`: what is in the files, and when there is none.

use std::os::unix::fs::PermissionsExt;

use crate::support::{Scratch, publish, text};
use thalweg::{DType, StreamOptions};

/// Shape as the header has it, and the elements.
fn read_npy(bytes: &[u8]) -> (String, Vec<u16>) {
    assert_eq!(bytes[..8], *b"\x93NUMPY\x01\x00");
    let header_bytes = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = text(&bytes[10..10 + header_bytes]);
    assert!(header.contains("'<u2'"), "{header}");
    let (_, shape) = header.split_once("'shape': (").unwrap();
    let data = &bytes[10 + header_bytes..];
    let elements = data
        .chunks_exact(2)
        .map(|pair| u16::from_ne_bytes([pair[0], pair[1]]));
    let shape = shape.split(')').next().unwrap();
    let shape = shape.trim_end_matches([',', ' ']).to_owned();
    (shape, elements.collect())
}

#[test]
fn the_newest_frame_goes_into_a_file_named_after_it() {
    let scratch = Scratch::new();
    let stream = scratch.stream("camera/1", 4);
    publish(&stream, 7);
    publish(&stream, 8);
    let output = scratch.thalweg(&["dump", "camera/1"]);
    let error = text(&output.stderr);
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{error}"
    );
    assert!(
        error.contains("wrote camera_1-2.npy") && error.contains("(id 8)"),
        "{error}"
    );
    assert_eq!(scratch.files(), ["camera_1-2.npy"]);
    let file = scratch.path("camera_1-2.npy");
    let (shape, elements) = read_npy(&std::fs::read(&file).unwrap());
    assert_eq!(shape, "2, 3");
    assert_eq!(elements, [8, 9, 10, 11, 12, 13]);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o600, 0o600, "readable by its owner at least");
}

#[test]
fn a_file_is_overwritten_only_by_force() {
    let scratch = Scratch::new();
    let stream = scratch.stream("s", 4);
    publish(&stream, 1);
    scratch.succeeds(&["dump", "s", "-o", "out.npy"]);
    let first = std::fs::read(scratch.path("out.npy")).unwrap();
    publish(&stream, 2);
    scratch.refuses(
        &["dump", "s", "-o", "out.npy"],
        &["out.npy", "exists", "--force"],
    );
    assert_eq!(std::fs::read(scratch.path("out.npy")).unwrap(), first);
    scratch.succeeds(&["dump", "s", "-o", "out.npy", "--force"]);
    assert_ne!(std::fs::read(scratch.path("out.npy")).unwrap(), first);
    scratch.refuses(
        &["dump", "s", "-o", "nowhere/out.npy"],
        &["nowhere/out.npy"],
    );
    assert_eq!(scratch.files(), ["out.npy"], "no half-written file is left");
}

#[test]
fn a_history_has_a_leading_axis_and_its_holes_are_told() {
    let scratch = Scratch::new();
    let stream = scratch.stream("s", 3);
    for value in 1..=5 {
        publish(&stream, value);
    }
    let output = scratch.thalweg(&["dump", "s", "--history", "5"]);
    let error = text(&output.stderr);
    assert!(output.status.success(), "{error}");
    assert!(error.contains("gone from the slots: 1 to 2"), "{error}");
    let (shape, elements) = read_npy(&std::fs::read(scratch.path("s-3-5.npy")).unwrap());
    assert_eq!(shape, "3, 2, 3");
    assert_eq!(elements[..6], [3, 4, 5, 6, 7, 8]);
    assert_eq!(elements[12..], [5, 6, 7, 8, 9, 10]);
    let output = scratch.thalweg(&["dump", "s", "--history", "2", "-o", "two.npy"]);
    assert!(!text(&output.stderr).contains("gone"));
}

#[test]
fn standard_output_gets_the_file_and_nothing_else() {
    let scratch = Scratch::new();
    publish(&scratch.stream("s", 4), 3);
    let output = scratch.thalweg(&["dump", "s", "-o", "-"]);
    assert!(output.status.success());
    assert_eq!(read_npy(&output.stdout).1, [3, 4, 5, 6, 7, 8]);
    assert_eq!(scratch.files(), Vec::<String>::new());
}

#[test]
fn a_fits_file_carries_the_frame_and_its_record() {
    let scratch = Scratch::new();
    publish(&scratch.stream("s", 4), 500);
    scratch.succeeds(&["dump", "s", "-o", "frame.fits"]);
    let bytes = std::fs::read(scratch.path("frame.fits")).unwrap();
    assert!(bytes.len().is_multiple_of(2880));
    let cards: Vec<String> = bytes[..2880]
        .chunks(80)
        .map(|card| text(card).trim_end().to_owned())
        .collect();
    let has = |card: &str| assert!(cards.iter().any(|one| one.starts_with(card)), "{cards:#?}");
    has("BITPIX  =                   16");
    has("NAXIS1  =                    3");
    has("NAXIS2  =                    2");
    has("BZERO   =                32768");
    has("STREAM  = 's       '");
    has("COUNT   =                    1");
    has("FRAMEID =                  500");
    has("DATE-OBS= '2");
    has("END");
    // 500 - 32768, most significant byte first.
    assert_eq!(bytes[2880..2882], (-32_268i16).to_be_bytes());
    assert!(bytes[2880 + 12..].iter().all(|&byte| byte == 0));
}

#[test]
fn what_cannot_be_dumped_says_why() {
    let scratch = Scratch::new();
    scratch.refuses(&["dump", "nothing"], &["nothing", "does not exist"]);
    scratch.stream("empty", 4);
    scratch.refuses(&["dump", "empty"], &["empty", "no frame yet", "--new"]);
    scratch.refuses(
        &["dump", "empty", "--new", "--timeout", "0.01"],
        &["timed out", "empty"],
    );
    let options = StreamOptions::new(DType::Complex128, &[4]);
    scratch.directory.create("complex", &options).unwrap();
    scratch.refuses(
        &["dump", "complex", "--format", "fits"],
        &["complex128", "--format npy"],
    );
    let output = scratch.thalweg(&["dump", "empty", "--timeout", "1"]);
    assert_eq!(output.status.code(), Some(2), "a timeout of nothing");
    assert_eq!(scratch.files(), Vec::<String>::new());
}

#[test]
fn as_many_new_frames_are_waited_for_as_are_asked_for() {
    let scratch = Scratch::new();
    let stream = scratch.stream("s", 4);
    publish(&stream, 1);
    let mut child = scratch
        .command(&["dump", "s", "--new", "--history", "3", "-o", "-"])
        .spawn()
        .unwrap();
    let observer = scratch.directory.observe("s").unwrap();
    for value in 2..=4 {
        // It sleeps again after each frame but the last.
        let sleeps = u64::from(value) - 1;
        while observer.look().sleeps < sleeps {
            assert!(child.try_wait().unwrap().is_none(), "too few frames");
            std::thread::yield_now();
        }
        publish(&stream, value);
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (shape, elements) = read_npy(&output.stdout);
    assert_eq!(shape, "3, 2, 3");
    assert_eq!([elements[0], elements[6], elements[12]], [2, 3, 4]);
    scratch.refuses(
        &["dump", "s", "--new", "--history", "2", "--timeout", "0.01"],
        &["timed out"],
    );
}

#[test]
fn a_new_frame_is_waited_for() {
    let scratch = Scratch::new();
    let stream = scratch.stream("s", 4);
    publish(&stream, 1);
    let child = scratch
        .command(&["dump", "s", "--new", "-o", "-"])
        .spawn()
        .unwrap();
    // It sleeps once it has looked at the count: from then on any frame will do.
    let observer = scratch.directory.observe("s").unwrap();
    while observer.look().sleeps == 0 {
        std::thread::yield_now();
    }
    publish(&stream, 2);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(read_npy(&output.stdout).1[0], 2);
}
