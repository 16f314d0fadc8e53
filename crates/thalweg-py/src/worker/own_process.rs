//! Whether code of a node comes back in the process it was called in.

use pyo3::prelude::*;
use thalweg_os::{fork, process};

/// The process of a node. A child that the node's code forks may come back from it as well; the run
/// is its parent's.
#[derive(Clone, Copy)]
pub(super) struct OwnProcess {
    fork_generation: u64,
}

impl OwnProcess {
    /// The calling process.
    pub(super) fn current() -> Self {
        Self {
            fork_generation: fork::generation(),
        }
    }

    /// After every call of the node's code: ends a forked child.
    pub(super) fn stay(self, py: Python<'_>) {
        if fork::generation() != self.fork_generation {
            leave_child(py);
        }
    }
}

fn leave_child(py: Python<'_>) -> ! {
    let text = "a forked child of this node returned to the pipeline; it ends here\n";
    let told = py.import("sys").and_then(|sys| {
        let stderr = sys.getattr("stderr")?;
        stderr.call_method1("write", (text,))?;
        stderr.call_method0("flush")
    });
    drop(told);
    process::end_at_once(1)
}
