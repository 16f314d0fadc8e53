//! The hand-offs of `crates/thalweg-shm/benches/hand_off`, carried by iceoryx2 as it comes.
//!
//! Two processes, each pinned to a CPU of its own, and the very loops and samples of the program it
//! stands beside. Requests are read from standard input, one per line:
//!
//! ```text
//! samples spin|park observe|copy BYTES ROUND_TRIPS   park: an event announces every sample
//! events park observe BYTES ROUND_TRIPS              events alone, BYTES is ignored
//! publish SUBSCRIBERS ROUNDS                         64 bytes, taken by nobody
//! memory BYTES READERS FRAMES held|released          what a writer and its readers occupy
//! ```

#![forbid(unsafe_code)]

#[path = "../../../../crates/thalweg-shm/benches/hand_off/footprint.rs"]
mod footprint;
mod memory;
mod node;
mod pair;
#[path = "../../../../crates/thalweg-shm/benches/hand_off/ping_pong.rs"]
mod ping_pong;
mod publish;
#[path = "../../../../crates/thalweg-shm/benches/hand_off/readers.rs"]
mod readers;
#[path = "../../../../crates/thalweg-shm/benches/hand_off/samples.rs"]
#[expect(dead_code, reason = "not everything is measured here")]
mod samples;

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use pair::Leader;

/// What any part of a measurement may fail with; the one who asked gets to read it.
type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    iceoryx2::prelude::set_log_level(iceoryx2::prelude::LogLevel::Error);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["partner", cpu, prefix] => pair::follow(cpu, prefix),
        ["reader", how, prefix] => memory::read(how, prefix),
        _ => answer_requests(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "iceoryx2-peer: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

fn answer_requests() -> Outcome<()> {
    let mut leader = Leader::start()?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        match answer(&mut leader, &line) {
            Ok(answer) => println(&format!("ok {answer}"))?,
            Err(error) => println(&format!("error: {error}").replace('\n', "; "))?,
        }
    }
    Ok(())
}

fn answer(leader: &mut Leader, line: &str) -> Outcome<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["samples" | "events", ..] => leader.ping_pong(line),
        ["publish", subscribers, rounds] => {
            publish::publish(leader.prefix(), subscribers.parse()?, rounds.parse()?)
        }
        ["memory", bytes, readers, frames, how] => memory::measure(
            leader.prefix(),
            bytes.parse()?,
            readers.parse()?,
            frames.parse()?,
            how,
        ),
        _ => Err(format!("unknown request `{line}`").into()),
    }
}

fn println(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
