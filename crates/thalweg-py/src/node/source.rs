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

    /// Produces one frame into `outputs`, at its pace. What came of it: `"frame"` with the id to
    /// stamp, `"nothing"` (also after `stop`), or `"finished"`.
    fn produce(
        &self,
        py: Python<'_>,
        outputs: Vec<Bound<'_, PyAny>>,
    ) -> PyResult<(&'static str, Option<u64>)> {
        let mut written = outputs.iter().map(writable).collect::<PyResult<Vec<_>>>()?;
        let produced = py.detach(|| {
            let (_, mut outputs) = Buffer::views(&[], &mut written).ok_or_else(overlapping)?;
            let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
            let mut context = HandleContext {
                stop: &self.stop,
                auxiliary: &self.auxiliary,
            };
            source.produce(&mut context, &mut outputs).map_err(of_node)
        })?;
        Ok(match produced {
            Produced::Frame { frame_id } => ("frame", frame_id),
            Produced::Nothing => ("nothing", None),
            Produced::Finished => ("finished", None),
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
