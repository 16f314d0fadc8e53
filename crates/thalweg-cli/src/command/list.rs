//! `thalweg list`: names of all streams, one per line.

use thalweg::StreamDirectory;
use thalweg::shm::stream::error::OpenError;

use super::facts::{Facts, liveness_word};
use super::{Failed, tell};
use crate::cli::ListArguments;
use crate::table::{Table, age, bytes};

pub(crate) fn list(arguments: &ListArguments) -> Result<(), Failed> {
    let directory = StreamDirectory::default();
    let cannot_read = |error| {
        Failed::because(format!(
            "cannot read {}: {error}",
            directory.path().display()
        ))
    };
    let names = directory.list().map_err(cannot_read)?;
    if names.is_empty() {
        eprintln!("no streams found");
    }
    if arguments.json || arguments.long {
        let mut found = Vec::with_capacity(names.len());
        for name in &names {
            match Facts::of(&directory, name) {
                Ok(facts) => found.push(facts),
                // It went between the two looks.
                Err(OpenError::Missing { .. }) => {}
                Err(error) => eprintln!("error: {error}"),
            }
        }
        if arguments.json {
            for facts in &found {
                tell(facts.to_json())?;
            }
        } else if !found.is_empty() {
            tell(table(&found))?;
        }
    } else {
        for name in names {
            tell(name)?;
        }
    }
    for path in directory.unreadable().map_err(cannot_read)? {
        eprintln!(
            "note: {} looks like a stream but is none, or not for you to read",
            path.display()
        );
    }
    Ok(())
}

fn table(found: &[Facts]) -> String {
    let mut table = Table::new(&[
        "stream", "layout", "slots", "size", "count", "age", "creator",
    ]);
    for facts in found {
        let header = facts.observer.header();
        let geometry = &header.geometry;
        table.row(vec![
            header.name.clone(),
            format!("{}{:?}", geometry.dtype, geometry.shape),
            geometry.slots.to_string(),
            bytes(geometry.file_bytes as f64),
            facts.seen.newest.count.to_string(),
            age(facts.seen.age_ns()),
            format!(
                "{} {}",
                header.creator.pid,
                liveness_word(facts.seen.creator)
            ),
        ]);
    }
    table.render()
}
