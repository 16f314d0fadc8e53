//! `thalweg watch` on a terminal: drawn in place, ended by a key, the terminal put back.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::support::{Scratch, publish};

/// The two ends of a terminal: the user's, and the programs'.
fn terminal() -> (File, OwnedFd) {
    let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&user).unwrap();
    unlockpt(&user).unwrap();
    let name = ptsname(&user, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let programs = open(name, flags, Mode::empty()).unwrap();
    let size = Winsize {
        ws_row: 24,
        ws_col: 200,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&programs, size).unwrap();
    (File::from(user), programs)
}

/// Reads what is drawn until `word` was.
fn read_until(user: &mut File, word: &str) -> String {
    let mut drawn = Vec::new();
    while !String::from_utf8_lossy(&drawn).contains(word) {
        let mut bytes = [0; 4096];
        let count = user.read(&mut bytes).unwrap();
        assert_ne!(
            count,
            0,
            "no {word:?} in {:?}",
            String::from_utf8_lossy(&drawn)
        );
        drawn.extend_from_slice(&bytes[..count]);
    }
    String::from_utf8_lossy(&drawn).into_owned()
}

#[test]
fn the_table_is_redrawn_until_q_and_the_terminal_put_back() {
    let scratch = Scratch::new();
    let stream = scratch.stream("camera", 4);
    publish(&stream, 1);
    let (mut user, programs) = terminal();
    let takes_lines = |programs: &OwnedFd| {
        let modes = tcgetattr(programs).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    };
    assert!(takes_lines(&programs));
    let mut child = scratch
        .command(&["watch", "--interval", "0.05"])
        .env("TERM", "xterm")
        .stdin(programs.try_clone().unwrap())
        .stdout(programs.try_clone().unwrap())
        .spawn()
        .unwrap();
    let first = read_until(&mut user, "q quits");
    assert!(
        first.contains("\u{1b}[?25l"),
        "the cursor is hidden: {first:?}"
    );
    assert!(!takes_lines(&programs), "keys come at once");
    publish(&stream, 2);
    // Up again, over what was drawn before.
    read_until(&mut user, "camera");
    read_until(&mut user, "\u{1b}[4A");
    user.write_all(b"xq").unwrap();
    read_until(&mut user, "\u{1b}[?25h");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(takes_lines(&programs), "as it was");
}
