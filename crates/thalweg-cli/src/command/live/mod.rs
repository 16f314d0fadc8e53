//! Looking at something again and again: redrawn in place on a terminal, line by line elsewhere.

mod screen;

use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use thalweg_os::clock;
use thalweg_os::descriptor::wait_readable;
use thalweg_os::signal::StopSignals;
use thalweg_os::terminal::Keys;

use super::{Failed, tell};
use crate::cli::LiveArguments;
use screen::Screen;

/// One look, in every form it may be shown in.
pub(super) trait Shown {
    /// One JSON object per line.
    fn to_json(&self) -> serde_json::Value;

    /// For a pipe or a file.
    fn to_lines(&self) -> String;

    /// For a terminal; `hint` says how to end.
    fn to_screen(&self, hint: &str) -> String;
}

/// Has `look` take a look and hand it to its argument to be shown, and waits, as often as `arguments`
/// say or until somebody wants an end; whether it was the former.
pub(super) fn look_repeatedly(
    arguments: &LiveArguments,
    mut look: impl FnMut(&mut dyn FnMut(&dyn Shown) -> Result<(), Failed>) -> Result<(), Failed>,
) -> Result<bool, Failed> {
    let signals = StopSignals::block().map_err(Failed::because)?;
    let looks = if arguments.once {
        Some(1)
    } else {
        arguments.count
    };
    let interval_ns =
        u64::try_from(Duration::from_secs_f64(arguments.interval).as_nanos()).unwrap_or(u64::MAX);
    let mut output = Output::new(arguments, looks)?;
    let mut next_look_ns = clock::monotonic_ns();
    let mut done = 0;
    loop {
        look(&mut |shown| output.show(shown))?;
        done += 1;
        if looks.is_some_and(|looks| done >= looks) {
            return Ok(true);
        }
        next_look_ns = next_look_ns.saturating_add(interval_ns);
        match output.wait(&signals, next_look_ns)? {
            Waited::ForTheNextLook => {}
            Waited::UntilQuit => return Ok(false),
            Waited::UntilInterrupt => return Err(Failed::silently(Failed::INTERRUPTED)),
        }
        // After a pause of the whole process there is nothing to catch up with.
        next_look_ns = next_look_ns.max(clock::monotonic_ns().saturating_sub(interval_ns));
    }
}

/// How a wait between two looks ended.
enum Waited {
    ForTheNextLook,
    UntilQuit,
    UntilInterrupt,
}

/// Where the looks go.
enum Output {
    /// Redrawn in place, until a key ends it.
    Terminal { screen: Screen, keys: Option<Keys> },
    /// One table after the other.
    Lines { is_first: bool },
    /// One JSON object per line.
    Json,
}

impl Output {
    fn new(arguments: &LiveArguments, looks: Option<u64>) -> Result<Self, Failed> {
        if arguments.json {
            return Ok(Self::Json);
        }
        if looks == Some(1) || !std::io::stdout().is_terminal() {
            return Ok(Self::Lines { is_first: true });
        }
        let cannot = |error| Failed::because(format!("cannot use the terminal: {error}"));
        Ok(Self::Terminal {
            keys: Keys::open().map_err(cannot)?,
            screen: Screen::new().map_err(cannot)?,
        })
    }

    fn show(&mut self, look: &dyn Shown) -> Result<(), Failed> {
        match self {
            Self::Json => tell(look.to_json()),
            Self::Lines { is_first } => {
                let separator = if *is_first { "" } else { "\n" };
                *is_first = false;
                tell(format_args!("{separator}{}", look.to_lines()))
            }
            Self::Terminal { screen, keys } => {
                let hint = if keys.is_some() { ", q quits" } else { "" };
                let cannot = |error| Failed::because(format!("cannot draw: {error}"));
                screen.draw(&look.to_screen(hint)).map_err(cannot)
            }
        }
    }

    /// Sleeps until `deadline_ns`, or until somebody wants an end.
    fn wait(&self, signals: &StopSignals, deadline_ns: u64) -> Result<Waited, Failed> {
        let keys = match self {
            Self::Terminal { keys, .. } => keys.as_ref(),
            _ => None,
        };
        loop {
            let mut descriptors: Vec<BorrowedFd<'_>> = vec![signals.as_fd()];
            descriptors.extend(keys.map(AsFd::as_fd));
            let readable =
                wait_readable(&descriptors, Some(deadline_ns)).map_err(Failed::because)?;
            if signals.take().is_some() {
                return Ok(Waited::UntilInterrupt);
            }
            if let Some(keys) = keys
                && readable.get(1) == Some(&true)
            {
                let pressed = keys.take();
                // Readable and nothing there: the terminal went away.
                if pressed.is_empty() || pressed.iter().any(|key| b"qQ\x1b".contains(key)) {
                    return Ok(Waited::UntilQuit);
                }
            }
            if clock::monotonic_ns() >= deadline_ns {
                return Ok(Waited::ForTheNextLook);
            }
        }
    }
}
