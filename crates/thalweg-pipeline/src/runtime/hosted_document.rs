//! What a program with kinds of its own learns about the configuration of its node.

use serde_json::{Value, json};

use super::message::Role;
use crate::config::PipelineConfig;

/// A configuration with all streams of `config`, without what they hold at first, and the node
/// `name` alone. Empty if there is no such node.
pub(super) fn hosted_document(config: &PipelineConfig, role: Role, name: &str) -> Value {
    let section = match role {
        Role::Kernel => "kernels",
        Role::Source => "sources",
        Role::Sink => "sinks",
    };
    let mut document = config.to_json();
    let entries = document[section].as_array_mut().map(std::mem::take);
    let own = entries
        .unwrap_or_default()
        .into_iter()
        .find(|entry| entry["name"] == name);
    if let Some(root) = document.as_object_mut() {
        root.retain(|key, _| key == "namespace" || key == "shared_memory");
        root.insert(section.to_owned(), json!(own.as_slice()));
    }
    for stream in document["shared_memory"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        if let Some(stream) = stream.as_object_mut() {
            stream.remove("initial");
        }
    }
    document
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn only_the_node_itself_and_every_stream() {
        let yaml = "
namespace: left
shared_memory:
  - {name: in, shape: [2], dtype: float32, initial: {pattern: constant, value: 1}}
  - {name: out, shape: [2], dtype: float32}
kernels:
  - {name: copy, kind: cpu.copy, input: in, output: out}
  - {name: own, kind: example.own, input: in, output: out, parameters: {factor: 2}}
sinks:
  - {name: display, kind: example.display, stream: out}
";
        let config = PipelineConfig::from_yaml_str(yaml, Path::new("test.yaml")).unwrap();
        let document = hosted_document(&config, Role::Kernel, "own");
        assert_eq!(document["namespace"], "left");
        assert_eq!(document["kernels"].as_array().map(Vec::len), Some(1));
        assert_eq!(document["kernels"][0]["parameters"]["factor"], 2);
        assert!(document.get("sinks").is_none());
        assert_eq!(document["shared_memory"].as_array().map(Vec::len), Some(2));
        assert!(document["shared_memory"][0].get("initial").is_none());
        assert!(
            PipelineConfig::from_json(&document, Path::new("/")).is_ok(),
            "a configuration like any other"
        );
    }
}
