//! What one hand-off between two processes costs, beside the least that the machine asks for it.
//!
//! Two processes, each pinned to a CPU of its own. The first reads requests from standard input, one
//! per line, and answers each with a line `ok name=value …` or `error: …`; the second is its partner.
//! Who asks for a stream and for its raw counterpart in turns gets figures of the same two
//! processes from the same moment. `cargo xtask bench streams` asks.
//!
//! ```text
//! raw|stream spin|park observe|copy BYTES ROUND_TRIPS [locked]
//! rows spin|park copy BYTES ROUND_TRIPS
//! memcpy|write BYTES ROUNDS
//! clock|publish|publish_locked ROUNDS
//! watched READERS asleep|looking ROUNDS
//! cadence adaptive|park PERIOD_US FRAMES
//! memory BYTES READERS FRAMES held|released
//! syscalls|syscalls_locked PUBLICATIONS
//! cpus
//! ```

#![expect(
    unsafe_code,
    reason = "the raw counterparts copy from and to shared memory without any protocol"
)]

mod arena;
mod cadence;
mod footprint;
mod memory;
mod pair;
mod ping_pong;
mod publish;
mod raw;
mod readers;
mod rows;
mod samples;
mod stream;
mod syscalls;
mod watched;

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use pair::Leader;

/// What any part of a measurement may fail with; the one who asked gets to read it.
type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["partner", cpu, arena, streams] => pair::follow(cpu, arena, streams),
        ["publisher", stream, publications, scope] => {
            syscalls::publish_traced(stream, publications, scope)
        }
        ["reader", stream, how] => memory::read(stream, how),
        ["watcher", stream, how, cpu] => watched::watch(stream, how, cpu),
        ["waiter", stream, policy, frames, first, second] => {
            cadence::wait(stream, policy, frames, [first, second])
        }
        // Cargo says `--bench` to benchmarks it runs itself.
        _ => answer_requests(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "hand_off: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

fn answer_requests() -> Outcome<()> {
    let mut leader = None;
    for line in io::stdin().lock().lines() {
        let line = line?;
        // Made for the first request, so that being built and run by tools costs nothing.
        let leader = match &mut leader {
            Some(leader) => leader,
            none => none.insert(Leader::start()?),
        };
        match answer(leader, &line) {
            Ok(answer) => println(&format!("ok {answer}"))?,
            Err(error) => println(&format!("error: {error}").replace('\n', "; "))?,
        }
    }
    Ok(())
}

fn answer(leader: &mut Leader, line: &str) -> Outcome<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["cpus"] => {
            let [own, partner] = leader.cpus();
            Ok(format!("leader={own} partner={partner}"))
        }
        ["raw" | "stream" | "rows", ..] => leader.ping_pong(line),
        ["memcpy", bytes, rounds] => publish::copy_raw(bytes.parse()?, rounds.parse()?),
        ["write", bytes, rounds] => publish::write(bytes.parse()?, rounds.parse()?),
        ["clock", rounds] => publish::read_clock(rounds.parse()?),
        ["publish", rounds] => publish::publish(rounds.parse()?, false),
        ["publish_locked", rounds] => publish::publish(rounds.parse()?, true),
        ["watched", readers, how, rounds] => {
            let [_own, other] = leader.cpus();
            watched::publish(readers.parse()?, how, rounds.parse()?, other)
        }
        ["cadence", policy, period_us, frames] => {
            cadence::measure(policy, period_us.parse()?, frames.parse()?, leader.cpus())
        }
        ["memory", bytes, readers, frames, how] => {
            memory::measure(bytes.parse()?, readers.parse()?, frames.parse()?, how)
        }
        ["syscalls", publications] => syscalls::count(publications.parse()?, "plain"),
        ["syscalls_locked", publications] => syscalls::count(publications.parse()?, "locked"),
        _ => Err(format!("unknown request `{line}`").into()),
    }
}

fn println(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
