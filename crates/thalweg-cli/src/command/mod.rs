//! One file per verb.

pub(crate) mod benchmark;
pub(crate) mod describe;
pub(crate) mod doctor;
pub(crate) mod dump;
mod facts;
pub(crate) mod kinds;
pub(crate) mod list;
mod live;
pub(crate) mod purge;
pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod stat;
pub(crate) mod top;
pub(crate) mod unlink;
pub(crate) mod validate;
pub(crate) mod watch;
pub(crate) mod worker;

use std::io::Write;

use thalweg::pipeline::config::{Diagnostics, PipelineConfig, Reading};

use crate::cli::ConfigArgument;
use crate::default_pipeline;

/// A command that did not succeed.
#[derive(Debug)]
pub(crate) struct Failed {
    /// What to tell, unless it was told already.
    pub(crate) message: Option<String>,
    /// Exit status.
    pub(crate) status: u8,
}

impl Failed {
    /// The exit status of an interrupted command.
    pub(crate) const INTERRUPTED: u8 = 130;

    /// Exit status 1 and this message.
    pub(crate) fn because(message: impl std::fmt::Display) -> Self {
        Self {
            message: Some(message.to_string()),
            status: 1,
        }
    }

    /// This exit status, everything having been told.
    pub(crate) fn silently(status: u8) -> Self {
        Self {
            message: None,
            status,
        }
    }
}

/// Writes `text` and a line end to standard output. A reader that has seen enough and went away, as
/// in `| head`, ends the command without complaint.
pub(crate) fn tell(text: impl std::fmt::Display) -> Result<(), Failed> {
    let mut output = std::io::stdout().lock();
    match writeln!(output, "{text}").and_then(|()| output.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Failed::silently(0)),
        written => written
            .map_err(|error| Failed::because(format!("cannot write standard output: {error}"))),
    }
}

/// The configuration asked for, with everything there is to say about its text.
pub(crate) fn read(argument: &ConfigArgument) -> Reading {
    match &argument.config {
        Some(path) => PipelineConfig::read_yaml_file(path),
        None => default_pipeline::read(),
    }
}

/// The configuration asked for.
pub(crate) fn load(argument: &ConfigArgument) -> Result<PipelineConfig, Diagnostics> {
    read(argument).into_result()
}
