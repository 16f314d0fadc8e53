//! What holds for any text that is given for a document.

use std::path::Path;

use thalweg_pipeline::config::{PipelineConfig, Reading, normalize_entry};
use thalweg_pipeline::graph::PipelineGraph;

/// Whatever `text` is, it is refused with a message, or read as a configuration that survives every
/// way there and back and can be described.
pub(crate) fn check(text: &str) {
    let Reading {
        config,
        diagnostics,
    } = PipelineConfig::read_yaml_str(text, Path::new("p.yaml"));
    assert!(diagnostics.iter().all(|it| !it.message.is_empty()));
    let Some(config) = config else {
        assert!(diagnostics.iter().any(|it| it.is_error()));
        return;
    };
    assert!(!config.streams.is_empty());
    assert!(diagnostics.iter().all(|it| !it.is_error()));
    assert_eq!(config.warnings, diagnostics);
    let complete = config.to_json_complete();
    for json in [&config.to_json(), &complete] {
        let again = PipelineConfig::from_json(json, Path::new("/"));
        assert_eq!(again.as_ref(), Ok(&config), "{json:#}");
    }
    for section in ["shared_memory", "sources", "kernels", "sinks"] {
        let entries = complete.get(section).and_then(|entries| entries.as_array());
        for entry in entries.into_iter().flatten() {
            assert_eq!(normalize_entry(section, entry).as_ref(), Ok(entry));
        }
    }
    let graph = PipelineGraph::from_config(&config);
    assert!(graph.describe().to_string().starts_with("Pipeline Graph"));
    for drawing in [graph.to_svg(), graph.to_dot(), graph.to_mermaid()] {
        assert!(!drawing.is_empty());
    }
}
