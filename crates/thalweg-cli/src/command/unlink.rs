//! `thalweg unlink`: removes streams by name.

use thalweg::StreamDirectory;

use super::Failed;
use super::facts::did_you_mean;
use crate::cli::UnlinkArguments;

pub(crate) fn unlink(arguments: &UnlinkArguments) -> Result<(), Failed> {
    let directory = StreamDirectory::default();
    let mut has_failed = false;
    for name in &arguments.names {
        match directory.unlink(name) {
            Ok(true) => println!("unlinked {name}"),
            Ok(false) => eprintln!("no stream {name}{}", did_you_mean(&directory, name)),
            Err(error) => {
                eprintln!("error: {error}");
                has_failed = true;
            }
        }
    }
    if has_failed {
        Err(Failed::silently(1))
    } else {
        Ok(())
    }
}
