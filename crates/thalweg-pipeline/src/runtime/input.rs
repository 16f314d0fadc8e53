//! One input stream of a worker: the frame at hand, borrowed in place where possible.

use thalweg_kernels::OwnedArray;
use thalweg_shm::stream::error::BorrowError;
use thalweg_shm::{ArrayRef, Frame, Publication, Stream};

/// A frame could not be taken.
#[derive(Debug, thiserror::Error)]
#[error("cannot read stream {name:?}: {message}")]
pub(super) struct InputError {
    pub(super) name: String,
    pub(super) message: String,
}

/// An input stream and the newest frame taken from it.
pub(super) struct Input {
    pub(super) stream: Stream,
    frame: Option<Frame>,
    /// What is looked at while nothing is borrowed: zeros at first, then copies if it must be.
    copy: OwnedArray,
    publication: Publication,
}

impl Input {
    pub(super) fn new(stream: Stream) -> Result<Self, InputError> {
        let copy =
            OwnedArray::zeros(stream.dtype(), stream.shape()).map_err(|error| InputError {
                name: stream.header().name.clone(),
                message: error.to_string(),
            })?;
        Ok(Self {
            stream,
            frame: None,
            copy,
            publication: Publication::default(),
        })
    }

    /// Regards everything published so far as seen.
    pub(super) fn skip_to_now(&mut self) {
        self.publication.count = self.stream.count();
    }

    /// Count of the newest frame taken or skipped.
    pub(super) fn seen(&self) -> u64 {
        self.publication.count
    }

    /// What was said about the frame at hand.
    pub(super) fn publication(&self) -> Publication {
        self.publication
    }

    /// The frame at hand; zeros before the first.
    pub(super) fn array(&self) -> ArrayRef<'_> {
        match &self.frame {
            Some(frame) => frame.array(),
            None => self.copy.as_array(),
        }
    }

    /// Takes the newest frame if it is newer than the one at hand; returns how many publications
    /// in between were never looked at.
    pub(super) fn refresh(&mut self) -> Result<Option<u64>, InputError> {
        let seen = self.publication.count;
        if self.stream.count() <= seen {
            return Ok(None);
        }
        // The old frame's ticket first: a stream with one ticket has none left otherwise.
        self.frame = None;
        match self.stream.borrow() {
            Ok(frame) => {
                self.publication = frame.publication();
                self.frame = Some(frame);
            }
            // Given up by its writer: wait for the next.
            Err(BorrowError::Inconsistent { .. } | BorrowError::Empty { .. }) => return Ok(None),
            // No ticket for us: a copy does as well.
            Err(
                BorrowError::Limit { .. }
                | BorrowError::TooFewSlots { .. }
                | BorrowError::ReadOnly { .. },
            ) => {
                let publication = self
                    .stream
                    .read_into_array(&mut self.copy.as_array_mut(), None)
                    .map_err(|error| self.error(&error))?;
                self.publication = publication;
            }
            Err(error) => return Err(self.error(&error)),
        }
        Ok(Some(self.publication.count.saturating_sub(seen + 1)))
    }

    /// Gives the frame back before the next wait, keeping its number.
    pub(super) fn release(&mut self) {
        self.frame = None;
    }

    fn error(&self, error: &dyn std::error::Error) -> InputError {
        InputError {
            name: self.stream.header().name.clone(),
            message: error.to_string(),
        }
    }
}
