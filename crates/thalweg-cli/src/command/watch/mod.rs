//! `thalweg watch`: who writes what how fast, and who holds it.
//!
//! Watching looks at heads and slot headers only. It copies no frame, registers in no stream and
//! is not noticed by any writer.

mod followed;
mod pace;

use thalweg::StreamDirectory;
use thalweg_os::clock;

use super::Failed;
use super::facts::utc;
use super::live::{Shown, look_repeatedly};
use crate::cli::WatchArguments;
use followed::{Followed, Look};

pub(crate) fn watch(arguments: &WatchArguments) -> Result<(), Failed> {
    let directory = StreamDirectory::default();
    let mut followed = Followed::new(&arguments.names);
    let mut missing = Vec::new();
    let is_complete = look_repeatedly(&arguments.live, |show| {
        let look = followed.look(&directory).map_err(|error| {
            Failed::because(format!(
                "cannot read {}: {error}",
                directory.path().display()
            ))
        })?;
        missing = look.missing(&directory);
        show(&WatchedLook {
            look,
            directory: &directory,
            interval_s: arguments.live.interval,
        })
    })?;
    if missing.is_empty() || !is_complete {
        Ok(())
    } else {
        Err(Failed::because(missing.join("\nerror: ")))
    }
}

struct WatchedLook<'a> {
    look: Look<'a>,
    directory: &'a StreamDirectory,
    interval_s: f64,
}

impl Shown for WatchedLook<'_> {
    fn to_json(&self) -> serde_json::Value {
        self.look.to_json(clock::wall_ns())
    }

    fn to_lines(&self) -> String {
        if self.look.stream_count() == 0 {
            eprintln!("no streams found");
        }
        self.look.to_table(false)
    }

    fn to_screen(&self, hint: &str) -> String {
        let headline = format!(
            "{} streams in {} at {} UTC, every {} s{hint}",
            self.look.stream_count(),
            self.directory.path().display(),
            utc(clock::wall_ns()).get(11..19).unwrap_or_default(),
            self.interval_s,
        );
        format!("{headline}\n\n{}", self.look.to_table(true))
    }
}
