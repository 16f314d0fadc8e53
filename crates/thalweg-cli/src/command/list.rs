//! `thalweg list`: names of all streams, one per line.

use thalweg::StreamDirectory;

use super::Failed;

pub(crate) fn list() -> Result<(), Failed> {
    let directory = StreamDirectory::default();
    let names = directory.list().map_err(|error| {
        Failed::because(format!(
            "cannot read {}: {error}",
            directory.path().display()
        ))
    })?;
    if names.is_empty() {
        eprintln!("no streams found");
    }
    for name in names {
        println!("{name}");
    }
    Ok(())
}
