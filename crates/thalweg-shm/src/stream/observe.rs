//! Looking at a stream from outside: who holds what, and what is in the slots.
//!
//! An observer maps the file for reading only. It registers nowhere, clears nothing away and copies
//! no payload: what it reports is what is there, the dead included, and nobody notices it.

use std::path::Path;
use std::sync::Arc;

use thalweg_os::clock::monotonic_ns;
use thalweg_os::file::{self, Access};
use thalweg_os::process::Liveness;

use super::attachment::{Attachment, stale_state};
use super::directory::StreamDirectory;
use super::error::{OpenError, StaleReason};
use super::publication::Publication;
use crate::protocol::publish::Record;
use crate::protocol::sync::{Ordering, fence};
use crate::protocol::words::{AttachmentId, LockWord, Sequence};
use crate::segment::header::Header;
use crate::segment::name::file_name;

/// A stream somebody looks at without taking part in it.
#[derive(Debug)]
pub struct StreamObserver {
    attachment: Arc<Attachment>,
}

/// A process as a stream's words name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObservedProcess {
    /// Pid in its own pid namespace; `None` once its row was cleared or given to another process,
    /// which says that it has ended or left.
    pub pid: Option<u32>,
    /// Whether it runs.
    pub liveness: Liveness,
}

/// A frame somebody has borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObservedPin {
    /// The slot.
    pub slot: usize,
    /// Who holds it.
    pub holder: ObservedProcess,
}

/// The lossless readers of one process: the writer waits for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObservedSubscriber {
    /// Whose readers.
    pub process: ObservedProcess,
    /// Frames they are behind the newest.
    pub lag: u64,
    /// As many as they may be behind before the writer waits.
    pub budget: usize,
}

/// What lies in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObservedSlot {
    /// Nothing.
    Empty,
    /// Frame `count` is being written, or was when its writer died.
    Writing {
        /// Number of the frame.
        count: u64,
    },
    /// A whole frame.
    Frame(Publication),
}

/// Rows of a frame that is not published yet, in a progressive stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObservedRows {
    /// Number the frame has once it is published.
    pub count: u64,
    /// Rows that can be read already.
    pub rows: usize,
    /// Rows of a whole frame.
    pub of_rows: usize,
}

/// A stream as of one look. Its parts are read one after the other, while everybody goes on.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Monotonic time of the look in ns.
    pub observed_ns: u64,
    /// The newest frame; count 0 if there is none.
    pub newest: Publication,
    /// The slots, by index.
    pub slots: Vec<ObservedSlot>,
    /// The frame that is being written, or was when its writer died, if its rows can be read.
    pub unfinished: Option<ObservedRows>,
    /// Processes that have a row: they have written, locked or borrowed. Those that only copy
    /// need none.
    pub attached: Vec<ObservedProcess>,
    /// Borrowed frames.
    pub pins: Vec<ObservedPin>,
    /// Frames that can be borrowed at once.
    pub pin_limit: usize,
    /// Of these, how many stand for the budgets of lossless readers instead.
    pub reserved_pins: usize,
    /// Processes with lossless readers.
    pub lossless: Vec<ObservedSubscriber>,
    /// True while the writer waits for one of them (or died doing so).
    pub writer_waits_for_room: bool,
    /// Who holds the writer lock.
    pub lock_holder: Option<ObservedProcess>,
    /// True if somebody waits for the writer lock, or did a moment ago.
    pub lock_is_contended: bool,
    /// Who held the writer lock last; `None` before the first time.
    pub last_writer: Option<ObservedProcess>,
    /// Whether the creating process runs.
    pub creator: Liveness,
    /// Frames that were begun and given up since creation.
    pub abandoned_frames: u32,
    /// True while safe reads are refused: the newest frame of a strict stream, or the first of any,
    /// was given up.
    pub is_inconsistent: bool,
    /// How many times anybody went to sleep waiting for a frame.
    pub sleeps: u64,
    /// Why nothing new will come, if so.
    pub stale: Option<StaleReason>,
}

impl StreamDirectory {
    /// Looks at the stream `name` without taking part in it.
    pub fn observe(&self, name: &str) -> Result<StreamObserver, OpenError> {
        let path = self.path().join(file_name(name)?);
        let attachment = open(&path, name)?;
        Ok(StreamObserver { attachment })
    }
}

fn open(path: &Path, name: &str) -> Result<Arc<Attachment>, OpenError> {
    let file = file::open(path, Access::ReadOnly)
        .map_err(|error| OpenError::of_system(error, name, path))?;
    let attachment = Attachment::of_file(file, path, Access::ReadOnly)
        .map_err(|error| error.into_open_error(name, path))?;
    attachment.check_name(name)?;
    Ok(attachment)
}

impl StreamObserver {
    /// Name, layout, creator and flags: fixed at creation.
    pub fn header(&self) -> &Header {
        &self.attachment.header
    }

    /// The file the stream lies in.
    pub fn path(&self) -> &Path {
        &self.attachment.path
    }

    /// Count, ids and times of the newest frame; count 0 if there is none.
    pub fn newest(&self) -> Publication {
        self.attachment.newest()
    }

    /// Why nothing new will come, if the name leads elsewhere by now or the writer ended it.
    pub fn stale_reason(&self) -> Option<StaleReason> {
        self.attachment.stale_reason()
    }

    /// Everything there is to see. Asks the system about every process that is named, some
    /// microseconds each.
    pub fn look(&self) -> Observation {
        let words = self.attachment.words();
        let lock = LockWord(words.control.writer.lock.load(Ordering::Relaxed));
        let last_writer =
            AttachmentId::from_bits(words.control.writer.last_holder.load(Ordering::Relaxed));
        let attached = words
            .attached()
            .map(|(row, who)| ObservedProcess {
                pid: Some(who.pid()),
                liveness: self.attachment.liveness(row, who),
            })
            .collect();
        let newest = self.newest();
        let head = words.head();
        Observation {
            observed_ns: monotonic_ns(),
            newest,
            slots: self.slots(),
            unfinished: self.unfinished(),
            attached,
            pins: self.pins(),
            pin_limit: words.ticket_count(),
            reserved_pins: words
                .taken_tickets()
                .filter(|ticket| ticket.is_reserved())
                .count(),
            lossless: words
                .subscribers()
                .map(|subscriber| ObservedSubscriber {
                    process: self.process(subscriber.owner),
                    lag: head.count().saturating_sub(subscriber.cursor),
                    budget: subscriber.budget.into(),
                })
                .collect(),
            writer_waits_for_room: words.control.space.waiting.load(Ordering::Relaxed) != 0,
            lock_holder: lock.owner().map(|owner| self.process(owner)),
            lock_is_contended: lock.has_waiters(),
            last_writer: last_writer.map(|writer| self.process(writer)),
            creator: self.header().creator_liveness(),
            abandoned_frames: words.control.writer.attempts.load(Ordering::Relaxed),
            is_inconsistent: self.attachment.check_consistent(head).is_err(),
            sleeps: words.control.request.parks.load(Ordering::Relaxed),
            stale: stale_state(words.state()).or_else(|| self.attachment.stale_reason()),
        }
    }

    fn unfinished(&self) -> Option<ObservedRows> {
        if !self.attachment.is_progressive() {
            return None;
        }
        let of_rows = self.header().geometry.shape[0];
        let live = self.attachment.words().live_rows()?;
        (!live.is_complete).then(|| ObservedRows {
            count: live.count(),
            rows: live.announced.min(of_rows),
            of_rows,
        })
    }

    fn process(&self, id: AttachmentId) -> ObservedProcess {
        match self.attachment.words().who(id) {
            Some(who) => ObservedProcess {
                pid: Some(who.pid()),
                liveness: self.attachment.liveness(id.row(), who),
            },
            None => ObservedProcess {
                pid: None,
                liveness: Liveness::Dead,
            },
        }
    }

    fn pins(&self) -> Vec<ObservedPin> {
        let words = self.attachment.words();
        words
            .taken_tickets()
            .filter_map(|ticket| {
                let slot = (0..words.slots.len()).find(|&slot| ticket.names(slot))?;
                Some(ObservedPin {
                    slot,
                    holder: self.process(ticket.owner()?),
                })
            })
            .collect()
    }

    fn slots(&self) -> Vec<ObservedSlot> {
        let words = self.attachment.words();
        let look = |index: usize| {
            let slot = &words.slots[index];
            let sequence = Sequence(slot.sequence.load(Ordering::Acquire));
            let count = sequence.count();
            if sequence == Sequence::EMPTY {
                return ObservedSlot::Empty;
            }
            if sequence.is_busy() {
                return ObservedSlot::Writing { count };
            }
            let record = Record {
                frame_id: slot.frame_id.load(Ordering::Relaxed),
                wall_ns: slot.wall_ns.load(Ordering::Relaxed),
                publish_ns: slot.publish_ns.load(Ordering::Relaxed),
                origin_ns: slot.origin_ns.load(Ordering::Relaxed),
            };
            // As in `is_current`: the record was read before the second look at the sequence.
            fence(Ordering::Acquire);
            let later = Sequence(slot.sequence.load(Ordering::Relaxed));
            if later == sequence {
                ObservedSlot::Frame(Publication::new(count, record))
            } else {
                // Taken meanwhile: by now it holds, or is to hold, a newer one.
                ObservedSlot::Writing {
                    count: later.count(),
                }
            }
        };
        (0..words.slots.len()).map(look).collect()
    }
}

impl Observation {
    /// The whole frames in the slots, oldest first.
    pub fn held(&self) -> Vec<Publication> {
        let mut held: Vec<Publication> = self
            .slots
            .iter()
            .filter_map(|slot| match slot {
                ObservedSlot::Frame(publication) => Some(*publication),
                _ => None,
            })
            .collect();
        held.sort_by_key(|publication| publication.count);
        held
    }

    /// The lossless readers the writer has to wait for before it can begin another frame.
    pub fn holding_up(&self) -> impl Iterator<Item = &ObservedSubscriber> {
        self.lossless
            .iter()
            .filter(|subscriber| subscriber.lag >= subscriber.budget as u64)
    }

    /// Time since the newest publication in ns; `None` before the first.
    pub fn age_ns(&self) -> Option<u64> {
        let age_ns = self.observed_ns.saturating_sub(self.newest.publish_ns);
        (self.newest.count > 0).then_some(age_ns)
    }

    /// From the origin of the newest frame's data to its publication in ns; `None` before the
    /// first.
    pub fn latency_ns(&self) -> Option<u64> {
        let newest = &self.newest;
        let latency_ns = newest.publish_ns.saturating_sub(newest.origin_ns);
        (newest.count > 0).then_some(latency_ns)
    }
}
