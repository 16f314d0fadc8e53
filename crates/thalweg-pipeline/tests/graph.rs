//! The graph: streams' roles, neighbours, edges, text and JSON.

use std::path::Path;

use serde_json::json;
use thalweg_pipeline::config::PipelineConfig;
use thalweg_pipeline::graph::PipelineGraph;

fn load(document: &str) -> PipelineConfig {
    PipelineConfig::from_yaml_str(document, Path::new("p.yaml"))
        .unwrap_or_else(|problems| panic!("{problems}"))
}

const CHAIN: &str = "
shared_memory:
  - {name: input_frame, shape: [4], dtype: float32}
  - {name: mid_frame, shape: [4], dtype: float32}
  - {name: output_frame, shape: [4], dtype: float32}
  - {name: unused_frame, shape: [4], dtype: float32}
kernels:
  - {name: copy_stage, kind: cpu.copy, input: input_frame, output: mid_frame}
  - {name: scale_stage, kind: cpu.scale, input: mid_frame, output: output_frame, parameters: {factor: 2.0}}
";

/// Everything: several sources and sinks, a sink that writes, auxiliary streams everywhere.
const EVERYTHING: &str = r#"
shared_memory:
  - {name: left, shape: [2, 3], dtype: uint16}
  - {name: right, shape: [2, 3], dtype: uint16}
  - {name: dark, shape: [2, 3], dtype: uint16}
  - {name: joined, shape: [2, 6], dtype: float32}
  - {name: half, shape: [2, 3], dtype: float32}
  - {name: copy, shape: [2, 6], dtype: float32}
  - {name: feedback, shape: [1], dtype: int64}
  - {name: report, shape: [1], dtype: float64}
  - {name: preview, shape: [2, 3], dtype: uint8, storage: gpu, gpu_device: "cuda:0"}
  - {name: spare, shape: [1], dtype: bool}
sources:
  - {name: cameras, kind: example.cameras, streams: [left, right], auxiliary: {applied: feedback}}
  - {name: viewer, kind: example.preview, stream: preview, parameters: {rate_hz: 5}}
kernels:
  - {name: join, kind: example.join, inputs: [left, right], outputs: [joined, half], auxiliary: {dark: dark}}
  - {name: copier, kind: cpu.copy, input: joined, output: copy, auxiliary: [feedback]}
sinks:
  - {name: mirror, kind: example.mirror, stream: joined, outputs: [feedback, report], auxiliary: {dark: dark}}
  - {name: screen, kind: example.screen, stream: preview, parameters: {title: live}}
"#;

#[test]
fn a_chain() {
    let config = load(CHAIN);
    let graph = PipelineGraph::from_config(&config);
    assert_eq!(graph.source_streams(), ["input_frame"]);
    assert_eq!(graph.sink_streams(), ["output_frame"]);
    assert_eq!(graph.orphaned_streams(), ["unused_frame"]);
    assert_eq!(graph.upstream_kernels("scale_stage"), ["copy_stage"]);
    assert_eq!(graph.upstream_kernels("copy_stage"), [""; 0]);
    assert_eq!(graph.downstream_kernels("copy_stage"), ["scale_stage"]);
    assert_eq!(graph.downstream_kernels("nobody"), [""; 0]);
    assert_eq!(graph.edges().len(), 4);
    assert_eq!(graph.conflicts().count(), 0);
}

#[test]
fn roles_of_streams() {
    let config = load(EVERYTHING);
    let graph = PipelineGraph::from_config(&config);
    let roles: Vec<(&str, &str)> = config
        .streams
        .iter()
        .map(|stream| (stream.name.as_str(), graph.role(&stream.name).name()))
        .collect();
    assert_eq!(
        roles,
        [
            ("left", "source"),
            ("right", "source"),
            ("dark", "source"),
            ("joined", "sink"),
            ("half", "sink"),
            ("copy", "sink"),
            // Written by a sink and read inside the pipeline: nobody outside has to write it.
            ("feedback", "intermediate"),
            ("report", "sink"),
            ("preview", "source+sink"),
            ("spare", "orphan"),
        ]
    );
    assert_eq!(graph.source_streams(), ["dark", "left", "preview", "right"]);
    assert_eq!(
        graph.sink_streams(),
        ["copy", "half", "joined", "preview", "report"]
    );
    assert_eq!(graph.orphaned_streams(), ["spare"]);
    assert_eq!(graph.role("undeclared").name(), "orphan");
}

#[test]
fn neighbours() {
    let config = load(EVERYTHING);
    let graph = PipelineGraph::from_config(&config);
    assert_eq!(graph.producers("feedback"), ["mirror"]);
    assert_eq!(graph.consumers("feedback"), ["cameras", "copier"]);
    assert_eq!(graph.consumers("joined"), ["copier", "mirror"]);
    assert_eq!(graph.downstream_kernels("cameras"), ["join"]);
    assert_eq!(graph.downstream_kernels("join"), ["copier"]);
    assert_eq!(graph.upstream_kernels("copier"), ["join"]);
    assert_eq!(graph.upstream_kernels("mirror"), ["join"]);

    let cycle = load(
        "
shared_memory: [{name: a, shape: [1]}, {name: b, shape: [1]}, {name: c, shape: [1]}]
kernels:
  - {name: forth, kind: cpu.copy, input: a, output: b, auxiliary: [c]}
  - {name: back, kind: cpu.copy, input: b, output: a}
  - {name: aside, kind: cpu.copy, input: b, output: c}
",
    );
    let graph = PipelineGraph::from_config(&cycle);
    assert_eq!(graph.upstream_kernels("forth"), ["aside", "back"]);
    assert_eq!(graph.downstream_kernels("forth"), ["aside", "back"]);
    assert_eq!(graph.source_streams(), [""; 0]);
    assert_eq!(graph.sink_streams(), [""; 0]);
}

#[test]
fn edges_in_order_of_emission() {
    let config = load(EVERYTHING);
    let edges: Vec<String> = PipelineGraph::from_config(&config)
        .edges()
        .iter()
        .map(|edge| {
            format!(
                "{} -> {} {} {}",
                edge.source, edge.target, edge.role, edge.stream
            )
        })
        .collect();
    assert_eq!(
        edges,
        [
            "feedback -> cameras auxiliary:applied feedback",
            "cameras -> left source:0 left",
            "cameras -> right source:1 right",
            "viewer -> preview source preview",
            "left -> join input:0 left",
            "right -> join input:1 right",
            "dark -> join auxiliary:dark dark",
            "join -> joined output joined",
            "join -> half output half",
            "joined -> copier input joined",
            "feedback -> copier auxiliary:feedback feedback",
            "copier -> copy output copy",
            "dark -> mirror auxiliary:dark dark",
            "joined -> mirror sink joined",
            "mirror -> feedback sink_output feedback",
            "mirror -> report sink_output report",
            "preview -> screen sink preview",
        ]
    );
}

#[test]
fn text() {
    let config = load(EVERYTHING);
    assert_eq!(
        PipelineGraph::from_config(&config).describe().to_string(),
        "\
Pipeline Graph

Shared Memory:
- left [uint16 2x3, cpu] source: written by cameras, read by join
- right [uint16 2x3, cpu] source: written by cameras, read by join
- dark [uint16 2x3, cpu] source: written by external, read by join, mirror
- joined [float32 2x6, cpu] sink: written by join, read by copier, mirror
- half [float32 2x3, cpu] sink: written by join, read by none
- copy [float32 2x6, cpu] sink: written by copier, read by none
- feedback [int64 1, cpu] intermediate: written by mirror, read by cameras, copier
- report [float64 1, cpu] sink: written by mirror, read by none
- preview [uint8 2x3, gpu] source+sink: written by viewer, read by screen
- spare [bool 1, cpu] orphan: written by external, read by none

Sources:
- cameras (example.cameras): -> left, right, auxiliary applied=feedback, downstream join
- viewer (example.preview): -> preview, downstream terminal

Kernels:
- join (example.join): left + right -> joined, half, trigger policy all_new, auxiliary dark=dark, upstream external, downstream copier
- copier (cpu.copy): joined -> copy, auxiliary feedback=feedback, upstream join, downstream terminal

Sinks:
- mirror (example.mirror): joined -> feedback, report, auxiliary dark=dark, upstream join
- screen (example.screen): preview, upstream external

Orphaned Shared Memory:
- spare
"
    );

    let conflicting = load(
        &CHAIN
            .replace("output: output_frame", "output: mid_frame2")
            .replace("unused_frame", "mid_frame2")
            .replace("output: mid_frame}", "output: mid_frame2}"),
    );
    let text = PipelineGraph::from_config(&conflicting)
        .describe()
        .to_string();
    let errors = "\nValidation Errors:\n- shared memory 'mid_frame2' has multiple producer kernels: copy_stage, scale_stage\n";
    assert!(text.ends_with(errors), "{text}");
}

#[test]
fn json_for_programs() {
    let config = load(EVERYTHING);
    let graph = PipelineGraph::from_config(&config).to_json();
    let keys: Vec<&String> = graph.as_object().expect("a mapping").keys().collect();
    assert_eq!(
        keys,
        [
            "shared_memory",
            "sources",
            "kernels",
            "sinks",
            "edges",
            "source_streams",
            "sink_streams",
            "orphaned_streams",
        ]
    );
    assert_eq!(
        graph["shared_memory"][8],
        json!({
            "name": "preview",
            "shape": [2, 3],
            "dtype": "uint8",
            "storage": "gpu",
            "gpu_device": "cuda:0",
            "producers": ["viewer"],
            "consumers": ["screen"],
            "role": "source+sink",
        })
    );
    assert_eq!(graph["shared_memory"][0]["gpu_device"], json!(null));
    assert_eq!(
        graph["sources"][0],
        json!({
            "name": "cameras",
            "kind": "example.cameras",
            "stream": "left",
            "auxiliary": {"applied": "feedback"},
            "parameters": {},
            "downstream_kernels": ["join"],
        })
    );
    assert_eq!(
        graph["kernels"][0],
        json!({
            "name": "join",
            "kind": "example.join",
            "input": "left",
            "inputs": ["left", "right"],
            "trigger_policy": "all_new",
            "output": "joined",
            "outputs": ["joined", "half"],
            "auxiliary": {"dark": "dark"},
            "upstream_kernels": [],
            "downstream_kernels": ["copier"],
        })
    );
    assert_eq!(
        graph["sinks"][1],
        json!({
            "name": "screen",
            "kind": "example.screen",
            "stream": "preview",
            "auxiliary": {},
            "parameters": {"title": "live"},
            "upstream_kernels": [],
        })
    );
    assert_eq!(
        graph["edges"][1],
        json!({"source": "cameras", "target": "left", "role": "source:0", "stream": "left"})
    );
    assert_eq!(graph["edges"].as_array().map(Vec::len), Some(17));
    assert_eq!(
        graph["source_streams"],
        json!(["dark", "left", "preview", "right"])
    );
    assert_eq!(graph["orphaned_streams"], json!(["spare"]));
}
