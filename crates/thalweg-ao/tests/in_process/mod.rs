//! Runs a pipeline inside the test: no processes, no shared memory, one node after the other.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use thalweg_kernels::node::Auxiliary;
use thalweg_kernels::{
    AuxiliaryFrame, FrameInputs, Kernel, NodeBuilder, NodeError, NodeRole, NodeSpec, Produced,
    Registry, Source, SourceContext, StreamSpec,
};
use thalweg_shm::{ArrayMut, ArrayRef, DType};

/// Elements of a stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Payload {
    Uint16(Vec<u16>),
    Float32(Vec<f32>),
}

/// A stream: its newest publication.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) spec: StreamSpec,
    pub(crate) payload: Payload,
    pub(crate) frame: Option<AuxiliaryFrame>,
}

impl Stream {
    pub(crate) fn new(spec: StreamSpec) -> Self {
        let count = spec.shape.iter().product();
        let payload = match spec.dtype {
            DType::Uint16 => Payload::Uint16(vec![0; count]),
            DType::Float32 => Payload::Float32(vec![0.0; count]),
            other => panic!("stream {:?} is {other}", spec.name),
        };
        Self {
            spec,
            payload,
            frame: None,
        }
    }

    pub(crate) fn array(&self) -> ArrayRef<'_> {
        match &self.payload {
            Payload::Uint16(elements) => ArrayRef::from_slice(elements, &self.spec.shape),
            Payload::Float32(elements) => ArrayRef::from_slice(elements, &self.spec.shape),
        }
    }

    fn array_mut(&mut self) -> ArrayMut<'_> {
        match &mut self.payload {
            Payload::Uint16(elements) => ArrayMut::from_slice(elements, &self.spec.shape),
            Payload::Float32(elements) => ArrayMut::from_slice(elements, &self.spec.shape),
        }
    }

    pub(crate) fn floats(&self) -> &[f32] {
        match &self.payload {
            Payload::Float32(elements) => elements,
            Payload::Uint16(_) => panic!("stream {:?} is uint16", self.spec.name),
        }
    }

    fn publish(&mut self, frame_id: Option<u64>) {
        let before = self.frame.unwrap_or(AuxiliaryFrame {
            count: 0,
            frame_id: 0,
        });
        self.frame = Some(AuxiliaryFrame {
            count: before.count + 1,
            frame_id: frame_id.unwrap_or(before.frame_id),
        });
    }
}

/// What a source sees: auxiliary streams as they are, and time that stands still. A wait that the
/// streams do not satisfy at once times out at once.
pub(crate) struct StillContext<'a> {
    pub(crate) auxiliary: Vec<&'a Stream>,
}

impl SourceContext for StillContext<'_> {
    fn stop_requested(&self) -> bool {
        false
    }

    fn now_ns(&self) -> u64 {
        0
    }

    fn sleep_until(&mut self, _deadline_ns: u64) -> bool {
        false
    }

    fn read_auxiliary(
        &mut self,
        index: usize,
        out: &mut ArrayMut<'_>,
    ) -> Result<Option<AuxiliaryFrame>, NodeError> {
        let stream = self.auxiliary[index];
        if stream.frame.is_some() {
            out.copy_from_array(stream.array())?;
        }
        Ok(stream.frame)
    }

    fn wait_auxiliary(
        &mut self,
        index: usize,
        frame_id: u64,
        _timeout: Duration,
        out: &mut ArrayMut<'_>,
    ) -> Result<Option<AuxiliaryFrame>, NodeError> {
        let found = self.read_auxiliary(index, out)?;
        Ok(found.filter(|frame| frame.frame_id >= frame_id))
    }
}

enum Node {
    Source(Box<dyn Source>),
    Kernel(Box<dyn Kernel>),
}

/// A pipeline read from the text of its configuration.
pub(crate) struct Pipeline {
    pub(crate) streams: BTreeMap<String, Stream>,
    nodes: Vec<(NodeSpec, Node)>,
}

impl Pipeline {
    /// Builds every node of `yaml`; panics with the problem if there is one.
    pub(crate) fn from_yaml(yaml: &str, registry: &Registry) -> Self {
        let document: Value = serde_saphyr::from_str(yaml).unwrap();
        let list = |key: &str| document[key].as_array().cloned().unwrap_or_default();
        let streams: BTreeMap<String, Stream> = list("shared_memory")
            .iter()
            .map(|entry| {
                let spec: StreamSpec = serde_json::from_value(entry.clone()).unwrap();
                (spec.name.clone(), Stream::new(spec))
            })
            .collect();
        let mut nodes = Vec::new();
        for (key, role) in [("sources", NodeRole::Source), ("kernels", NodeRole::Kernel)] {
            for entry in list(key) {
                let spec = node_spec(&entry, &streams);
                let definition = registry.get(role, &spec.kind).unwrap_or_else(|| {
                    panic!("no {role:?} of kind {:?}", spec.kind);
                });
                let node = match definition.builder {
                    NodeBuilder::Source(build) => build(&spec).map(Node::Source),
                    NodeBuilder::Kernel(build) => build(&spec).map(Node::Kernel),
                    NodeBuilder::Sink(_) => panic!("no sinks here"),
                };
                let node = node.unwrap_or_else(|problems| panic!("{}: {problems:?}", spec.name));
                nodes.push((spec, node));
            }
        }
        Self { streams, nodes }
    }

    /// Calls the source `name` once and publishes what it wrote.
    pub(crate) fn produce(&mut self, name: &str) -> Result<Produced, NodeError> {
        let (spec, node) = self.nodes.iter_mut().find(|(s, _)| s.name == name).unwrap();
        let Node::Source(source) = node else {
            panic!("{name} is no source");
        };
        let mut outputs = take_outputs(&mut self.streams, spec);
        let mut context = StillContext {
            auxiliary: auxiliary(&self.streams, spec),
        };
        let mut arrays: Vec<ArrayMut<'_>> = outputs.iter_mut().map(Stream::array_mut).collect();
        let produced = source.produce(&mut context, &mut arrays);
        if let Ok(Produced::Frame { frame_id }) = produced {
            outputs
                .iter_mut()
                .for_each(|stream| stream.publish(frame_id));
        }
        give_back(&mut self.streams, outputs);
        produced
    }

    /// Runs every kernel once, in the order of the configuration.
    pub(crate) fn compute(&mut self) {
        for (spec, node) in &mut self.nodes {
            let Node::Kernel(kernel) = node else {
                continue;
            };
            let mut outputs = take_outputs(&mut self.streams, spec);
            let trigger = &self.streams[&spec.inputs[0].name];
            let frame_id = trigger.frame.map_or(0, |frame| frame.frame_id);
            let auxiliary: Vec<ArrayRef<'_>> = auxiliary(&self.streams, spec)
                .into_iter()
                .map(Stream::array)
                .collect();
            let inputs = FrameInputs {
                triggers: &[trigger.array()],
                auxiliary: &auxiliary,
                frame_id,
            };
            let mut arrays: Vec<ArrayMut<'_>> = outputs.iter_mut().map(Stream::array_mut).collect();
            kernel.compute(&inputs, &mut arrays).unwrap();
            outputs
                .iter_mut()
                .for_each(|stream| stream.publish(Some(frame_id)));
            give_back(&mut self.streams, outputs);
        }
    }

    /// Figure `figure` of the source `name`.
    pub(crate) fn figure(&self, name: &str, figure: &str) -> f64 {
        let (_, node) = self
            .nodes
            .iter()
            .find(|(spec, _)| spec.name == name)
            .unwrap();
        let Node::Source(source) = node else {
            panic!("{name} is no source");
        };
        let definitions = source.figure_definitions();
        let mut values = vec![f64::NAN; definitions.len()];
        source.figures(&mut values);
        values[definitions.iter().position(|d| d.name == figure).unwrap()]
    }
}

fn node_spec(entry: &Value, streams: &BTreeMap<String, Stream>) -> NodeSpec {
    let text = |key: &str| entry[key].as_str().map(str::to_owned);
    let stream = |name: &Value| streams[name.as_str().unwrap()].spec.clone();
    let one_or_many = |one: &str, many: &str| -> Vec<StreamSpec> {
        let list = entry[many].as_array().cloned().unwrap_or_default();
        entry
            .get(one)
            .into_iter()
            .chain(&list)
            .map(stream)
            .collect()
    };
    let mut outputs = one_or_many("output", "outputs");
    outputs.extend(one_or_many("stream", "streams"));
    let auxiliary = entry["auxiliary"].as_object().cloned().unwrap_or_default();
    NodeSpec {
        name: text("name").unwrap(),
        kind: text("kind").unwrap(),
        inputs: one_or_many("input", "inputs"),
        any_trigger: false,
        auxiliary: auxiliary
            .iter()
            .map(|(alias, name)| Auxiliary {
                alias: alias.clone(),
                stream: stream(name),
            })
            .collect(),
        outputs,
        operation: text("operation"),
        parameters: entry["parameters"].as_object().cloned().unwrap_or_default(),
        base_dir: Default::default(),
    }
}

fn take_outputs(streams: &mut BTreeMap<String, Stream>, spec: &NodeSpec) -> Vec<Stream> {
    let names = spec.outputs.iter().map(|output| &output.name);
    names.map(|name| streams.remove(name).unwrap()).collect()
}

fn give_back(streams: &mut BTreeMap<String, Stream>, outputs: Vec<Stream>) {
    for stream in outputs {
        streams.insert(stream.spec.name.clone(), stream);
    }
}

fn auxiliary<'a>(streams: &'a BTreeMap<String, Stream>, spec: &NodeSpec) -> Vec<&'a Stream> {
    let names = spec.auxiliary.iter().map(|a| &a.stream.name);
    names.map(|name| &streams[name]).collect()
}
