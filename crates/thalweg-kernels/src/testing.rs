//! What the crate's unit tests share: specifications and contexts without a pipeline.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use thalweg_shm::{ArrayMut, ArrayRef, DType, Publication, PublishOptions};

use crate::node::{
    Auxiliary, AuxiliaryFrame, FillOutput, FrameInputs, Kernel, NodeError, NodeSpec, Parameters,
    Produced, Source, SourceContext, SpecProblem, StreamSpec,
};
use crate::owned_array::OwnedArray;
use crate::registry::{ArraySpec, NodeBuilder, NodeRole, Registry};

/// Builds a [`NodeSpec`] step by step.
pub(crate) struct SpecBuilder {
    spec: NodeSpec,
}

/// A specification of `kind` without any stream.
pub(crate) fn spec(kind: &str) -> SpecBuilder {
    SpecBuilder {
        spec: NodeSpec {
            name: "node".to_owned(),
            kind: kind.to_owned(),
            inputs: Vec::new(),
            any_trigger: false,
            auxiliary: Vec::new(),
            outputs: Vec::new(),
            operation: None,
            parameters: Parameters::new(),
            base_dir: PathBuf::new(),
        },
    }
}

fn stream(name: String, dtype: DType, shape: &[usize]) -> StreamSpec {
    StreamSpec {
        name,
        dtype,
        shape: shape.to_vec(),
    }
}

impl SpecBuilder {
    pub(crate) fn input(mut self, dtype: DType, shape: &[usize]) -> Self {
        let name = format!("input_{}", self.spec.inputs.len());
        self.spec.inputs.push(stream(name, dtype, shape));
        self
    }

    pub(crate) fn output(mut self, dtype: DType, shape: &[usize]) -> Self {
        let name = format!("output_{}", self.spec.outputs.len());
        self.spec.outputs.push(stream(name, dtype, shape));
        self
    }

    pub(crate) fn auxiliary(mut self, alias: &str, dtype: DType, shape: &[usize]) -> Self {
        self.spec.auxiliary.push(Auxiliary {
            alias: alias.to_owned(),
            stream: stream(format!("{alias}_stream"), dtype, shape),
        });
        self
    }

    pub(crate) fn parameter(mut self, name: &str, value: Value) -> Self {
        self.spec.parameters.insert(name.to_owned(), value);
        self
    }

    pub(crate) fn build(self) -> NodeSpec {
        self.spec
    }
}

/// Computes one frame.
pub(crate) fn compute(
    kernel: &mut dyn Kernel,
    triggers: &[ArrayRef<'_>],
    auxiliary: &[ArrayRef<'_>],
    outputs: &[ArraySpec],
) -> Result<Vec<OwnedArray>, NodeError> {
    let mut results: Vec<_> = outputs
        .iter()
        .map(|output| OwnedArray::zeros(output.dtype, &output.shape).unwrap())
        .collect();
    let mut views: Vec<_> = results.iter_mut().map(OwnedArray::as_array_mut).collect();
    let frame = FrameInputs {
        triggers,
        auxiliary,
        frame_id: 0,
    };
    kernel.compute(&frame, &mut views)?;
    Ok(results)
}

/// A clock that a sleep moves on at once.
pub(crate) struct TestContext {
    pub(crate) now_ns: u64,
    pub(crate) stop: bool,
    /// Publications of every auxiliary stream.
    pub(crate) publications: u64,
    /// A stop is requested after so many waits in vain; never when 0.
    pub(crate) stop_after_waits: u32,
    /// What was written to outputs: index, frame id, time and first byte.
    pub(crate) written: Vec<(usize, Option<u64>, u64, OwnedArray)>,
    /// The streams that are written.
    pub(crate) outputs: Vec<StreamSpec>,
}

impl TestContext {
    pub(crate) fn at(now_ns: u64) -> Self {
        Self {
            now_ns,
            stop: false,
            publications: 0,
            stop_after_waits: 0,
            written: Vec::new(),
            outputs: Vec::new(),
        }
    }
}

impl SourceContext for TestContext {
    fn stop_requested(&self) -> bool {
        self.stop
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn sleep_until(&mut self, deadline_ns: u64) -> bool {
        self.now_ns = self.now_ns.max(deadline_ns);
        self.stop
    }

    fn read_auxiliary(
        &mut self,
        _index: usize,
        _out: &mut ArrayMut<'_>,
    ) -> Result<Option<AuxiliaryFrame>, NodeError> {
        Ok(None)
    }

    fn wait_auxiliary(
        &mut self,
        _index: usize,
        _frame_id: u64,
        _timeout: Duration,
        _out: &mut ArrayMut<'_>,
    ) -> Result<Option<AuxiliaryFrame>, NodeError> {
        Ok(None)
    }

    fn wait_publication(
        &mut self,
        _index: usize,
        after_count: u64,
        timeout: Duration,
    ) -> Result<Option<AuxiliaryFrame>, NodeError> {
        if self.publications > after_count {
            return Ok(Some(AuxiliaryFrame {
                count: self.publications,
                frame_id: 0,
            }));
        }
        if !timeout.is_zero() && self.stop_after_waits > 0 {
            self.stop_after_waits -= 1;
            self.stop = self.stop_after_waits == 0;
        }
        Ok(None)
    }

    fn write_output(
        &mut self,
        index: usize,
        options: PublishOptions,
        fill: FillOutput<'_>,
    ) -> Result<Publication, NodeError> {
        let stream = &self.outputs[index];
        let mut array = OwnedArray::zeros(stream.dtype, &stream.shape).unwrap();
        fill(&mut array.as_array_mut())?;
        self.written
            .push((index, options.frame_id, self.now_ns, array));
        Ok(Publication {
            publish_ns: self.now_ns,
            ..Publication::default()
        })
    }
}

/// Builds the source of `spec` from the built-in registry.
pub(crate) fn source(spec: &NodeSpec) -> Result<Box<dyn Source>, Vec<SpecProblem>> {
    match Registry::builtin()
        .get(NodeRole::Source, &spec.kind)
        .unwrap()
        .builder
    {
        NodeBuilder::Source(build) => build(spec),
        other => panic!("{other:?}"),
    }
}

/// Has `source` produce its next frame.
pub(crate) fn produce(
    source: &mut dyn Source,
    context: &mut TestContext,
    dtype: DType,
    shape: &[usize],
) -> Result<(Produced, OwnedArray), NodeError> {
    let mut frame = OwnedArray::zeros(dtype, shape).unwrap();
    let produced = source.produce(context, &mut [frame.as_array_mut()])?;
    Ok((produced, frame))
}
