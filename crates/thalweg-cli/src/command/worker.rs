//! `thalweg worker`: the process of one node.

use std::process::ExitCode;

use thalweg::pipeline::runtime::worker_main;

pub(crate) fn worker() -> ExitCode {
    ExitCode::from(worker_main(&thalweg::registry()))
}
