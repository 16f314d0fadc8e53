//! `thalweg purge`: removes streams, and what ended runs have left.

use thalweg::shm::counters::Counters;
use thalweg::{StreamDirectory, shm::Purged};

use super::Failed;
use crate::cli::PurgeArguments;

pub(crate) fn purge(arguments: &PurgeArguments) -> Result<(), Failed> {
    let directory = StreamDirectory::default();
    let cannot_read = |error: std::io::Error| {
        Failed::because(format!(
            "cannot purge {}: {error}",
            directory.path().display()
        ))
    };
    let prefix = arguments
        .prefix_option
        .as_ref()
        .unwrap_or(&arguments.prefix);
    let purged = directory
        .purge(prefix, arguments.dry_run)
        .map_err(cannot_read)?;
    let mut has_failed = false;
    for (name, outcome) in purged {
        match outcome {
            Purged::Removed if arguments.dry_run => println!("would remove {name}"),
            Purged::Removed => println!("removed {name}"),
            Purged::InUse { pid } => {
                eprintln!("kept {name}: it belongs to a running pipeline (process {pid})");
            }
            Purged::Failed { message } => {
                eprintln!("error: {message}");
                has_failed = true;
            }
        }
    }
    if !arguments.dry_run {
        Counters::remove_abandoned(directory.path()).map_err(cannot_read)?;
    }
    if has_failed {
        Err(Failed::silently(1))
    } else {
        Ok(())
    }
}
