//! Processes that are asked for figures, one line for one line.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::environment::Environment;
use super::group::Program;
use crate::command::{command, succeeds};

/// Longer than any request takes on a machine that is still of use.
const PATIENCE: Duration = Duration::from_secs(180);

/// The figures of one answer.
pub(super) type Answer = BTreeMap<String, f64>;

/// The processes of one group, each started when it is first asked.
#[derive(Debug)]
pub(super) struct Parties<'a> {
    environment: &'a Environment,
    /// Those that could not be started, or broke, say why instead.
    running: BTreeMap<Program, Result<Party, String>>,
}

impl<'a> Parties<'a> {
    pub(super) fn new(environment: &'a Environment) -> Self {
        Self {
            environment,
            running: BTreeMap::new(),
        }
    }

    /// Asks a program; starts it if need be.
    ///
    /// # Errors
    ///
    /// What the program complains about, or why there is none.
    pub(super) fn ask(&mut self, program: Program, request: &str) -> Result<Answer, String> {
        let environment = self.environment;
        let party = self
            .running
            .entry(program)
            .or_insert_with(|| Party::start(environment, program));
        match party {
            Ok(running) => match running.ask(request) {
                Err(Failure::Lost(reason)) => {
                    // Dropping it ends the process.
                    *party = Err(reason.clone());
                    Err(reason)
                }
                Err(Failure::Refused(reason)) => Err(reason),
                Ok(answer) => Ok(answer),
            },
            Err(reason) => Err(reason.clone()),
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
enum Failure {
    /// The program said so, and may be asked again.
    Refused(String),
    /// The program is of no use any more.
    Lost(String),
}

#[derive(Debug)]
struct Party {
    child: Child,
    requests: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Party {
    fn start(environment: &Environment, program: Program) -> Result<Self, String> {
        let mut command = environment.command(program)?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{program:?} could not be started: {error}"))?;
        let requests = child.stdin.take();
        let output = child.stdout.take();
        // One request is under way at a time, so one answer is all there ever is to hold.
        let (sender, answers) = sync_channel(1);
        std::thread::spawn(move || {
            let lines = output
                .into_iter()
                .flat_map(|output| BufReader::new(output).lines());
            for line in lines.map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            child,
            requests,
            answers,
        })
    }

    fn ask(&mut self, request: &str) -> Result<Answer, Failure> {
        let lost = |reason: &str| Failure::Lost(format!("`{request}`: {reason}"));
        let requests = self.requests.as_mut().ok_or_else(|| lost("ended"))?;
        writeln!(requests, "{request}")
            .and_then(|()| requests.flush())
            .map_err(|error| lost(&error.to_string()))?;
        match self.answers.recv_timeout(PATIENCE) {
            Ok(line) => parse(&line).map_err(Failure::Refused),
            Err(RecvTimeoutError::Disconnected) => Err(lost("the program has ended")),
            Err(RecvTimeoutError::Timeout) => {
                Err(lost(&format!("no answer within {} s", PATIENCE.as_secs())))
            }
        }
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        // The end of its input asks it to end. Interrupting is for one that hangs: it still ends
        // the processes it has started, which killing would not.
        drop(self.requests.take());
        if !self.ends_within(Duration::from_secs(20)) {
            succeeds(command("kill").args(["-INT", &self.child.id().to_string()]));
            if !self.ends_within(Duration::from_secs(10)) {
                self.child.kill().ok();
            }
        }
        self.child.wait().ok();
    }
}

impl Party {
    /// True once its output has ended.
    fn ends_within(&self, timeout: Duration) -> bool {
        loop {
            match self.answers.recv_timeout(timeout) {
                Ok(_late_answer) => {}
                Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
    }
}

/// `ok name=value …`, or a complaint.
fn parse(line: &str) -> Result<Answer, String> {
    let Some(values) = line.strip_prefix("ok") else {
        return Err(line.strip_prefix("error: ").unwrap_or(line).to_owned());
    };
    values
        .split_whitespace()
        .map(|word| {
            let (name, value) = word.split_once('=')?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect::<Option<Answer>>()
        .ok_or_else(|| format!("expected `name=value` words, found `{line}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_names_with_values() {
        let answer = parse("ok p50_us=1.5 rows=3").unwrap();
        assert_eq!(answer["p50_us"], 1.5);
        assert_eq!(answer["rows"], 3.0);
        assert!(parse("ok").unwrap().is_empty());
        assert_eq!(parse("error: no room").unwrap_err(), "no room");
        assert!(parse("ok p50_us").unwrap_err().contains("p50_us"));
        assert_eq!(parse("Traceback").unwrap_err(), "Traceback");
    }
}
