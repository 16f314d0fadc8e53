//! The run of a pipeline.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use thalweg::pipeline::config;
use thalweg::pipeline::runtime::{
    self, NodeHost, PipelineError, PipelineState, RunOptions, WorkerProgram,
};
use thalweg_os::fork;

use crate::configuration::ConfigHandle;
use crate::endpoint::{self, EndpointHandle};
use crate::error;
use crate::stream::{Newness, Role, StreamHandle};
use crate::time::duration_of;

/// A pipeline from build to shutdown.
#[pyclass(frozen, name = "Pipeline")]
pub(crate) struct PipelineHandle {
    config: config::PipelineConfig,
    options: RunOptions,
    /// `None` before the first build. Locked only while detached from the interpreter, because
    /// starting and stopping take their time under this lock.
    pipeline: Mutex<Option<runtime::Pipeline>>,
    /// A forked child has a copy of this object, but the run is its parent's.
    fork_generation: u64,
}

#[pymethods]
impl PipelineHandle {
    /// A pipeline whose workers run `worker_program`; nothing is made yet. `hosts` names the nodes
    /// that run elsewhere: in a program with arguments and a JSON document about the plugin, or in
    /// this process. `cpu_slots` names CPUs for kernels that ask for none, instead of the
    /// configuration.
    #[new]
    fn new(
        config: &ConfigHandle,
        worker_program: PathBuf,
        worker_start_timeout_s: f64,
        hosts: Vec<(String, Option<HostProgram>)>,
        cpu_slots: Option<BTreeMap<String, Option<usize>>>,
    ) -> PyResult<Self> {
        let start_timeout = duration_of("worker_start_timeout", worker_start_timeout_s)?;
        Ok(Self {
            config: config.0.clone(),
            options: RunOptions {
                start_timeout,
                hosts: hosts_of(hosts)?,
                cpu_slots,
                ..RunOptions::new(WorkerProgram::new(worker_program))
            },
            pipeline: Mutex::new(None),
            fork_generation: fork::generation(),
        })
    }

    /// Check the configuration and make the streams; a handle for each, by its name.
    fn build(&self, py: Python<'_>) -> PyResult<Vec<(String, StreamHandle)>> {
        self.check_process()?;
        let built = py.detach(|| {
            let mut slot = self.lock();
            let pipeline = match slot.as_mut() {
                Some(pipeline) => pipeline,
                None => slot.insert(runtime::Pipeline::new(
                    self.config.clone(),
                    &thalweg::registry(),
                    self.options.clone(),
                )?),
            };
            pipeline.build()?;
            Ok(handles(pipeline, &[]))
        });
        built.map_err(error::of_pipeline)
    }

    /// Where the node `name`, which runs in this process, counts what it does.
    fn endpoint(&self, py: Python<'_>, name: &str) -> PyResult<EndpointHandle> {
        self.check_process()?;
        let found = py.detach(|| self.lock().as_ref()?.endpoint(name));
        found
            .map(EndpointHandle)
            .ok_or_else(|| endpoint::unknown(name))
    }

    /// Have everybody wait after the frame they are at.
    fn pause(&self, py: Python<'_>) -> PyResult<()> {
        self.with_pipeline(py, "pause", "RUNNING", runtime::Pipeline::pause)
    }

    /// Have everybody go on.
    fn resume(&self, py: Python<'_>) -> PyResult<()> {
        self.with_pipeline(py, "resume", "PAUSED", runtime::Pipeline::resume)
    }

    /// Start those again that failed or ended; they have `timeout_s` to become ready, or as long as
    /// at the start.
    fn restart(&self, py: Python<'_>, timeout_s: Option<f64>) -> PyResult<()> {
        let timeout = call_timeout(timeout_s)?;
        self.with_pipeline(py, "restart", "RUNNING, PAUSED or FAILED", |pipeline| {
            pipeline.with_start_timeout(timeout, runtime::Pipeline::restart)
        })
    }

    /// Make the running pipeline that of `config`, all or nothing; a handle for each stream that is
    /// not in `known`. What is new has `timeout_s` to become ready, or as long as at the start.
    fn change(
        &self,
        py: Python<'_>,
        config: &ConfigHandle,
        hosts: Vec<(String, Option<HostProgram>)>,
        known: Vec<String>,
        timeout_s: Option<f64>,
    ) -> PyResult<Vec<(String, StreamHandle)>> {
        let hosts = hosts_of(hosts)?;
        let timeout = call_timeout(timeout_s)?;
        self.with_pipeline(py, "change", "RUNNING or PAUSED", |pipeline| {
            pipeline
                .with_start_timeout(timeout, |pipeline| pipeline.change(config.0.clone(), hosts))?;
            Ok(handles(pipeline, &known))
        })
    }

    /// What happened after event `sequence` of this run, as a JSON document.
    fn events_after(&self, py: Python<'_>, sequence: u64) -> PyResult<String> {
        self.check_process()?;
        let events = py.detach(|| {
            let pipeline = self.lock();
            let events = pipeline.as_ref().map(|it| it.events_after(sequence));
            serde_json::to_string(&events.unwrap_or_default())
        });
        events.map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }

    /// Start the workers and wait until they are ready.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        self.with_pipeline(py, "start", "BUILT", runtime::Pipeline::start)
    }

    /// End the workers; those that take longer than `timeout_s` are killed.
    fn stop(&self, py: Python<'_>, timeout_s: f64) -> PyResult<()> {
        let timeout = duration_of("timeout", timeout_s)?;
        self.with_pipeline(py, "stop", "RUNNING, PAUSED or FAILED", |pipeline| {
            pipeline.stop(timeout)
        })
    }

    /// End the workers, remove the streams. Does nothing in a forked child.
    fn shutdown(&self, py: Python<'_>, unlink: bool, unlink_external: bool) {
        if self.check_process().is_ok() {
            py.detach(|| {
                if let Some(pipeline) = self.lock().as_mut() {
                    pipeline.shutdown(unlink, unlink_external);
                }
            });
        }
    }

    /// Word for the state.
    fn state(&self, py: Python<'_>) -> PyResult<&'static str> {
        self.check_process()?;
        Ok(py.detach(|| {
            let mut slot = self.lock();
            let state = slot.as_mut().map(runtime::Pipeline::state);
            state.unwrap_or(PipelineState::Initialized).name()
        }))
    }

    /// How everything is doing, as a JSON document; `None` before the first build.
    fn status(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.check_process()?;
        let status = py.detach(|| self.lock().as_mut().map(runtime::Pipeline::status));
        status
            .map(|status| serde_json::to_string(&status))
            .transpose()
            .map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }
}

impl PipelineHandle {
    fn lock(&self) -> MutexGuard<'_, Option<runtime::Pipeline>> {
        self.pipeline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_process(&self) -> PyResult<()> {
        if self.fork_generation == fork::generation() {
            return Ok(());
        }
        Err(PyRuntimeError::new_err(
            "this pipeline belongs to the process that made it, not to its forked children; open \
             its streams by name with thalweg.open() instead",
        ))
    }

    fn with_pipeline<T: Send>(
        &self,
        py: Python<'_>,
        action: &'static str,
        expected: &'static str,
        act: impl FnOnce(&mut runtime::Pipeline) -> Result<T, PipelineError> + Send,
    ) -> PyResult<T> {
        self.check_process()?;
        py.detach(|| match self.lock().as_mut() {
            Some(pipeline) => act(pipeline),
            None => Err(PipelineError::State {
                action,
                expected,
                found: PipelineState::Initialized.name(),
            }),
        })
        .map_err(error::of_pipeline)
    }
}

impl Drop for PipelineHandle {
    fn drop(&mut self) {
        if self.check_process().is_err() {
            // The copy of a forked child must not end its parent's run.
            let slot = self.pipeline.get_mut();
            let pipeline = slot.unwrap_or_else(PoisonError::into_inner).take();
            let _never_dropped = std::mem::ManuallyDrop::new(pipeline);
        }
    }
}

fn call_timeout(timeout_s: Option<f64>) -> PyResult<Option<Duration>> {
    timeout_s
        .map(|timeout_s| duration_of("timeout", timeout_s))
        .transpose()
}

/// A program, its arguments, and a JSON document it gets with its order.
type HostProgram = (PathBuf, Vec<String>, String);

fn hosts_of(hosts: Vec<(String, Option<HostProgram>)>) -> PyResult<BTreeMap<String, NodeHost>> {
    let hosts = hosts.into_iter();
    hosts
        .map(|(name, host)| Ok((name, host_of(host)?)))
        .collect()
}

/// A handle for each stream of the configuration that is not in `known`, by its name.
fn handles(pipeline: &runtime::Pipeline, known: &[String]) -> Vec<(String, StreamHandle)> {
    let streams = pipeline.config().streams.iter();
    let fresh = streams.filter(|stream| !known.contains(&stream.name));
    fresh
        .filter_map(|stream| {
            let handle = pipeline.stream(&stream.name)?.duplicate();
            Some((
                stream.name.clone(),
                StreamHandle::new(handle, Newness::NotReturnedYet, Role::Creator),
            ))
        })
        .collect()
}

fn host_of(host: Option<HostProgram>) -> PyResult<NodeHost> {
    let Some((program, arguments, plugin)) = host else {
        return Ok(NodeHost::Caller);
    };
    let plugin = serde_json::from_str(&plugin)
        .map_err(|error| PyRuntimeError::new_err(format!("not a JSON document: {error}")))?;
    Ok(NodeHost::Program {
        program: WorkerProgram { program, arguments },
        plugin,
    })
}
