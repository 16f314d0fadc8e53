//! Shared words that anybody may have written, before and between the operations of one process:
//! each operation ends, and whatever it returns lies inside the stream.

use std::cell::Cell;

use arbitrary::{Result, Unstructured};
use thalweg_shm::protocol::control::{Control, NAMESPACES, SlotHeader};
use thalweg_shm::protocol::lock::LockEnvironment;
use thalweg_shm::protocol::publish::{Claim, Record};
use thalweg_shm::protocol::room::RoomEnvironment;
use thalweg_shm::protocol::rows::{Fate, Progress};
use thalweg_shm::protocol::snapshot::Look;
use thalweg_shm::protocol::sync::{AtomicU32, AtomicU64, Ordering};
use thalweg_shm::protocol::words::{
    AttachmentId, Head, Live, LockWord, MAX_SLOTS, MIN_SLOTS, ROWS, RowsDone, Sequence,
    Subscription, Ticket, Who,
};
use thalweg_shm::protocol::{Words, pin::Pin};

/// Fills the words of a stream as `bytes` say, then does to them what `bytes` say.
pub(crate) fn check(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    // An input that ends early ends the case early.
    check_one(&mut input).ok();
}

fn check_one(input: &mut Unstructured<'_>) -> Result<()> {
    let slot_count = if input.ratio(3, 4)? {
        input.int_in_range(MIN_SLOTS..=7)?
    } else {
        input.int_in_range(MIN_SLOTS..=MAX_SLOTS)?
    };
    let (control, slots) = (
        Control::new(),
        (0..slot_count)
            .map(|_| SlotHeader::new())
            .collect::<Vec<_>>(),
    );
    let words = Words {
        control: &control,
        slots: &slots,
        reuses_slots: input.arbitrary()?,
    };
    let mut process = Process {
        words,
        own: None,
        head: words.head(),
        claim: None,
        pins: Vec::new(),
        begun: None,
    };
    for _ in 0..input.int_in_range(0..=20)? {
        overwrite(input, words)?;
    }
    while !input.is_empty() {
        if input.ratio(1, 3)? {
            overwrite(input, words)?;
        } else {
            process.act(input)?;
        }
    }
    Ok(())
}

/// Another process, or none, writes something into one word.
fn overwrite(input: &mut Unstructured<'_>, words: Words<'_>) -> Result<()> {
    let control = words.control;
    let slot = &words.slots[input.choose_index(words.slots.len())?];
    let row = input.choose_index(ROWS)?;
    let small = match input.int_in_range(0..=15)? {
        0 => Some(&control.head.state),
        1 => Some(&control.writer.lock),
        2 => Some(&control.writer.attempts),
        3 => Some(&control.writer.last_holder),
        4 => Some(&control.rows[row].generation),
        5 => Some(&control.space.bell),
        6 => Some(&control.space.waiting),
        7 => Some(&control.row_bell.bell),
        _ => None,
    };
    if let Some(word) = small {
        word.store(plausible(input, words)? as u32, Ordering::Relaxed);
        return Ok(());
    }
    let large: &AtomicU64 = match input.int_in_range(0..=17)? {
        0 | 1 => &control.head.head,
        2 => &control.request.parks,
        3 => &control.writer.woken,
        4 if words.ticket_count() > 0 => control.ticket(input.choose_index(words.ticket_count())?),
        5 => &control.rows[row].who,
        6 => &control.namespaces.inodes[input.choose_index(NAMESPACES)?],
        7 => &slot.frame_id,
        8 => &control.request.lossless,
        9 | 10 => &control.rows[row].subscription,
        11 => &control.rows[row].cursor,
        12 => &control.head.live,
        13 => &slot.rows,
        14 => &control.request.row_parks,
        15 => &control.writer.row_woken,
        _ => &slot.sequence,
    };
    large.store(plausible(input, words)?, Ordering::Relaxed);
    Ok(())
}

/// Any value, but mostly one the protocol might have written into some word.
fn plausible(input: &mut Unstructured<'_>, words: Words<'_>) -> Result<u64> {
    let id = AttachmentId::new(
        input.int_in_range(0..=3)?,
        input.int_in_range(0..=127usize)?,
    );
    let count = match input.int_in_range(0..=3)? {
        0 => input.int_in_range(0..=9)?,
        1 => Sequence::MAX_COUNT - input.int_in_range(0..=2)?,
        2 => (1 << 52) - input.int_in_range(1..=2)?,
        _ => input.arbitrary::<u64>()?,
    };
    let slot = input.int_in_range(0..=127usize)?;
    let near = slot % words.slots.len();
    let tag = Sequence::complete(count, slot as u32).tag();
    Ok(match input.int_in_range(0..=12)? {
        0 => 0,
        1 => 1,
        2 => u64::MAX,
        3 => input.arbitrary()?,
        4 => Head(0).published(slot, count).0,
        5 => Head(0).published(near, count).0,
        6 => Ticket::new(id, slot).0,
        7 => u64::from(LockWord::held(id, slot % 2 == 0).0),
        8 => Subscription::new(id, slot as u8).0,
        9 => Live::new(tag, near).0,
        10 => RowsDone::new(tag, slot).0,
        11 => count,
        _ => Sequence::complete(count, slot as u32).0 | input.int_in_range(0..=1)?,
    })
}

/// One process that keeps to the rules.
struct Process<'a> {
    words: Words<'a>,
    own: Option<AttachmentId>,
    head: Head,
    claim: Option<Claim>,
    pins: Vec<Pin>,
    /// A frame whose rows were looked at some time ago.
    begun: Option<Progress>,
}

impl Process<'_> {
    fn act(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let words = self.words;
        match input.int_in_range(0..=20)? {
            0 => self.look(),
            1 => self.pin(),
            2 => {
                if let Some(pin) = self.pins.pop() {
                    words.unpin(pin.ticket);
                }
            }
            3 => self.begin(input)?,
            4 => self.commit(),
            5 => {
                if let Some(claim) = self.claim.take() {
                    words.abort(claim, input.arbitrary()?);
                }
            }
            6 => words.repair(words.head(), input.arbitrary()?),
            7 => words.event(input.int_in_range(0..=7)?, false, || {}),
            8 => words.announce_park(),
            9 => self.lock(input)?,
            10 => self.reap(input)?,
            11 => self.subscribe(input)?,
            12 => {
                if let Some(own) = self.own {
                    words.advance(own, input.arbitrary()?, || {});
                }
            }
            13 => {
                if let Some(own) = self.own {
                    words.unsubscribe(own, || {});
                }
            }
            14 => self.look_at_rows(),
            16 => self.look_again_at_rows(),
            17 => {
                // Counts that no counting led to wrap around, and wake or do not: both end.
                words.announce_row_park();
                words.ring_rows(input.arbitrary()?, || {});
            }
            18 => {
                if let Some(own) = self.own {
                    words.set_budget(own, input.arbitrary()?, || {});
                }
            }
            19 => self.pin_again(input)?,
            15 => {
                if let Some(claim) = self.claim {
                    words.announce_rows(claim, input.arbitrary::<u16>()?.into(), false, || {});
                }
            }
            _ => {
                let after = input.arbitrary()?;
                for snapshot in words.history(after) {
                    assert!(snapshot.slot < words.slots.len() && snapshot.count > after);
                }
            }
        }
        Ok(())
    }

    fn look(&self) {
        if let Ok(Look::Frame(snapshot)) = self.words.snapshot() {
            assert!(snapshot.slot < self.words.slots.len());
            self.words.record(&snapshot);
            assert!(self.words.is_current(&snapshot), "nobody came by");
        }
    }

    /// As every process does once. A row may be claimed from it by others at any time.
    fn id(&mut self) -> Option<AttachmentId> {
        self.own = self.own.or_else(|| self.words.register(Who::new(0, 7, 7)));
        if let Some(own) = self.own {
            assert!(own.row() < ROWS && AttachmentId::from_bits(own.bits()) == Some(own));
        }
        self.own
    }

    fn pin(&mut self) {
        let Some(own) = self.id() else { return };
        if let Ok(pin) = self.words.pin(own) {
            assert!(pin.slot < self.words.slots.len());
            assert!(pin.ticket < self.words.ticket_count());
            self.pins.push(pin);
        }
    }

    fn subscribe(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let Some(own) = self.id() else { return Ok(()) };
        let budget = input.int_in_range(1..=4)?;
        for _ in 2..budget {
            self.words.reserve(own);
        }
        self.words.subscribe(own, budget, || {});
        assert!(self.words.subscribers().count() <= ROWS);
        let slot = self.words.slot_of(input.arbitrary()?, input.arbitrary()?);
        assert!(slot.is_none_or(|slot| slot < self.words.slots.len()));
        Ok(())
    }

    /// As a forked child pins what its parent has pinned.
    fn pin_again(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let Some(own) = self.id() else { return Ok(()) };
        let slot = input.int_in_range(0..=127usize)?;
        let newest = self.words.head().count();
        let count = newest.wrapping_sub(input.int_in_range(0..=3)?);
        if let Some(pin) = self.words.pin_again(own, slot, count) {
            assert_eq!((pin.slot, pin.count), (slot, count));
            assert!(pin.slot < self.words.slots.len() && pin.ticket < self.words.ticket_count());
            self.pins.push(pin);
        }
        let (taken, most) = (
            self.words.taken_tickets().count(),
            self.words.ticket_count(),
        );
        assert!(self.words.pin_owners().count() <= taken && taken <= most);
        Ok(())
    }

    fn look_at_rows(&mut self) {
        let looks = [self.words.live_rows(), self.words.complete_rows()];
        for progress in looks.into_iter().flatten() {
            assert!(progress.slot < self.words.slots.len());
            let fate = self.words.fate_of(&progress);
            assert_eq!(fate, Fate::There(progress), "nobody came by");
            self.begun = Some(progress);
        }
    }

    /// Whatever has been written since, a writing is found again as itself or not at all.
    fn look_again_at_rows(&self) {
        let Some(begun) = self.begun else { return };
        if let Fate::There(now) = self.words.fate_of(&begun) {
            assert!(now.is_same_writing(&begun) && now.count() == begun.count());
        }
    }

    fn begin(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        self.head = self.words.head();
        let others = Others::new(input)?;
        let Ok(claim) = self.words.begin(self.head, &others) else {
            return Ok(());
        };
        assert!(claim.slot < self.words.slots.len());
        assert_ne!(claim.slot, self.head.slot(), "the newest frame's own slot");
        let is_pinned = (0..self.words.ticket_count()).any(|ticket| {
            let ticket = self.words.control.ticket(ticket).load(Ordering::Relaxed);
            Ticket(ticket).names(claim.slot)
        });
        assert!(!is_pinned, "a slot somebody reads");
        self.words.begin_rows(claim);
        self.claim = Some(claim);
        Ok(())
    }

    fn commit(&mut self) {
        let Some(claim) = self.claim.take() else {
            return;
        };
        let record = Record::default();
        match self
            .words
            .commit(&mut self.head, claim, record, false, || {})
        {
            Ok(()) => {
                assert_eq!(self.words.head(), self.head);
                assert_eq!(self.head.count(), claim.count);
                self.look();
            }
            Err(_) => self.words.abort(claim, false),
        }
    }

    fn lock(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let Some(own) = self.id() else { return Ok(()) };
        let others = Others::new(input)?;
        if self.words.acquire(own, &others).is_ok() {
            let lock = &self.words.control.writer.lock;
            assert_eq!(LockWord(lock.load(Ordering::Relaxed)).owner(), Some(own));
            overwrite(input, self.words)?;
            self.words.release(own, &others);
            assert_ne!(LockWord(lock.load(Ordering::Relaxed)).owner(), Some(own));
        }
        Ok(())
    }

    fn reap(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let attached: Vec<_> = self.words.attached().collect();
        for (row, who) in attached {
            assert!(row < ROWS);
            if input.arbitrary()? {
                self.words.reap(row, who, |_held| {});
                let left = self.words.attached().any(|entry| entry == (row, who));
                assert!(!left, "a reaped row stays taken");
            }
        }
        let id = AttachmentId::from_bits(input.arbitrary()?);
        if let Some(id) = id
            && self.words.who(id).is_some()
        {
            assert!(id.row() < ROWS);
        }
        Ok(())
    }
}

/// The world of lock and room: some live, some do not, and patience ends.
struct Others {
    dead_rows: u128,
    asked: Cell<u32>,
}

impl Others {
    fn new(input: &mut Unstructured<'_>) -> Result<Self> {
        Ok(Self {
            dead_rows: input.arbitrary()?,
            asked: Cell::new(0),
        })
    }
}

impl RoomEnvironment for Others {
    fn sleep(&self, _word: &AtomicU32, _expected: u32, _slice_ns: u64) -> bool {
        true
    }

    fn clear_if_dead(&self, owner: AttachmentId) -> bool {
        LockEnvironment::is_dead(self, owner)
    }

    fn gives_up(&self) -> bool {
        LockEnvironment::gives_up(self)
    }
}

impl LockEnvironment for Others {
    fn sleep(&self, _word: &AtomicU32, _expected: u32, _slice_ns: u64) {}

    fn wake_one(&self, _word: &AtomicU32) -> bool {
        false
    }

    fn is_dead(&self, owner: AttachmentId) -> bool {
        self.dead_rows >> owner.row() & 1 != 0
    }

    fn gives_up(&self) -> bool {
        self.asked.set(self.asked.get() + 1);
        self.asked.get() > 8
    }
}
