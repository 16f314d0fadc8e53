//! The graph as JSON, for programs.

use serde_json::{Map, Value as Json, json};

use super::PipelineGraph;
use crate::config::{AuxiliaryBinding, KernelConfig, SinkConfig, SourceConfig, StreamConfig};

impl PipelineGraph<'_> {
    /// The whole graph: `shared_memory`, `sources`, `kernels`, `sinks`, `edges`, `source_streams`,
    /// `sink_streams`, `orphaned_streams` and `validation_errors`. Programs rely on every key.
    pub fn to_json(&self) -> Json {
        let config = self.config();
        let list = |values: &mut dyn Iterator<Item = Json>| Json::Array(values.collect());
        let edges = self.edges();
        json!({
            "shared_memory": list(&mut config.streams.iter().map(|stream| self.stream_json(stream))),
            "sources": list(&mut config.sources.iter().map(|source| self.source_json(source))),
            "kernels": list(&mut config.kernels.iter().map(|kernel| self.kernel_json(kernel))),
            "sinks": list(&mut config.sinks.iter().map(|sink| self.sink_json(sink))),
            "edges": list(&mut edges.iter().map(|edge| json!({
                "source": edge.source,
                "target": edge.target,
                "role": edge.role.to_string(),
                "stream": edge.stream,
            }))),
            "source_streams": self.source_streams(),
            "sink_streams": self.sink_streams(),
            "orphaned_streams": self.orphaned_streams(),
            "validation_errors": self.validation_errors(),
        })
    }

    fn stream_json(&self, stream: &StreamConfig) -> Json {
        json!({
            "name": stream.name,
            "shape": stream.shape,
            "dtype": stream.dtype.name(),
            "storage": stream.storage.name(),
            "gpu_device": stream.gpu_device,
            "producers": self.producers(&stream.name),
            "consumers": self.consumers(&stream.name),
            "role": self.role(&stream.name).name(),
        })
    }

    fn source_json(&self, source: &SourceConfig) -> Json {
        json!({
            "name": source.name,
            "kind": source.kind,
            "stream": source.streams.first(),
            "streams": source.streams,
            "auxiliary": auxiliary_json(&source.auxiliary),
            "parameters": source.parameters,
            "upstream_kernels": self.upstream_kernels(&source.name),
            "downstream_kernels": self.downstream_kernels(&source.name),
        })
    }

    fn kernel_json(&self, kernel: &KernelConfig) -> Json {
        json!({
            "name": kernel.name,
            "kind": kernel.kind,
            "input": kernel.inputs.first(),
            "inputs": kernel.inputs,
            "trigger_policy": kernel.trigger_policy.name(),
            "output": kernel.outputs.first(),
            "outputs": kernel.outputs,
            "auxiliary": auxiliary_json(&kernel.auxiliary),
            "operation": kernel.operation,
            "parameters": kernel.parameters,
            "group": kernel.group,
            "upstream_kernels": self.upstream_kernels(&kernel.name),
            "downstream_kernels": self.downstream_kernels(&kernel.name),
        })
    }

    fn sink_json(&self, sink: &SinkConfig) -> Json {
        json!({
            "name": sink.name,
            "kind": sink.kind,
            "stream": sink.stream,
            "outputs": sink.outputs,
            "auxiliary": auxiliary_json(&sink.auxiliary),
            "parameters": sink.parameters,
            "upstream_kernels": self.upstream_kernels(&sink.name),
            "downstream_kernels": self.downstream_kernels(&sink.name),
        })
    }
}

fn auxiliary_json(bindings: &[AuxiliaryBinding]) -> Json {
    let pairs = bindings
        .iter()
        .map(|binding| (binding.alias.clone(), binding.stream.as_str().into()));
    Json::Object(pairs.collect::<Map<_, _>>())
}
