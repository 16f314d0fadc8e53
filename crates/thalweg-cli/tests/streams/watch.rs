//! `thalweg watch`, `list` and `stat`: what they see of streams, and that nobody notices.

use std::io::{BufRead, BufReader};
use std::mem::ManuallyDrop;
use std::process::Command;

use crate::support::{Scratch, patience, publish, text};
use serde_json::Value;
use thalweg::{DType, PublishOptions, StreamDirectory, StreamOptions};

fn json_lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn one_look_shows_every_stream_in_a_row() {
    let scratch = Scratch::new();
    let stream = scratch.stream("camera", 4);
    publish(&stream, 1);
    scratch.stream("idle", 4);
    let table = scratch.succeeds(&["watch", "--once"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[0].starts_with("stream"));
    for word in [
        "camera",
        "uint16[2, 3]",
        "0/2",
        "free",
        &std::process::id().to_string(),
    ] {
        assert!(lines[1].contains(word), "no {word:?} in {}", lines[1]);
    }
    assert!(
        lines[2].starts_with("idle") && lines[2].ends_with("empty"),
        "{}",
        lines[2]
    );
}

#[test]
fn rows_of_an_unfinished_frame_are_shown() {
    let scratch = Scratch::new();
    let options = StreamOptions {
        progressive: true,
        ..StreamOptions::new(DType::Uint16, &[64, 3])
    };
    let stream = scratch.directory.create("s", &options).unwrap();
    let state = || {
        let table = scratch.succeeds(&["watch", "--once"]);
        let json = scratch.succeeds(&["watch", "--once", "--json"]);
        let unfinished = json_lines(&json)[0]["streams"][0]["unfinished"].clone();
        (table.trim_end().to_owned(), unfinished)
    };
    assert!(matches!(state(), (table, Value::Null) if table.ends_with("empty")));
    let mut loan = stream.loan(patience()).unwrap();
    loan.fill_zeros().unwrap();
    loan.announce_rows(12).unwrap();
    let (table, unfinished) = state();
    assert!(table.ends_with("empty, rows 12/64"), "{table}");
    let expected = serde_json::json!({"count": 1, "rows": 12, "of_rows": 64});
    assert_eq!(unfinished, expected);
    loan.publish(PublishOptions::default()).unwrap();
    assert!(matches!(state(), (table, Value::Null) if table.ends_with("ok")));
    drop(stream.loan(patience()).unwrap());
    assert!(matches!(state(), (table, Value::Null) if table.ends_with("ok")));
}

#[test]
fn looks_are_json_objects_that_count_what_came_between() {
    let scratch = Scratch::new();
    let stream = scratch.stream("s", 4);
    publish(&stream, 1);
    let mut child = scratch
        .command(&[
            "watch",
            "--json",
            "--count",
            "3",
            "--interval",
            "0.2",
            "s",
            "later",
        ])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut look = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let first = look();
    assert_eq!(first["streams"][0]["name"], "later");
    assert!(
        first["streams"][0]["error"]
            .as_str()
            .unwrap()
            .contains("not exist")
    );
    let row = &first["streams"][1];
    assert_eq!(
        (&row["count"], &row["frames_since_last_look"]),
        (&1.into(), &Value::Null)
    );
    for value in 2..=11 {
        publish(&stream, value);
    }
    let later = scratch.stream("later", 4);
    // Between the first line and the third there are both: ten frames and a new stream.
    let (second, third) = (look(), look());
    let new_frames: u64 = [&second, &third]
        .iter()
        .map(|look| {
            let rows = look["streams"].as_array().unwrap();
            let row = rows.iter().find(|row| row["name"] == "s").unwrap();
            row["frames_since_last_look"].as_u64().unwrap()
        })
        .sum();
    assert_eq!(new_frames, 10);
    let rows = third["streams"].as_array().unwrap();
    assert_eq!(
        (&rows[0]["name"], &rows[0]["count"]),
        (&"later".into(), &0.into())
    );
    assert!(rows[1]["rate_hz"].as_f64().unwrap() > 0.0);
    assert!(child.wait().unwrap().success());
    drop(later);
}

#[test]
fn a_stream_that_goes_is_shown_once_more_and_a_new_one_of_its_name_found() {
    let scratch = Scratch::new();
    let stream = scratch.stream("s", 4);
    publish(&stream, 1);
    let mut child = scratch
        .command(&["watch", "--json", "--count", "1000", "--interval", "0.05"])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut look = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(look()["streams"][0]["stale"], Value::Null);
    stream.unlink().unwrap();
    let gone = std::iter::repeat_with(&mut look)
        .find(|look| look["streams"][0]["stale"] != Value::Null)
        .unwrap();
    assert_eq!(gone["streams"][0]["stale"], "it was unlinked");
    let empty = look();
    assert_eq!(empty["streams"].as_array().unwrap().len(), 0);
    let again = scratch.stream("s", 4);
    publish(&again, 9);
    let found = std::iter::repeat_with(&mut look)
        .find(|look| look["streams"][0]["frame_id"] == 9)
        .unwrap();
    assert_eq!(found["streams"].as_array().unwrap().len(), 1);
    thalweg_os::process::terminate(child.id()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_watched_stream_does_not_notice() {
    let scratch = Scratch::new();
    let stream = scratch.stream("s", 4);
    publish(&stream, 1);
    let file = scratch.directory.path().join("thalweg.s");
    let before = std::fs::read(&file).unwrap();
    scratch.succeeds(&["watch", "s", "--count", "2", "--interval", "0.01"]);
    scratch.succeeds(&["stat", "s"]);
    scratch.succeeds(&["list", "--long"]);
    assert!(
        std::fs::read(&file).unwrap() == before,
        "bytes of the stream changed"
    );
}

#[test]
fn a_missing_stream_fails_a_single_look() {
    let scratch = Scratch::new();
    scratch.stream("there", 4);
    let output = scratch.thalweg(&["watch", "--once", "there", "nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("absent"));
    assert!(text(&output.stderr).contains("\"nowhere\" does not exist; `thalweg list`"));
    for verb in ["stat", "dump", "unlink"] {
        let output = scratch.thalweg(&[verb, "thre"]);
        let error = text(&output.stderr);
        assert!(error.contains("did you mean \"there\"?"), "{verb}: {error}");
    }
    let output = scratch.thalweg(&["watch", "--interval", "0"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn stat_names_who_holds_what() {
    let scratch = Scratch::new();
    let stream = scratch.stream("s", 4);
    publish(&stream, 1);
    let borrowed = stream.borrow().unwrap();
    publish(&stream, 2);
    let loan = stream.loan(patience()).unwrap();
    let pid = std::process::id();
    let shown = scratch.succeeds(&["stat", "s"]);
    for line in [
        "count:      2".to_owned(),
        format!("lock:       held by process {pid}"),
        format!("borrowed:   1 of 2 frames that can be, by process {pid}"),
        format!("1: frame 1, borrowed by process {pid}"),
        "2: frame 2, the newest".to_owned(),
        "3: frame 3 is being written".to_owned(),
        format!("attached:   process {pid}"),
    ] {
        assert!(shown.contains(&line), "no {line:?} in\n{shown}");
    }
    let facts = &json_lines(&scratch.succeeds(&["stat", "s", "--json"]))[0];
    assert_eq!(facts["lock_holder_pid"], pid);
    assert_eq!(facts["pins"][0]["pid"], pid);
    assert_eq!(facts["slot_states"][3]["state"], "writing");
    assert_eq!(
        (&facts["slots"], &facts["borrowed"]),
        (&4.into(), &1.into())
    );
    drop((borrowed, loan));
}

#[test]
fn a_lossless_reader_that_holds_the_writer_up_is_named() {
    let scratch = Scratch::new();
    let stream = scratch.stream("s", 4);
    publish(&stream, 1);
    let reader = stream.subscribe(2).unwrap();
    publish(&stream, 2);
    let pid = std::process::id();
    let shown = scratch.succeeds(&["stat", "s"]);
    let calm = format!("lossless:   process {pid} is 1 frames behind, of 2 it may\n");
    assert!(shown.contains(&calm), "{shown}");
    publish(&stream, 3);
    let shown = scratch.succeeds(&["stat", "s"]);
    assert!(
        shown.contains("is 2 frames behind, of 2 it may: the writer waits"),
        "{shown}"
    );
    let table = scratch.succeeds(&["watch", "--once"]);
    assert!(table.contains(&format!("held up by {pid}")), "{table}");
    let facts = &json_lines(&scratch.succeeds(&["stat", "s", "--json"]))[0];
    assert_eq!(
        (&facts["lossless"][0]["lag"], &facts["lossless"][0]["pid"]),
        (&2.into(), &pid.into())
    );
    drop(reader);
}

/// Names the folder of the stream that [`holds_and_ends`] is to hold.
const HELD_FOLDER: &str = "THALWEG_TEST_HELD_FOLDER";

/// Run in a process of its own by the next test; does nothing otherwise.
#[test]
fn holds_and_ends() {
    let Some(folder) = std::env::var_os(HELD_FOLDER) else {
        return;
    };
    let stream = StreamDirectory::new(folder).open("s").unwrap();
    // Never dropped: the process ends with both in its hands.
    let _frame = ManuallyDrop::new(stream.borrow().unwrap());
    let _loan = ManuallyDrop::new(stream.loan(patience()).unwrap());
}

#[test]
fn stat_tells_that_a_holder_has_died() {
    let scratch = Scratch::new();
    let stream = scratch.stream("s", 4);
    publish(&stream, 1);
    let held = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "watch::holds_and_ends"])
        .env(HELD_FOLDER, scratch.directory.path())
        .output()
        .unwrap();
    assert!(held.status.success(), "{}", text(&held.stdout));
    let shown = scratch.succeeds(&["stat", "s"]);
    for words in [
        "(exited): the next writer takes it over",
        "(exited); whoever needs it takes it back",
        "frame 2 was being written when its writer exited",
    ] {
        assert!(shown.contains(words), "no {words:?} in\n{shown}");
    }
    let table = scratch.succeeds(&["watch", "--once"]);
    assert!(table.contains("(exited)"), "{table}");
    publish(&stream, 2);
    let shown = scratch.succeeds(&["stat", "s"]);
    assert!(shown.contains("lock:       free"), "{shown}");
    assert!(shown.contains("aborts:     1"), "{shown}");
}

#[test]
fn list_can_be_long_or_json_and_mentions_what_is_no_stream() {
    let scratch = Scratch::new();
    publish(&scratch.stream("a", 4), 1);
    scratch.stream("b", 2);
    assert_eq!(scratch.succeeds(&["list"]), "a\nb\n");
    let long = scratch.succeeds(&["list", "-l"]);
    assert_eq!(long.lines().count(), 3, "{long}");
    assert!(
        long.lines()
            .nth(1)
            .unwrap()
            .starts_with("a       uint16[2, 3]"),
        "{long}"
    );
    let facts = json_lines(&scratch.succeeds(&["list", "--json"]));
    assert_eq!(
        (&facts[0]["name"], &facts[1]["name"]),
        (&"a".into(), &"b".into())
    );
    assert_eq!(
        (&facts[0]["count"], &facts[1]["slots"]),
        (&1.into(), &2.into())
    );
    std::fs::write(scratch.directory.path().join("thalweg.broken"), "debris").unwrap();
    let output = scratch.thalweg(&["list"]);
    assert_eq!(text(&output.stdout), "a\nb\n");
    assert!(text(&output.stderr).contains("thalweg.broken"));
    let purged = scratch.succeeds(&["purge", "--prefix", "a", "--dry-run"]);
    assert_eq!(purged, "would remove a\n");
}
