//! The attachment table: who uses the stream, and clearing up after the dead.

use std::convert::Infallible;

use super::Words;
use super::sync::Ordering;
use super::words::{AttachmentId, LockWord, Subscription, Ticket, Who, next_generation};

impl Words<'_> {
    /// Takes a row for the process `who`; `None` when all are taken.
    pub fn register(&self, who: Who) -> Option<AttachmentId> {
        let Ok(id) = self.register_witnessed(who, |_row| Ok::<_, Infallible>(true), |_row| {});
        id
    }

    /// As [`Words::register`], with a second witness of life beside `who`, for those to whom a pid
    /// says nothing. `witness` takes that of a row, and says whether it may be had; `dismiss` gives
    /// it back. It is taken before the row is, so that no row ever names a process without it.
    pub fn register_witnessed<E>(
        &self,
        who: Who,
        mut witness: impl FnMut(usize) -> Result<bool, E>,
        mut dismiss: impl FnMut(usize),
    ) -> Result<Option<AttachmentId>, E> {
        for (row, entry) in self.control.rows.iter().enumerate() {
            // Only saves taking witnesses in vain; the exchange decides.
            if entry.who.load(Ordering::Relaxed) != Who::NOBODY.0 || !witness(row)? {
                continue;
            }
            // AcqRel: after the clearing of the row, and so after all its former generations.
            let claimed = entry.who.compare_exchange(
                Who::NOBODY.0,
                who.0,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
            if claimed.is_err() {
                dismiss(row);
                continue;
            }
            // The newcomer opens its generation itself; only the owner of a row writes this word.
            // Were it the reapers, a second one could read the new generation while the row still
            // names the dead, and then clear what the newcomer holds by then.
            let generation = next_generation(entry.generation.load(Ordering::Relaxed));
            // Release: whoever reads the new generation does not find the former owner any more.
            entry.generation.store(generation, Ordering::Release);
            return Ok(Some(AttachmentId::new(generation, row)));
        }
        Ok(None)
    }

    /// Who `id` is; `None` when its row belongs to somebody else by now, or to nobody.
    pub fn who(&self, id: AttachmentId) -> Option<Who> {
        let row = self.control.rows.get(id.row())?;
        let who = Who(row.who.load(Ordering::Acquire));
        let generation = row.generation.load(Ordering::Acquire);
        (generation == id.generation() && who != Who::NOBODY).then_some(who)
    }

    /// Occupied rows.
    pub fn attached(&self) -> impl Iterator<Item = (usize, Who)> + '_ {
        self.control
            .rows
            .iter()
            .enumerate()
            .filter_map(|(row, entry)| {
                let who = Who(entry.who.load(Ordering::Acquire));
                (who != Who::NOBODY).then_some((row, who))
            })
    }

    /// Clears row `row` of the process `dead` and everything it held. Any number of processes may
    /// do this at once, and any of them may die doing it. `take_over` gets the dead holder's lock
    /// word, repairs and releases.
    ///
    /// A process that leaves calls this on itself.
    pub fn reap(&self, row: usize, dead: Who, take_over: impl FnOnce(LockWord)) {
        let entry = &self.control.rows[row];
        let generation = entry.generation.load(Ordering::Acquire);
        // Read the generation before, and re-check the owner after: else a slow reaper would clear
        // what a newcomer in the row holds. While the row names the dead this is their generation.
        if entry.who.load(Ordering::Acquire) != dead.0 {
            return;
        }
        let id = AttachmentId::new(generation, row);
        let lock = LockWord(self.control.writer.lock.load(Ordering::Acquire));
        if lock.owner() == Some(id) {
            take_over(lock);
        }
        let subscription = entry.subscription.load(Ordering::Acquire);
        if Subscription(subscription).owner() == Some(id) {
            // Before the tickets that pay for it: a writer that sees the subscription may count on
            // them. Exact, as below.
            entry
                .subscription
                .compare_exchange(
                    subscription,
                    Subscription::NONE.0,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                )
                .ok();
        }
        for index in 0..self.ticket_count() {
            let word = self.control.ticket(index);
            let ticket = word.load(Ordering::Acquire);
            if Ticket(ticket).owner() == Some(id) {
                // Exact: fails if another reaper was faster. Nothing is lost by failing.
                word.compare_exchange(ticket, Ticket::FREE.0, Ordering::AcqRel, Ordering::Relaxed)
                    .ok();
            }
        }
        // Holdings first, then the row: a reaper that dies in between leaves the row to the next
        // one. Exact, so a slow reaper misses a newcomer; AcqRel, so the newcomer comes after.
        entry
            .who
            .compare_exchange(dead.0, Who::NOBODY.0, Ordering::AcqRel, Ordering::Relaxed)
            .ok();
    }
}
