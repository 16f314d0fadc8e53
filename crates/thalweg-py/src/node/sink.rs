//! A native sink that consumes arrays.

use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use thalweg::Publication;
use thalweg::kernels::{NodeBuilder, NodeRole, Sink, SinkFrame};

use super::context::{HandleContext, StopWord};
use super::kernel::of_node;
use super::{builder, read_spec, readable, refused};

/// One sink with its state.
#[pyclass(frozen, name = "SinkNode")]
pub(crate) struct SinkNode {
    figures: Vec<String>,
    stop: StopWord,
    /// Locked only while detached from the interpreter.
    sink: Mutex<Box<dyn Sink>>,
}

#[pymethods]
impl SinkNode {
    /// The sink that `spec`, a JSON object, describes.
    #[new]
    fn new(spec: &str) -> PyResult<Self> {
        let spec = read_spec(spec)?;
        let NodeBuilder::Sink(build) = builder(NodeRole::Sink, &spec)? else {
            return Err(PyValueError::new_err("not a sink"));
        };
        let sink = build(&spec).map_err(|problems| refused(&spec, &problems))?;
        Ok(Self {
            figures: sink
                .figure_definitions()
                .into_iter()
                .map(|figure| figure.name)
                .collect(),
            stop: StopWord::default(),
            sink: Mutex::new(sink),
        })
    }

    /// Opens devices and files.
    fn open(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| {
            let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
            let mut context = HandleContext::new(&self.stop, &[], &mut []);
            sink.open(&mut context).map_err(of_node)
        })
    }

    /// Closes what was opened.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.stop.stop();
        py.detach(|| {
            let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
            sink.close().map_err(of_node)
        })
    }

    /// Consumes one frame.
    fn consume(
        &self,
        py: Python<'_>,
        value: &Bound<'_, PyAny>,
        count: u64,
        frame_id: u64,
        missed: u64,
    ) -> PyResult<()> {
        let value = readable(value)?;
        py.detach(|| {
            let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
            let publication = Publication {
                count,
                frame_id,
                ..Publication::default()
            };
            let frame = SinkFrame::new(value.array(), publication, missed);
            let mut context = HandleContext::new(&self.stop, &[], &mut []);
            sink.consume_with(&frame, &mut context).map_err(of_node)
        })
    }

    /// The sink's own measurements.
    fn figures(&self, py: Python<'_>) -> Vec<(String, f64)> {
        let mut values = vec![0.0; self.figures.len()];
        py.detach(|| {
            let sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
            sink.figures(&mut values);
        });
        self.figures.iter().cloned().zip(values).collect()
    }
}
