//! Opening a stream that somebody else is about to create.

use std::time::Duration;

use thalweg_os::arrivals::Arrivals;
use thalweg_os::clock::monotonic_ns;

use super::error::OpenError;
use super::wait::SLICE_NS;
use super::{Patience, Stream, StreamDirectory};

/// Time between two looks where the system cannot tell of new names: a user may only have so many
/// watches, and the folder may not be there yet.
const UNWATCHED_NAP_NS: u64 = 10_000_000;

impl Stream {
    /// As [`Stream::open`], but waits until the stream exists.
    pub fn open_within(name: &str, patience: Patience<'_>) -> Result<Self, OpenError> {
        StreamDirectory::default().open_within(name, patience)
    }
}

impl StreamDirectory {
    /// As [`StreamDirectory::open`], but waits until the stream exists. Anything else that is wrong
    /// with it ends the wait at once: a stream has its name only when it is complete.
    pub fn open_within(&self, name: &str, patience: Patience<'_>) -> Result<Stream, OpenError> {
        let began_ns = monotonic_ns();
        // Nothing is watched for a stream that is there already.
        match self.open(name) {
            Err(OpenError::Missing { .. }) => {}
            opened => return opened,
        }
        let mut arrivals = Arrivals::of(self.path()).ok();
        loop {
            // After the watch was set: what appears from here on is told.
            match self.open(name) {
                Err(OpenError::Missing { .. }) => {}
                opened => return opened,
            }
            if patience.interrupt.is_some_and(|interrupt| interrupt()) {
                return Err(OpenError::Interrupted {
                    name: name.to_owned(),
                });
            }
            let now_ns = monotonic_ns();
            let deadline_ns = patience.deadline_ns.unwrap_or(u64::MAX);
            if now_ns >= deadline_ns {
                return Err(OpenError::TimedOut {
                    name: name.to_owned(),
                    directory: self.path().to_owned(),
                    waited: Duration::from_nanos(now_ns - began_ns),
                });
            }
            let told = arrivals
                .as_ref()
                .map(|arrivals| arrivals.wait(deadline_ns.min(now_ns + SLICE_NS)));
            if !matches!(told, Some(Ok(_))) {
                let left_ns = deadline_ns - now_ns;
                std::thread::sleep(Duration::from_nanos(left_ns.min(UNWATCHED_NAP_NS)));
                arrivals = Arrivals::of(self.path()).ok();
            }
        }
    }
}
