//! Readers: further processes of this program, as many as a measurement asks for.
//!
//! The same for every library: it is compiled into the programs of the peers, too.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Outcome;

/// How long one may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// A process that says `ready` when it has attached, and ends when its input or what it reads does.
#[derive(Debug)]
pub(crate) struct Reader {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Reader {
    /// Starts this program with `arguments` and waits until it is ready.
    pub(crate) fn start(arguments: &[&str]) -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let requests = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        let mut reader = Self {
            child,
            requests,
            answers,
        };
        match reader.answer()?.as_str() {
            "ready" => Ok(reader),
            problem => Err(format!("a reader says: `{problem}`").into()),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks for something.
    pub(crate) fn tell(&mut self, request: &str) -> Outcome<()> {
        let requests = self.requests.as_mut().ok_or("the reader has ended")?;
        writeln!(requests, "{request}")?;
        Ok(())
    }

    /// Waits for what it has to say.
    pub(crate) fn answer(&mut self) -> Outcome<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        drop(self.requests.take());
        let began = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if began.elapsed() > PATIENCE {
                self.child.kill().ok();
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}
