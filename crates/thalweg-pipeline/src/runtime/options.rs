//! How a pipeline is run: what its configuration leaves to the program.

use std::collections::BTreeMap;
use std::time::Duration;

use thalweg_shm::StreamDirectory;

use super::plugin_output::PluginOutput;
use super::supervisor::WorkerProgram;

/// How a pipeline is run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The program workers run.
    pub worker_program: WorkerProgram,
    /// Folder of the streams.
    pub directory: StreamDirectory,
    /// How long workers may take to become ready.
    pub start_timeout: Duration,
    /// Nodes that run elsewhere than in a worker with a built-in kind, by name.
    pub hosts: BTreeMap<String, NodeHost>,
    /// The CPU of each kernel that asks for none, by name, instead of what the configuration's
    /// `placement` says; `None` and missing names leave it to the system.
    pub cpu_slots: Option<BTreeMap<String, Option<usize>>>,
    /// Where lines go that nodes of other programs print.
    pub plugin_output: PluginOutput,
}

impl RunOptions {
    /// Workers run `worker_program`; streams live in the default folder; ten seconds to start.
    pub fn new(worker_program: WorkerProgram) -> Self {
        Self {
            worker_program,
            directory: StreamDirectory::default(),
            start_timeout: Duration::from_secs(10),
            hosts: BTreeMap::new(),
            cpu_slots: None,
            plugin_output: PluginOutput::default(),
        }
    }
}

/// Who runs a node whose kind is not one of the registry's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeHost {
    /// A process of another program, which knows the kind.
    Program {
        /// The program.
        program: WorkerProgram,
        /// What it needs to know to build the node; reaches it untouched.
        plugin: serde_json::Value,
    },
    /// The owner of the pipeline, in its own process, through [`super::Pipeline::endpoint`].
    Caller,
}
