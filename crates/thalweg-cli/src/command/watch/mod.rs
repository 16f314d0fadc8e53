//! `thalweg watch`: who writes what how fast, and who holds it.
//!
//! Watching looks at heads and slot headers only. It copies no frame, registers in no stream and
//! is not noticed by any writer.

mod followed;
mod pace;
mod screen;

use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use thalweg::StreamDirectory;
use thalweg_os::clock;
use thalweg_os::descriptor::wait_readable;
use thalweg_os::signal::StopSignals;
use thalweg_os::terminal::Keys;

use super::facts::utc;
use super::{Failed, tell};
use crate::cli::WatchArguments;
use followed::{Followed, Look};
use screen::Screen;

pub(crate) fn watch(arguments: &WatchArguments) -> Result<(), Failed> {
    let signals = StopSignals::block().map_err(Failed::because)?;
    let directory = StreamDirectory::default();
    let looks = if arguments.once {
        Some(1)
    } else {
        arguments.count
    };
    let interval_ns =
        u64::try_from(Duration::from_secs_f64(arguments.interval).as_nanos()).unwrap_or(u64::MAX);
    let mut followed = Followed::new(&arguments.names);
    let mut output = Output::new(arguments, looks)?;
    let mut next_look_ns = clock::monotonic_ns();
    let mut done = 0;
    loop {
        let look = followed.look(&directory).map_err(|error| {
            Failed::because(format!(
                "cannot read {}: {error}",
                directory.path().display()
            ))
        })?;
        output.show(&look, &directory, arguments.interval)?;
        done += 1;
        if looks.is_some_and(|looks| done >= looks) {
            let missing = look.missing(&directory);
            drop(output);
            return if missing.is_empty() {
                Ok(())
            } else {
                Err(Failed::because(missing.join("\nerror: ")))
            };
        }
        next_look_ns = next_look_ns.saturating_add(interval_ns);
        match output.wait(&signals, next_look_ns)? {
            Waited::ForTheNextLook => {}
            Waited::UntilQuit => return Ok(()),
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
    fn new(arguments: &WatchArguments, looks: Option<u64>) -> Result<Self, Failed> {
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

    fn show(
        &mut self,
        look: &Look<'_>,
        directory: &StreamDirectory,
        interval_s: f64,
    ) -> Result<(), Failed> {
        let wall_ns = clock::wall_ns();
        match self {
            Self::Json => tell(look.to_json(wall_ns)),
            Self::Lines { is_first } => {
                let separator = if *is_first { "" } else { "\n" };
                *is_first = false;
                if look.stream_count() == 0 {
                    eprintln!("no streams found");
                }
                tell(format_args!("{separator}{}", look.to_table(false)))
            }
            Self::Terminal { screen, keys } => {
                let quits = if keys.is_some() { ", q quits" } else { "" };
                let headline = format!(
                    "{} streams in {} at {} UTC, every {interval_s} s{quits}",
                    look.stream_count(),
                    directory.path().display(),
                    utc(wall_ns).get(11..19).unwrap_or_default(),
                );
                let text = format!("{headline}\n\n{}", look.to_table(true));
                let cannot = |error| Failed::because(format!("cannot draw: {error}"));
                screen.draw(&text).map_err(cannot)
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
