//! Putting a new stream in the place of one of the same name.

use std::io;

use thalweg_os::locked_file::LockedFile;

use super::attachment::Attachment;
use super::directory::{announce, live_run};
use super::error::{CreateError, OpenError, ReplaceError};
use super::{Stream, StreamDirectory, StreamOptions};
use crate::protocol::publish::state;
use crate::segment::name::file_name;

impl Stream {
    /// As [`StreamDirectory::replace`], in the default directory.
    pub fn replace(name: &str, options: &StreamOptions) -> Result<Self, ReplaceError> {
        StreamDirectory::default().replace(name, options)
    }
}

impl StreamDirectory {
    /// Creates the stream `name` in the place of what has the name, if anything does. Whoever opens
    /// the name finds the old stream or the new one, complete, and at no time nothing. Handles and
    /// views of the old one stay usable; its waiters learn that it was replaced.
    ///
    /// Streams of a running pipeline are refused.
    pub fn replace(&self, name: &str, options: &StreamOptions) -> Result<Stream, ReplaceError> {
        let mut fresh = self.build(name, options)?;
        let file_name = file_name(name).map_err(CreateError::from)?;
        let path = self.path().join(&file_name);
        let system = |source| ReplaceError::System {
            name: name.to_owned(),
            path: path.clone(),
            source,
        };
        loop {
            // Only the holder of the old file's lock may give its name to another: nobody replaces
            // what he did not look at.
            let lock = match LockedFile::open(&path) {
                Ok(lock) if lock.is_at(&path) => lock,
                // Removed or replaced by the one who held the lock before.
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match fresh.publish(&file_name) {
                        // Created by somebody else since the look.
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                        published => {
                            let descriptor = published.map_err(system)?;
                            return Self::attach(descriptor, &path).map_err(system);
                        }
                    }
                }
                Err(error) => return Err(system(error)),
            };
            let old = match Attachment::open(&path, name) {
                Ok(old) if old.identity() == lock.identity() => Some(old),
                // No stream: there is nobody to tell, and no name is ever stuck.
                Err(OpenError::Header { .. }) => None,
                Err(OpenError::System { source, .. }) => return Err(system(source)),
                // By a hand that does not heed locks, the name leads elsewhere by now.
                _ => continue,
            };
            if let Some(pid) = old.as_ref().and_then(|old| live_run(&old.header)) {
                return Err(ReplaceError::InUse {
                    name: name.to_owned(),
                    pid,
                });
            }
            let descriptor = fresh.replace(&file_name).map_err(system)?;
            if let Some(old) = old {
                announce(&old, state::REPLACED);
            }
            return Self::attach(descriptor, &path).map_err(system);
        }
    }
}
