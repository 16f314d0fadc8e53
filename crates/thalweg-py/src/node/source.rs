//! A native source that produces into arrays.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use thalweg::Stream;
use thalweg::kernels::{NodeBuilder, NodeRole, Produced, Source};

use super::context::{HandleContext, StopWord};
use super::kernel::of_node;
use super::{builder, overlapping, read_spec, refused, writable};
use crate::buffer::import::Buffer;
use crate::stream::StreamHandle;

/// One source with its state.
#[pyclass(frozen, name = "SourceNode")]
pub(crate) struct SourceNode {
    auxiliary: Vec<Arc<Stream>>,
    stop: StopWord,
    figures: Vec<String>,
    /// Locked only while detached from the interpreter.
    source: Mutex<Box<dyn Source>>,
}

#[pymethods]
impl SourceNode {
    /// The source that `spec`, a JSON object, describes; `auxiliary` are handles in declared order.
    #[new]
    fn new(spec: &str, auxiliary: Vec<Bound<'_, StreamHandle>>) -> PyResult<Self> {
        let spec = read_spec(spec)?;
        let NodeBuilder::Source(build) = builder(NodeRole::Source, &spec)? else {
            return Err(PyValueError::new_err("not a source"));
        };
        let source = build(&spec).map_err(|problems| refused(&spec, &problems))?;
        let auxiliary = auxiliary.iter().map(|handle| handle.get().stream());
        Ok(Self {
            auxiliary: auxiliary.collect::<PyResult<_>>()?,
            stop: StopWord::default(),
            figures: source
                .figure_definitions()
                .into_iter()
                .map(|figure| figure.name)
                .collect(),
            source: Mutex::new(source),
        })
    }

    /// Opens devices and files.
    fn open(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| {
            let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
            let mut context = HandleContext::new(&self.stop, &self.auxiliary, &mut []);
            source.open(&mut context).map_err(of_node)
        })
    }

    /// Produces one frame into `outputs`, at its pace. What came of it, `"frame"`, `"nothing"`
    /// (also after `stop`) or `"finished"`; and the outputs that were written, each with the id to
    /// stamp.
    fn produce(&self, py: Python<'_>, outputs: Vec<Bound<'_, PyAny>>) -> PyResult<Outcome> {
        let mut written = outputs.iter().map(writable).collect::<PyResult<Vec<_>>>()?;
        py.detach(|| {
            let (_, mut outputs) = Buffer::views(&[], &mut written).ok_or_else(overlapping)?;
            let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
            let count = outputs.len();
            if source.writes_outputs() {
                let mut context = HandleContext::new(&self.stop, &self.auxiliary, &mut outputs);
                let produced = source.produce(&mut context, &mut []).map_err(of_node)?;
                return Ok((word(produced), context.written));
            }
            let mut context = HandleContext::new(&self.stop, &self.auxiliary, &mut []);
            let produced = source
                .produce(&mut context, &mut outputs)
                .map_err(of_node)?;
            let written = match produced {
                Produced::Frame { frame_id } => (0..count).map(|index| (index, frame_id)).collect(),
                Produced::Nothing | Produced::Finished => Vec::new(),
            };
            Ok((word(produced), written))
        })
    }

    /// Closes what was opened.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.stop.stop();
        py.detach(|| {
            let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
            source.close().map_err(of_node)
        })
    }

    /// Ends waits, from any thread.
    fn stop(&self) {
        self.stop.stop();
    }

    /// The source's own measurements.
    fn figures(&self, py: Python<'_>) -> Vec<(String, f64)> {
        let mut values = vec![0.0; self.figures.len()];
        py.detach(|| {
            let source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
            source.figures(&mut values);
        });
        self.figures.iter().cloned().zip(values).collect()
    }
}

/// What came of a call, and which outputs were written, with the ids to stamp.
type Outcome = (&'static str, Vec<(usize, Option<u64>)>);

fn word(produced: Produced) -> &'static str {
    match produced {
        Produced::Frame { .. } => "frame",
        Produced::Nothing => "nothing",
        Produced::Finished => "finished",
    }
}
