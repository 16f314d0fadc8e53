//! Formats of the shared words: which bits mean what. `docs/segment-format.md` is their contract.

use std::fmt;

/// Rows of the attachment table. Fewer under loom, where every word is an expensive object.
pub const ROWS: usize = if cfg!(loom) { 3 } else { 64 };
/// Most slots a stream can have: a ticket has seven bits for one, and one pattern is reserved.
pub const MAX_SLOTS: usize = 127;
/// Fewest slots a stream can have: the last published one and the one being written.
pub const MIN_SLOTS: usize = 2;

/// The word whose change publishes: `invalid:1 | slot:7 | count:52 | event:4`.
///
/// Its low half is the futex word: 28 bits of the count and the event bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Head(pub u64);

impl Head {
    const EVENT_BITS: u32 = 4;
    const COUNT_BITS: u32 = 52;
    const SLOT_SHIFT: u32 = Self::EVENT_BITS + Self::COUNT_BITS;
    const COUNT_MASK: u64 = (1 << Self::COUNT_BITS) - 1;
    const EVENT_MASK: u64 = (1 << Self::EVENT_BITS) - 1;
    const INVALID: u64 = 1 << 63;

    /// Number of the newest publication; 0 before the first.
    pub fn count(self) -> u64 {
        self.0 >> Self::EVENT_BITS & Self::COUNT_MASK
    }

    /// Slot of the newest publication. Up to 127: check it against the stream's slots.
    pub fn slot(self) -> usize {
        (self.0 >> Self::SLOT_SHIFT) as usize & 0x7f
    }

    /// True in a strict stream after an abort, until the next publication.
    pub fn is_invalid(self) -> bool {
        self.0 & Self::INVALID != 0
    }

    /// The half the kernel compares.
    pub fn futex(self) -> u32 {
        self.0 as u32
    }

    /// The head that publishes frame `count` in `slot`, with this head's event bits.
    #[must_use]
    pub fn published(self, slot: usize, count: u64) -> Self {
        let event = self.0 & Self::EVENT_MASK;
        Self(
            (slot as u64) << Self::SLOT_SHIFT
                | (count & Self::COUNT_MASK) << Self::EVENT_BITS
                | event,
        )
    }

    /// The head after an event: nothing new, but sleepers have to look.
    #[must_use]
    pub fn with_event(self, invalidate: bool) -> Self {
        let event = self.0.wrapping_add(1) & Self::EVENT_MASK;
        let invalid = if invalidate { Self::INVALID } else { 0 };
        Self(self.0 & !Self::EVENT_MASK | event | invalid)
    }

    /// True when both announce the same frame, whatever events came in between.
    pub fn same_frame(self, other: Self) -> bool {
        self.slot() == other.slot() && self.count() == other.count()
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let invalid = if self.is_invalid() { " invalid" } else { "" };
        write!(
            f,
            "Head(slot {} count {}{invalid})",
            self.slot(),
            self.count()
        )
    }
}

/// What a slot holds: `attempt:12 | count:51 | busy:1`; 0 is empty.
///
/// The attempt number tells two writings of the same frame into the same slot apart: after an
/// abort the same count is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence(pub u64);

impl Sequence {
    /// Nothing in the slot.
    pub const EMPTY: Self = Self(0);
    /// Highest frame number a slot can hold.
    pub const MAX_COUNT: u64 = (1 << 51) - 1;
    const COUNT_MASK: u64 = Self::MAX_COUNT;

    /// The slot is being written with frame `count`.
    pub fn busy(count: u64, attempt: u32) -> Self {
        Self(Self::complete(count, attempt).0 | 1)
    }

    /// The slot holds frame `count`.
    pub fn complete(count: u64, attempt: u32) -> Self {
        Self(u64::from(attempt & 0xfff) << 52 | (count & Self::COUNT_MASK) << 1)
    }

    /// True while the slot is written, and after its writer died.
    pub fn is_busy(self) -> bool {
        self.0 & 1 != 0
    }

    /// Number of the frame.
    pub fn count(self) -> u64 {
        self.0 >> 1 & Self::COUNT_MASK
    }

    /// The same writing, whether it is under way or done.
    #[must_use]
    pub fn as_complete(self) -> Self {
        Self(self.0 & !1)
    }

    /// Low bits of attempt and count: what the words of a progressive stream name a writing by.
    pub fn tag(self) -> u64 {
        self.0 >> 52 << 28 | self.count() & ((1 << 28) - 1)
    }

    /// True when the slot holds all of frame `count`.
    pub fn holds(self, count: u64) -> bool {
        !self.is_busy() && self.count() == count && self != Self::EMPTY
    }
}

/// The frame being written in a progressive stream: `tag:40 << 8 | slot+1`; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live(pub u64);

impl Live {
    /// Nothing is being written.
    pub const NONE: Self = Self(0);

    /// The writing with this tag, in `slot`.
    pub fn new(tag: u64, slot: usize) -> Self {
        Self(tag << 8 | (slot as u64 + 1))
    }

    /// Where it is written; `None` for nowhere. Up to 254: check it against the stream's slots.
    pub fn slot(self) -> Option<usize> {
        (self.0 as usize & 0xff).checked_sub(1)
    }

    /// [`Sequence::tag`] of the writing.
    pub fn tag(self) -> u64 {
        self.0 >> 8
    }
}

/// How far the writing of a frame has come: `tag:40 << 24 | rows:24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowsDone(pub u64);

impl RowsDone {
    const ROW_BITS: u32 = 24;
    /// Most rows that can be announced.
    pub const MAX_ROWS: usize = (1 << Self::ROW_BITS) - 1;

    /// The first `rows` rows of the writing with this tag are there.
    pub fn new(tag: u64, rows: usize) -> Self {
        Self(tag << Self::ROW_BITS | rows as u64 & Self::MAX_ROWS as u64)
    }

    /// How many rows.
    pub fn rows(self) -> usize {
        self.0 as usize & Self::MAX_ROWS
    }

    /// [`Sequence::tag`] of the writing.
    pub fn tag(self) -> u64 {
        self.0 >> Self::ROW_BITS
    }
}

/// A process as a stream knows it: `generation:24 | row:7`, never 0.
///
/// Every process that claims a row opens a new generation of it, so whatever an earlier one left
/// behind can be cleared by exact compare-exchange, any number of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttachmentId(u32);

impl AttachmentId {
    const GENERATION_MASK: u32 = (1 << 24) - 1;

    /// The id of `row` in `generation`, whose low 24 bits must not be 0.
    pub fn new(generation: u32, row: usize) -> Self {
        Self((generation & Self::GENERATION_MASK) << 7 | (row as u32 & 0x7f))
    }

    /// The id in these bits, or `None` for 0.
    pub fn from_bits(bits: u32) -> Option<Self> {
        (bits >> 7 != 0 && bits >> 31 == 0).then_some(Self(bits))
    }

    /// The 31 bits.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Row in the attachment table. Up to 127: check it against [`ROWS`].
    pub fn row(self) -> usize {
        self.0 as usize & 0x7f
    }

    /// Generation of the row.
    pub fn generation(self) -> u32 {
        self.0 >> 7
    }
}

/// The generation after `generation`, which is never 0 in its low 24 bits.
pub fn next_generation(generation: u32) -> u32 {
    match generation.wrapping_add(1) & AttachmentId::GENERATION_MASK {
        0 => 1,
        next => next,
    }
}

/// A pin on a slot: `owner:31 << 8 | slot+1`; 0 is free. The slot field 0xff pins none, see
/// [`Ticket::reserved`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(pub u64);

impl Ticket {
    /// Nobody's.
    pub const FREE: Self = Self(0);

    /// In place of a slot: none, but nobody else may pin with this ticket.
    const RESERVED: u64 = 0xff;

    /// `owner` pins `slot`.
    pub fn new(owner: AttachmentId, slot: usize) -> Self {
        Self(u64::from(owner.bits()) << 8 | (slot as u64 + 1))
    }

    /// `owner` keeps the ticket from others, for one frame of a lossless reader's budget.
    pub fn reserved(owner: AttachmentId) -> Self {
        Self(u64::from(owner.bits()) << 8 | Self::RESERVED)
    }

    /// True when the ticket pins nothing and is paid for a lossless reader's budget.
    pub fn is_reserved(self) -> bool {
        self.0 & 0xff == Self::RESERVED
    }

    /// Who pins; `None` for a free ticket (or a corrupt one).
    pub fn owner(self) -> Option<AttachmentId> {
        AttachmentId::from_bits(u32::try_from(self.0 >> 8).ok()?)
    }

    /// True when the ticket pins `slot`.
    pub fn names(self, slot: usize) -> bool {
        self.0 & 0xff == slot as u64 + 1
    }
}

/// What the lossless readers of one process demand: `owner:31 << 8 | budget`; 0 is nothing.
///
/// With the budget b and the cursor c beside it, frame c+b may be begun and c+b+1 may not, and no
/// frame above c is overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription(pub u64);

impl Subscription {
    /// No lossless reader.
    pub const NONE: Self = Self(0);

    /// The readers of `owner` can be `budget` frames behind.
    pub fn new(owner: AttachmentId, budget: u8) -> Self {
        Self(u64::from(owner.bits()) << 8 | u64::from(budget))
    }

    /// Whose readers; `None` for nobody's (or a corrupt word).
    pub fn owner(self) -> Option<AttachmentId> {
        AttachmentId::from_bits(u32::try_from(self.0 >> 8).ok()?)
    }

    /// Frames that may be begun beyond the cursor.
    pub fn budget(self) -> u8 {
        self.0 as u8
    }
}

/// The writer lock: `owner:31 << 1 | waiters`. 0 is free, 1 is free with waiters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockWord(pub u32);

impl LockWord {
    /// Nobody holds it, nobody waits.
    pub const FREE: Self = Self(0);
    /// Nobody holds it, somebody sleeps and has been woken.
    pub const FREE_WITH_WAITERS: Self = Self(1);

    /// Held by `owner`.
    pub fn held(owner: AttachmentId, waiters: bool) -> Self {
        Self(owner.bits() << 1 | u32::from(waiters))
    }

    /// True when nobody holds it.
    pub fn is_free(self) -> bool {
        self.0 >> 1 == 0
    }

    /// Who holds it; `None` when free (or corrupt).
    pub fn owner(self) -> Option<AttachmentId> {
        AttachmentId::from_bits(self.0 >> 1)
    }

    /// True when the holder has to wake somebody.
    pub fn has_waiters(self) -> bool {
        self.0 & 1 != 0
    }

    /// The same with the waiters bit set.
    #[must_use]
    pub fn with_waiters(self) -> Self {
        Self(self.0 | 1)
    }
}

/// Identity of a process in one word: `namespace index:6 | start ticks:36 | pid:22`; 0 is nobody.
///
/// One word, so that a row is claimed by one compare-exchange: there is no moment at which a row
/// is taken but anonymous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who(pub u64);

impl Who {
    /// Nobody.
    pub const NOBODY: Self = Self(0);
    /// Namespace index of a process whose namespace found no room in the table.
    pub const UNKNOWN_NAMESPACE: usize = 0x3f;
    const PID_MASK: u64 = (1 << 22) - 1;
    const TICKS_MASK: u64 = (1 << 36) - 1;

    /// The process `pid`, started at `start_ticks`, in the namespace with this table index.
    pub fn new(namespace_index: usize, start_ticks: u64, pid: u32) -> Self {
        Self(
            (namespace_index as u64 & 0x3f) << 58
                | (start_ticks & Self::TICKS_MASK) << 22
                | u64::from(pid) & Self::PID_MASK,
        )
    }

    /// Index into the segment's namespace table.
    pub fn namespace_index(self) -> usize {
        (self.0 >> 58) as usize
    }

    /// Start time in clock ticks since boot.
    pub fn start_ticks(self) -> u64 {
        self.0 >> 22 & Self::TICKS_MASK
    }

    /// Pid in its namespace.
    pub fn pid(self) -> u32 {
        (self.0 & Self::PID_MASK) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_fields_do_not_mix() {
        let head = Head(0).published(126, Head::COUNT_MASK);
        assert_eq!(
            (head.slot(), head.count(), head.is_invalid()),
            (126, Head::COUNT_MASK, false)
        );
        let bumped = (0..16).fold(head, |head, _| head.with_event(false));
        assert_eq!(
            bumped, head,
            "sixteen events wrap around and touch nothing else"
        );
        let invalid = head.with_event(true);
        assert!(invalid.is_invalid() && invalid.same_frame(head));
        assert!(!invalid.published(1, 7).is_invalid());
    }

    #[test]
    fn sequences_tell_attempts_apart() {
        assert_ne!(Sequence::complete(7, 1), Sequence::complete(7, 2));
        assert!(Sequence::complete(7, 1).holds(7));
        assert!(!Sequence::busy(7, 1).holds(7));
        assert!(!Sequence::EMPTY.holds(0));
    }

    #[test]
    fn tags_name_a_writing_in_every_word() {
        let sequence = Sequence::busy((1 << 51) - 1, 0xfff);
        let tag = sequence.tag();
        assert_eq!(tag, (1 << 40) - 1);
        assert_eq!(sequence.as_complete().tag(), tag);
        assert_ne!(Sequence::busy(7, 1).tag(), Sequence::busy(7, 2).tag());
        assert_ne!(Sequence::busy(7, 1).tag(), Sequence::busy(8, 1).tag());
        let live = Live::new(tag, 126);
        assert_eq!((live.tag(), live.slot()), (tag, Some(126)));
        assert_eq!(Live::NONE.slot(), None);
        let done = RowsDone::new(tag, RowsDone::MAX_ROWS);
        assert_eq!((done.tag(), done.rows()), (tag, RowsDone::MAX_ROWS));
    }

    #[test]
    fn ids_survive_tickets_and_locks() {
        let id = AttachmentId::new(AttachmentId::GENERATION_MASK, 63);
        let ticket = Ticket::new(id, 126);
        assert_eq!(ticket.owner(), Some(id));
        assert!(ticket.names(126) && !ticket.names(125) && !ticket.is_reserved());
        let reserved = Ticket::reserved(id);
        assert_eq!(reserved.owner(), Some(id));
        assert!(reserved.is_reserved() && !(0..MAX_SLOTS).any(|slot| reserved.names(slot)));
        let subscription = Subscription::new(id, 127);
        assert_eq!(subscription.owner(), Some(id));
        assert_eq!(subscription.budget(), 127);
        let word = LockWord::held(id, true);
        assert_eq!(word.owner(), Some(id));
        assert!(word.has_waiters() && !word.is_free());
        assert!(LockWord::FREE_WITH_WAITERS.is_free());
        assert_eq!(LockWord::FREE_WITH_WAITERS.owner(), None);
        assert_eq!(next_generation(AttachmentId::GENERATION_MASK), 1);
    }

    #[test]
    fn identities_fit_one_word() {
        let who = Who::new(5, Who::TICKS_MASK, 4_194_303);
        assert_eq!(
            (who.namespace_index(), who.start_ticks(), who.pid()),
            (5, Who::TICKS_MASK, 4_194_303)
        );
    }
}
