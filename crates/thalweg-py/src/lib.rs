//! The native module of the thalweg Python package.
//!
//! `thalweg._native` is private: the public, typed package in `python/thalweg` wraps it. The split:
//! Python converts arguments and documents; everything that touches shared memory, waits or has a
//! lifetime is here. [`mod@buffer`] is the only module with unsafe code.
//!
//! Classes are frozen, with atomics and mutexes inside, and never rely on the interpreter's lock;
//! no mutex is held while Python code may run. Waits, large copies and file operations run detached
//! from the interpreter.

mod buffer;
mod configuration;
mod directory;
mod endpoint;
mod error;
mod interrupt;
mod kernels;
mod node;
mod numpy;
mod observed;
mod pipeline;
mod stream;
mod time;
mod worker;

use pyo3::prelude::*;

/// The native part of thalweg; use the package `thalweg` instead.
#[pymodule(name = "_native")]
mod native {
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_export]
    use crate::buffer::frame::Frame;
    #[pymodule_export]
    use crate::buffer::write_scope::WriteScope;
    #[pymodule_export]
    use crate::configuration::{ConfigHandle, json_to_yaml, normalize_entry, yaml_to_json};
    #[pymodule_export]
    use crate::directory::{create, list_streams, open, purge, stat, unlink};
    #[pymodule_export]
    use crate::endpoint::EndpointHandle;
    #[pymodule_export]
    use crate::error::{
        ConfigValidationError, InconsistentStreamError, ShmPipelineError, StaleStreamError,
        StateTransitionError, WorkerProcessError,
    };
    #[pymodule_export]
    use crate::kernels::{kernel_kinds, run_kernel};
    #[pymodule_export]
    use crate::node::synthetic_input::SyntheticInput;
    #[pymodule_export]
    use crate::node::{KernelNode, SinkNode, SourceNode, check_node, node_kinds};
    #[pymodule_export]
    use crate::observed::observe;
    #[pymodule_export]
    use crate::pipeline::PipelineHandle;
    #[pymodule_export]
    use crate::stream::{
        LockScope, LockedMany, LosslessReader, Pending, PendingOpen, PendingRows, ReadFacts,
        RowProgress, StreamHandle, any_pending, wait_any,
    };
    #[pymodule_export]
    use crate::time::check_duration;
    #[pymodule_export]
    use crate::worker::{WorkerControl, report_failure, run_worker};
}
