//! What every model shares: a stream made of loom's words, and how a model is explored.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use thalweg_shm::protocol::Words;
use thalweg_shm::protocol::control::{Control, SlotHeader};

/// What the threads of a model share. They take turns on one thread of the operating system; an
/// `Arc` of loom would abort the test of a mutant, being dropped after its model was given up.
pub(crate) type Shared<T> = std::rc::Rc<T>;

/// The shared words of a stream, without a segment around them.
pub(crate) struct Stream {
    control: Control,
    slots: Vec<SlotHeader>,
    reuses_slots: bool,
}

impl Stream {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            control: Control::new(),
            slots: (0..slots).map(|_| SlotHeader::new()).collect(),
            reuses_slots: false,
        }
    }

    /// The same, with the order of slots that large frames have.
    #[allow(dead_code, reason = "for some of the models")]
    pub(crate) fn reusing(slots: usize) -> Self {
        Self {
            reuses_slots: true,
            ..Self::new(slots)
        }
    }

    pub(crate) fn words(&self) -> Words<'_> {
        Words {
            control: &self.control,
            slots: &self.slots,
            reuses_slots: self.reuses_slots,
        }
    }
}

/// Runs `model` in every schedule in which a thread that could go on is held up at most
/// `preemptions` times; in all schedules for `None`.
#[expect(
    clippy::print_stdout,
    reason = "shown with --nocapture: how much was explored"
)]
pub(crate) fn explore(
    name: &str,
    preemptions: Option<usize>,
    model: impl Fn() + Send + Sync + 'static,
) {
    static SCHEDULES: AtomicUsize = AtomicUsize::new(0);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 10_000;
    let (start, before) = (Instant::now(), SCHEDULES.load(Ordering::Relaxed));
    builder.check(move || {
        SCHEDULES.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let schedules = SCHEDULES.load(Ordering::Relaxed) - before;
    println!("{name}: {schedules} schedules in {:.1?}", start.elapsed());
}
