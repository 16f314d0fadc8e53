//! What every model shares: a stream made of loom's words, and how a model is explored.
#![expect(
    unreachable_pub,
    missing_debug_implementations,
    reason = "a module of test binaries: nobody outside can reach it"
)]

use std::sync::atomic::{AtomicUsize, Ordering};

use thalweg_shm::protocol::Words;
use thalweg_shm::protocol::control::{Control, SlotHeader};

/// The shared words of a stream, without a segment around them.
pub struct Stream {
    pub control: Control,
    pub slots: Vec<SlotHeader>,
}

impl Stream {
    pub fn new(slots: usize) -> Self {
        Self {
            control: Control::new(),
            slots: (0..slots).map(|_| SlotHeader::new()).collect(),
        }
    }

    pub fn words(&self) -> Words<'_> {
        Words {
            control: &self.control,
            slots: &self.slots,
        }
    }
}

/// Runs `model` in every schedule loom can think of, with at most `preemptions` of them taken
/// away from a thread that could go on; all schedules for `None`.
pub fn explore(name: &str, preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    static SCHEDULES: AtomicUsize = AtomicUsize::new(0);
    let start = std::time::Instant::now();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 10_000;
    let before = SCHEDULES.load(Ordering::Relaxed);
    builder.check(move || {
        SCHEDULES.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let schedules = SCHEDULES.load(Ordering::Relaxed) - before;
    println!("{name}: {schedules} schedules in {:?}", start.elapsed());
}
