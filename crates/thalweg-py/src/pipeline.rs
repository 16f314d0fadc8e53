//! Pipelines: configurations, and their runs.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use thalweg::pipeline::config;
use thalweg::pipeline::runtime::{self, PipelineError, PipelineState, RunOptions, WorkerProgram};
use thalweg_os::fork;

use crate::error;
use crate::stream::{Newness, Role, StreamHandle};

/// A checked configuration.
#[pyclass(frozen, name = "PipelineConfig")]
pub(crate) struct ConfigHandle(config::PipelineConfig);

#[pymethods]
impl ConfigHandle {
    /// Read a YAML file.
    #[staticmethod]
    fn from_yaml(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        py.detach(|| config::PipelineConfig::from_yaml_file(&path))
            .map(Self)
            .map_err(|problems| error::of_diagnostics(&problems))
    }

    /// Read a JSON document.
    #[staticmethod]
    fn from_json(text: &str, base_path: PathBuf) -> PyResult<Self> {
        let document: serde_json::Value = serde_json::from_str(text)
            .map_err(|error| error::ConfigValidationError::new_err(error.to_string()))?;
        config::PipelineConfig::from_json(&document, &base_path)
            .map(Self)
            .map_err(|problems| error::of_diagnostics(&problems))
    }

    /// The configuration as a JSON document, defaults left out.
    fn to_json(&self) -> String {
        self.0.to_json().to_string()
    }

    #[getter]
    fn base_path(&self) -> PathBuf {
        self.0.base_path.clone()
    }

    #[getter]
    fn source_path(&self) -> Option<PathBuf> {
        self.0.source_path.clone()
    }

    /// Whether both describe the same pipeline.
    fn equals(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

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
    /// A pipeline whose workers run `worker_program`; nothing is made yet.
    #[new]
    fn new(
        config: &ConfigHandle,
        worker_program: PathBuf,
        worker_start_timeout_s: f64,
    ) -> PyResult<Self> {
        let start_timeout = seconds("worker_start_timeout", worker_start_timeout_s)?;
        Ok(Self {
            config: config.0.clone(),
            options: RunOptions {
                start_timeout,
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
            let streams = self.config.streams.iter().filter_map(|stream| {
                let handle = pipeline.stream(&stream.name)?.duplicate();
                Some((
                    stream.name.clone(),
                    StreamHandle::new(handle, Newness::NotReturnedYet, Role::Creator),
                ))
            });
            Ok(streams.collect())
        });
        built.map_err(error::of_pipeline)
    }

    /// Start the workers and wait until they are ready.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        self.with_pipeline(py, "start", "built", runtime::Pipeline::start)
    }

    /// End the workers; those that take longer than `timeout_s` are killed.
    fn stop(&self, py: Python<'_>, timeout_s: f64) -> PyResult<()> {
        let timeout = seconds("timeout", timeout_s)?;
        self.with_pipeline(py, "stop", "running, paused or failed", |pipeline| {
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

    fn with_pipeline(
        &self,
        py: Python<'_>,
        action: &'static str,
        expected: &'static str,
        act: impl FnOnce(&mut runtime::Pipeline) -> Result<(), PipelineError> + Send,
    ) -> PyResult<()> {
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

fn seconds(argument: &str, value_s: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value_s).map_err(|_out_of_range| {
        pyo3::exceptions::PyValueError::new_err(format!(
            "{argument} must be a number of seconds of at least 0, got {value_s}"
        ))
    })
}
