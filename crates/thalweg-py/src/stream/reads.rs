//! What a handle knows about the frames it returned.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;
use thalweg::Publication;

use crate::time::seconds_of;

/// Counts of one handle. Threads that read through one handle at once share them.
#[derive(Debug)]
pub(super) struct Reads {
    last_count: AtomicU64,
    missed: AtomicU64,
    total_missed: AtomicU64,
}

impl Reads {
    /// Nothing read yet of a stream that has `count` frames: those are not missed.
    pub(super) fn from_count(count: u64) -> Self {
        Self {
            last_count: AtomicU64::new(count),
            missed: AtomicU64::new(0),
            total_missed: AtomicU64::new(0),
        }
    }

    /// One more successful read.
    pub(super) fn note(&self, publication: Publication) -> ReadFacts {
        let previous = self
            .last_count
            .fetch_max(publication.count, Ordering::Relaxed);
        let missed = publication.count.saturating_sub(previous + 1);
        self.missed.store(missed, Ordering::Relaxed);
        if missed != 0 {
            self.total_missed.fetch_add(missed, Ordering::Relaxed);
        }
        ReadFacts {
            publication,
            missed,
        }
    }

    /// Every frame so far counts as returned.
    pub(super) fn rebase(&self, count: u64) {
        self.last_count.store(count, Ordering::Relaxed);
    }

    /// Count of the newest frame returned, or found when the handle was made or rebased.
    pub(super) fn last_count(&self) -> u64 {
        self.last_count.load(Ordering::Relaxed)
    }

    /// Frames between the last two reads that no read returned.
    pub(super) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// The sum of [`Reads::missed`] over all reads.
    pub(super) fn total_missed(&self) -> u64 {
        self.total_missed.load(Ordering::Relaxed)
    }
}

/// What one read returned beside the payload, all of one frame.
#[pyclass(frozen, name = "ReadFacts")]
pub(crate) struct ReadFacts {
    publication: Publication,
    missed: u64,
}

impl ReadFacts {
    /// Facts about a frame that no handle counts as read.
    pub(super) fn uncounted(publication: Publication) -> Self {
        Self {
            publication,
            missed: 0,
        }
    }
}

#[pymethods]
impl ReadFacts {
    /// Number of the frame, from 1; 0 before the first.
    #[getter]
    fn count(&self) -> u64 {
        self.publication.count
    }

    /// Id its writer stamped; 0 when nobody did.
    #[getter]
    fn frame_id(&self) -> u64 {
        self.publication.frame_id
    }

    /// When it was published: seconds since 1970.
    #[getter]
    fn write_time(&self) -> f64 {
        seconds_of(self.publication.wall_ns)
    }

    /// When it was published: monotonic ns.
    #[getter]
    fn publish_ns(&self) -> u64 {
        self.publication.publish_ns
    }

    /// When its data entered the system: monotonic ns.
    #[getter]
    fn origin_ns(&self) -> u64 {
        self.publication.origin_ns
    }

    /// Frames between this read of the handle and the one before that no read returned.
    #[getter]
    fn missed(&self) -> u64 {
        self.missed
    }
}
