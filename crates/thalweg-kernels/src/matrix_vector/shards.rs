//! Rows split over threads.

use std::ops::Range;

use super::walk::GROUP_ROWS;
use super::workers::Workers;
use crate::node::NodeError;

/// The rows of a transform, split over threads.
#[derive(Debug)]
pub(super) struct Shards {
    threads: usize,
    /// Each thread's rows come in so many pieces, for others to help with.
    pieces_per_thread: usize,
    rows: usize,
    /// Started with the first frame: building a kernel has no side effects.
    workers: Option<Workers>,
}

impl Shards {
    /// A share below this size is done before another thread would have begun.
    const MINIMUM_BYTES: usize = 64 << 10;
    /// Enough for a thread that is late to hold up the others by little.
    const MOST_PIECES: usize = 8;

    /// At most `threads` shares of a matrix with `rows` rows and `matrix_bytes` bytes.
    pub(super) fn new(threads: usize, rows: usize, matrix_bytes: usize) -> Self {
        let groups = rows.div_ceil(GROUP_ROWS);
        let most = (matrix_bytes / Self::MINIMUM_BYTES).min(groups);
        let threads = threads.min(most).max(1);
        Self {
            threads,
            pieces_per_thread: (groups / threads).clamp(1, Self::MOST_PIECES),
            rows,
            workers: None,
        }
    }

    /// The rows of piece `index`: whole groups, spread evenly.
    fn range(&self, index: usize) -> Range<usize> {
        let groups = self.rows.div_ceil(GROUP_ROWS);
        let pieces = self.threads * self.pieces_per_thread;
        let start = |index: usize| (groups * index / pieces * GROUP_ROWS).min(self.rows);
        start(index)..start(index + 1)
    }

    /// Calls `work` with all rows, piece by piece, on all threads.
    pub(super) fn run(&mut self, work: &(dyn Fn(Range<usize>) + Sync)) -> Result<(), NodeError> {
        if self.threads == 1 {
            work(0..self.rows);
            return Ok(());
        }
        let mut workers = match self.workers.take() {
            Some(workers) => workers,
            None => Workers::start(self.threads - 1).map_err(|error| {
                NodeError::Failed(format!(
                    "cannot start {} threads for 'blas_threads': {error}",
                    self.threads - 1
                ))
            })?,
        };
        workers.run(self.pieces_per_thread, &|piece| work(self.range(piece)));
        self.workers = Some(workers);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_every_row_once_in_whole_groups() {
        for rows in [1, 11, 12, 13, 100, 1024, 10_000] {
            for threads in [1, 2, 3, 7, 64] {
                let shards = Shards::new(threads, rows, 1 << 30);
                assert!(shards.threads <= threads && shards.threads <= rows.div_ceil(GROUP_ROWS));
                let mut next = 0;
                for index in 0..shards.threads * shards.pieces_per_thread {
                    let range = shards.range(index);
                    assert_eq!(range.start, next);
                    assert_eq!(range.start % GROUP_ROWS, 0);
                    assert!(!range.is_empty(), "{rows} rows, {threads} threads");
                    next = range.end;
                }
                assert_eq!(next, rows);
            }
        }
    }

    #[test]
    fn small_matrices_stay_on_one_thread() {
        assert_eq!(Shards::new(8, 100, 100 << 10).threads, 1);
        assert_eq!(Shards::new(8, 100, 200 << 10).threads, 3);
    }
}
