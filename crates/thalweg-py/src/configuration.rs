//! Configurations and what can be told of them without running anything.

use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use serde_json::Value as Json;
use thalweg::pipeline::config::{self, Diagnostics, document};
use thalweg::pipeline::graph::PipelineGraph;

use crate::error;

/// A checked configuration.
#[pyclass(frozen, name = "PipelineConfig")]
pub(crate) struct ConfigHandle(pub(crate) config::PipelineConfig);

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
        config::PipelineConfig::from_json(&parsed(text)?, &base_path)
            .map(Self)
            .map_err(|problems| error::of_diagnostics(&problems))
    }

    /// The configuration as a JSON document, defaults left out.
    fn to_json(&self) -> String {
        self.0.to_json().to_string()
    }

    /// The configuration as a JSON document, with every default.
    fn to_json_complete(&self) -> String {
        self.0.to_json_complete().to_string()
    }

    #[getter]
    fn base_path(&self) -> PathBuf {
        self.0.base_path.clone()
    }

    #[getter]
    fn source_path(&self) -> Option<PathBuf> {
        self.0.source_path.clone()
    }

    /// The graph as a JSON document, and in words.
    fn graph(&self) -> (String, String) {
        let graph = PipelineGraph::from_config(&self.0);
        (graph.to_json().to_string(), graph.describe().to_string())
    }

    /// What more than one node writes, in words.
    fn conflicts(&self) -> Vec<String> {
        let graph = PipelineGraph::from_config(&self.0);
        graph
            .conflicts()
            .map(|conflict| conflict.to_string())
            .collect()
    }

    /// Everything that kinds and wiring are wrong about, each with its place; the kinds of the
    /// nodes `hosted` are not looked at.
    fn problems(&self, py: Python<'_>, hosted: Vec<String>) -> Vec<String> {
        py.detach(|| {
            let problems = config::validate_hosted(&self.0, &thalweg::registry(), &|name| {
                hosted.iter().any(|known| known == name)
            });
            problems.iter().map(ToString::to_string).collect()
        })
    }
}

/// One entry of `section`, a JSON document, with every default filled in.
#[pyfunction]
pub(crate) fn normalize_entry(section: &str, entry: &str) -> PyResult<String> {
    config::normalize_entry(section, &parsed(entry)?)
        .map(|entry| entry.to_string())
        .map_err(|problems| error::of_diagnostics(&problems))
}

/// YAML text as a JSON document.
#[pyfunction]
pub(crate) fn yaml_to_json(text: &str) -> PyResult<String> {
    document::yaml_to_json(text)
        .map(|json| json.to_string())
        .map_err(|problems| error::of_diagnostics(&problems))
}

/// A JSON document as YAML text.
#[pyfunction]
pub(crate) fn json_to_yaml(text: &str) -> PyResult<String> {
    document::json_to_yaml(&parsed(text)?)
        .map_err(|problem| error::of_diagnostics(&Diagnostics(vec![problem])))
}

fn parsed(text: &str) -> PyResult<Json> {
    serde_json::from_str(text)
        .map_err(|error| PyValueError::new_err(format!("not a JSON document: {error}")))
}
