//! Streams beside the one everybody uses: created, found, used and removed by several at once.

use std::time::Duration;

use thalweg_os::clock::deadline_after;
use thalweg_shm::stream::error::{BorrowError, CreateError, OpenError, ReadError, UnlinkError};
use thalweg_shm::{ArrayRef, DType, Patience, PublishOptions, Stream, StreamOptions, WaitPolicy};

use super::act::{Actor, soon};
use super::board::Tally;
use super::frame::{fill, tag_of};

/// Names of side streams begin with this.
pub(crate) const PREFIX: &str = "side.";
const WORDS: usize = 20;

/// One life, or a part of one, of a side stream.
pub(crate) fn act(actor: &mut Actor) {
    let name = format!("{PREFIX}{}", actor.random.below(3));
    if actor.random.once_in(2) {
        let options = StreamOptions {
            slots: 2 + actor.random.below(3) as usize,
            ..StreamOptions::new(DType::Uint64, &[WORDS])
        };
        match actor.directory.create(&name, &options) {
            Ok(stream) => {
                actor.board.count(Tally::SideStreams);
                use_for_a_while(actor, &stream);
                match stream.unlink() {
                    // Stale: somebody removed it and made another one.
                    Ok(()) | Err(UnlinkError::Stale { .. }) => {}
                    Err(error) => actor.unexpected(&error),
                }
            }
            Err(CreateError::Exists { .. }) => {}
            Err(error) => actor.unexpected(&error),
        }
    } else {
        match actor.directory.open(&name) {
            Ok(stream) => use_for_a_while(actor, &stream),
            Err(OpenError::Missing { .. }) => {}
            Err(error) => actor.unexpected(&error),
        }
        // Also what a killed creator has left, or it would be there for ever.
        if actor.random.once_in(2)
            && let Err(error) = actor.directory.unlink(&name)
        {
            actor.unexpected(&error);
        }
    }
}

fn use_for_a_while(actor: &mut Actor, stream: &Stream) {
    let borrowed = stream.borrow();
    if let Err(error) = &borrowed
        && !matches!(
            error,
            BorrowError::Empty { .. }
                | BorrowError::TooFewSlots { .. }
                | BorrowError::Limit { .. }
                | BorrowError::Inconsistent { .. }
        )
    {
        actor.unexpected(error);
    }
    for _ in 0..actor.random.below(4) {
        let mut words = [0; WORDS];
        fill(&mut words, actor.random.next());
        let frame = ArrayRef::from_slice(&words, &[WORDS]);
        if let Err(error) = stream.write(frame, PublishOptions::default(), soon()) {
            actor.unexpected(&error);
        }
    }
    if actor.random.once_in(2) {
        // Nobody may be left to write: this one ends with the deadline, or with the stream.
        let briefly = Patience::until(deadline_after(Duration::from_micros(500)));
        stream
            .wait_after(stream.count(), WaitPolicy::Park, briefly)
            .ok();
    }
    match stream.read(soon().deadline_ns) {
        Ok((bytes, publication)) => check(actor, &bytes, publication.count),
        Err(ReadError::Inconsistent { .. }) => {}
        Err(error) => actor.unexpected(&error),
    }
}

fn check(actor: &Actor, bytes: &[u8], count: u64) {
    let words: Vec<u64> = bytes
        .chunks_exact(8)
        .map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes")))
        .collect();
    let is_whole = if count == 0 {
        words.iter().all(|&word| word == 0)
    } else {
        tag_of(&words).is_some()
    };
    if !is_whole {
        let what = format!("frame {count} of a side stream");
        actor.board.report(Tally::Torn, &what);
    }
}
