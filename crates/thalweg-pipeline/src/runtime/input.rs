//! One input stream of a worker: the frame at hand, borrowed in place where possible.

use thalweg_kernels::OwnedArray;
use thalweg_shm::stream::error::{BorrowError, ReadError};
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
    is_at_hand: bool,
    /// Count of the newest frame that was used or given up.
    settled: u64,
    /// Count of the newest frame that was found given up by its writer: only a later one is news.
    abandoned: u64,
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
            is_at_hand: false,
            settled: 0,
            abandoned: 0,
        })
    }

    /// Whether there is a publication newer than the last one looked at.
    pub(super) fn has_news(&self) -> bool {
        self.stream.count() > self.looked_at()
    }

    /// Count of the newest frame looked at, whether or not its writer had given it up: what to wait
    /// beyond.
    pub(super) fn looked_at(&self) -> u64 {
        self.publication.count.max(self.abandoned)
    }

    /// Whether a frame was taken and not given back yet.
    pub(super) fn is_at_hand(&self) -> bool {
        self.is_at_hand
    }

    /// Regards publications up to number `count` as seen, and later ones as new.
    pub(super) fn go_on_after(&mut self, count: u64) {
        self.publication.count = count;
        self.settled = count;
    }

    /// Regards everything published so far as seen.
    pub(super) fn skip_to_now(&mut self) {
        self.publication.count = self.stream.count();
        self.settled = self.publication.count;
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
        if !self.has_news() || !self.take_newest()? {
            return Ok(None);
        }
        Ok(Some(self.publication.count.saturating_sub(seen + 1)))
    }

    /// Has the newest frame at hand, whether or not it was looked at before; nothing before the
    /// first.
    pub(super) fn keep_at_hand(&mut self) -> Result<(), InputError> {
        if !self.is_at_hand && self.stream.count() > 0 {
            self.take_newest()?;
        }
        Ok(())
    }

    /// False if its writer has given the frame up.
    fn take_newest(&mut self) -> Result<bool, InputError> {
        // The old frame's ticket first: a stream with one ticket has none left otherwise.
        self.frame = None;
        // Before the look: a frame that comes after it is news, whatever the look finds.
        let count = self.stream.count();
        match self.stream.borrow() {
            Ok(frame) => {
                self.publication = frame.publication();
                self.frame = Some(frame);
            }
            // Given up by its writer: wait for the next.
            Err(BorrowError::Inconsistent { .. } | BorrowError::Empty { .. }) => {
                self.abandoned = count;
                return Ok(false);
            }
            // No ticket for us: a copy does as well.
            Err(
                BorrowError::Limit { .. }
                | BorrowError::TooFewSlots { .. }
                | BorrowError::ReadOnly { .. },
            ) => {
                let read = self
                    .stream
                    .read_into_array(&mut self.copy.as_array_mut(), None);
                match read {
                    Ok(publication) => self.publication = publication,
                    Err(ReadError::Inconsistent { .. }) => {
                        self.abandoned = count;
                        return Ok(false);
                    }
                    Err(error) => return Err(self.error(&error)),
                }
            }
            Err(error) => return Err(self.error(&error)),
        }
        self.is_at_hand = true;
        Ok(true)
    }

    /// Takes a frame newer than the last one looked at: the one with `frame_id` if its slot still
    /// holds it, else the newest. Returns how many publications were passed over.
    pub(super) fn take(&mut self, frame_id: Option<u64>) -> Result<Option<u64>, InputError> {
        let seen = self.publication.count;
        let newest = self.stream.newest();
        if newest.count <= seen {
            return Ok(None);
        }
        if let Some(wanted) = frame_id
            && newest.frame_id > wanted
            && self.take_from_history(wanted, seen)?
        {
            return Ok(Some(self.publication.count.saturating_sub(seen + 1)));
        }
        self.refresh()
    }

    fn take_from_history(&mut self, frame_id: u64, seen: u64) -> Result<bool, InputError> {
        let slots = self.stream.header().geometry.slots;
        let name = || self.stream.header().name.clone();
        let frames = self.stream.held_frames(slots).map_err(|error| InputError {
            name: name(),
            message: error.to_string(),
        })?;
        let wanted = frames
            .iter()
            .find(|frame| frame.publication().frame_id == frame_id && frame.count() > seen);
        let Some(frame) = wanted else {
            return Ok(false);
        };
        let copied = frame.copy_to_array(&mut self.copy.as_array_mut());
        if !copied.map_err(|error| InputError {
            name: name(),
            message: error.to_string(),
        })? {
            // The writer was faster.
            return Ok(false);
        }
        self.publication = frame.publication();
        self.frame = None;
        self.is_at_hand = true;
        Ok(true)
    }

    /// Exchanges the frame at hand for the earlier one with `frame_id`, if that was not used yet and
    /// its slot still holds it; whether it did. What was at hand counts as new again.
    pub(super) fn step_back(&mut self, frame_id: u64) -> Result<bool, InputError> {
        let settled = self.settled;
        self.take_from_history(frame_id, settled)
    }

    /// Gives the frame back, used or not, keeping its number.
    pub(super) fn release(&mut self) {
        self.settled = self.publication.count;
        self.frame = None;
        self.is_at_hand = false;
    }

    fn error(&self, error: &dyn std::error::Error) -> InputError {
        InputError {
            name: self.stream.header().name.clone(),
            message: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use thalweg_os::clock::deadline_after;
    use thalweg_shm::stream::error::WaitError;
    use thalweg_shm::{
        DType, Patience, PublishOptions, StreamDirectory, StreamOptions, WaitPolicy,
    };

    use super::*;

    fn publish(stream: &Stream, element: f32) {
        let elements = [element];
        let frame = ArrayRef::from_slice(&elements, &[1]);
        let options = PublishOptions::default();
        stream.write(frame, options, Patience::ENDLESS).unwrap();
    }

    fn give_up(stream: &Stream) {
        stream.loan(Patience::ENDLESS).unwrap().abort();
    }

    #[test]
    fn a_frame_that_was_given_up_is_no_news_and_the_next_one_is() {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        // Frames are borrowed where there are enough slots, else copied.
        for slots in [4, 2] {
            let options = StreamOptions {
                strict: true,
                slots,
                ..StreamOptions::new(DType::Float32, &[1])
            };
            let directory = StreamDirectory::new(folder.path());
            let name = format!("strict_{slots}");
            let stream = directory.create(&name, &options).unwrap();
            let mut input = Input::new(directory.open(&name).unwrap()).unwrap();
            for round in 1..=3u64 {
                publish(&stream, 2.0 * round as f32);
                give_up(&stream);
                assert!(input.has_news());
                assert_eq!(input.refresh().unwrap(), None);
                assert!(!input.has_news(), "looked at already");
                let waited = input.stream.wait_for_frame(
                    input.looked_at(),
                    WaitPolicy::Park,
                    Patience::until(deadline_after(std::time::Duration::from_millis(5))),
                );
                assert!(
                    matches!(waited, Err(WaitError::TimedOut { .. })),
                    "{waited:?}"
                );
                publish(&stream, 2.0 * round as f32 + 1.0);
                assert!(input.has_news());
                // The one that was given up was missed.
                assert_eq!(input.refresh().unwrap(), Some(1));
                assert_eq!(input.seen(), 2 * round);
                let elements = input.array().to_vec::<f32>().unwrap();
                assert_eq!(elements, [2.0 * round as f32 + 1.0]);
                input.release();
            }
        }
    }
}
