//! The graph: streams' roles, neighbours, edges, feedback, text, JSON and drawings.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use thalweg_pipeline::config::PipelineConfig;
use thalweg_pipeline::graph::{PipelineGraph, feedback_problems};

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
    assert_eq!(
        PipelineGraph::from_config(&conflicting).validation_errors(),
        ["shared memory 'mid_frame2' has multiple producer kernels: copy_stage, scale_stage"]
    );
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
            "validation_errors",
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
            "streams": ["left", "right"],
            "auxiliary": {"applied": "feedback"},
            "parameters": {},
            "upstream_kernels": [],
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
            "operation": null,
            "parameters": {},
            "group": null,
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
            "outputs": [],
            "auxiliary": {},
            "parameters": {"title": "live"},
            "upstream_kernels": [],
            "downstream_kernels": [],
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
    assert_eq!(graph["validation_errors"], json!([]));
    assert_eq!(
        graph["sinks"][0]["outputs"],
        json!(["feedback", "report"]),
        "what a sink writes"
    );
}

/// A loop: telescope -> measure -> control -> mirror -> applied -> telescope.
const LOOP: &str = "
shared_memory:
  - {name: image, shape: [4], dtype: float32}
  - {name: slopes, shape: [4], dtype: float32}
  - {name: offset, shape: [4], dtype: float32}
  - {name: command, shape: [4], dtype: float32}
  - {name: applied, shape: [4], dtype: float32}
sources:
  - {name: telescope, kind: example.telescope, stream: image, auxiliary: {state: applied}}
kernels:
  - {name: measure, kind: cpu.copy, input: image, output: slopes, propagate_frame_id: true}
  - {name: control, kind: cpu.copy, inputs: [offset, slopes], output: command, propagate_frame_id: true}
sinks:
  - {name: mirror, kind: example.mirror, stream: command, outputs: [applied]}
";

fn feedback_of(document: &str, aliases: &[&str]) -> Vec<String> {
    let aliases = aliases.iter().map(ToString::to_string).collect();
    let required = BTreeMap::from([("telescope".to_owned(), aliases)]);
    let problems = feedback_problems(&load(document), &required);
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn feedback_leads_back_through_kernels_that_propagate_frame_ids() {
    assert_eq!(feedback_of(LOOP, &["state"]), [""; 0]);
    assert_eq!(feedback_of(LOOP, &[]), [""; 0]);
    for (what, document, aliases, expected) in [
        (
            "a missing alias",
            LOOP.to_owned(),
            ["actuators"],
            "p.yaml:9:74: sources[0].auxiliary: source 'telescope': its feedback 'actuators' is not \
             bound to a stream (hint: add `auxiliary: {actuators: STREAM}` with an output of a sink)",
        ),
        (
            "what no sink writes",
            LOOP.replace("state: applied", "state: command"),
            ["state"],
            "p.yaml:9:74: sources[0].auxiliary: source 'telescope': its feedback 'state' is the stream \
             'command', which is no output of a sink (hint: list the stream under `outputs` of the \
             sink that applies the frames)",
        ),
        (
            "a kernel without frame ids",
            LOOP.replace("output: slopes, propagate_frame_id: true", "output: slopes"),
            ["state"],
            "p.yaml:11:5: kernels[0].propagate_frame_id: kernel 'measure' needs propagate_frame_id: \
             true, because the feedback 'state' of source 'telescope' passes through it (hint: add \
             `propagate_frame_id: true`)",
        ),
        (
            "a way that begins elsewhere",
            LOOP.replace("inputs: [offset, slopes]", "input: offset"),
            ["state"],
            "p.yaml:9:74: sources[0].auxiliary: source 'telescope': its feedback 'state' cannot be \
             followed back to it: the stream 'offset' on the way to sink 'mirror' has no kernel that \
             writes it (hint: let the sink consume what is computed from this source's frames)",
        ),
        (
            "a cycle",
            LOOP.replace(
                "input: image, output: slopes",
                "input: command, output: slopes",
            )
            .replace("inputs: [offset, slopes]", "input: slopes"),
            ["state"],
            "p.yaml:9:74: sources[0].auxiliary: source 'telescope': its feedback 'state' cannot be \
             followed back to it: the way from sink 'mirror' leads in a cycle through kernel 'measure' \
             (hint: let the sink consume what is computed from this source's frames)",
        ),
    ] {
        assert_eq!(feedback_of(&document, &aliases), [expected], "{what}");
    }
}

/// Of two ways the one that carries frame ids counts.
#[test]
fn one_good_way_back_is_enough() {
    let document = LOOP
        .replace("inputs: [offset, slopes]", "inputs: [direct, slopes]")
        .replace("name: offset", "name: direct")
        .replace(
            "sinks:",
            "  - {name: shortcut, kind: cpu.copy, input: image, output: direct}\nsinks:",
        );
    assert_eq!(feedback_of(&document, &["state"]), [""; 0]);
}

/// Names may be anything, in every language of drawings.
const ODD: &str = r##"
shared_memory:
  - {name: "a \"b\" <c> & 'd' \\ `e` #35;", shape: [2, 3], dtype: int8}
  - {name: "line\nbreak", shape: [1], dtype: int8}
  - {name: same, shape: [1], dtype: float32}
sources: [{name: camera, kind: example.camera, stream: "a \"b\" <c> & 'd' \\ `e` #35;"}]
kernels:
  - {name: same, kind: "x<y>", input: "a \"b\" <c> & 'd' \\ `e` #35;", output: same, auxiliary: {"al\"ias<": "line\nbreak"}}
sinks: [{name: screen, kind: null.sink, stream: same, auxiliary: ["line\nbreak"]}]
"##;

#[test]
fn the_language_of_graphviz() {
    let config = load(ODD);
    assert_eq!(
        PipelineGraph::from_config(&config).to_dot(),
        r##"digraph pipeline {
  node [fontname="sans-serif", fontsize=11, style=filled];
  edge [fontname="sans-serif", fontsize=9];
  v0 [label="a \"b\" <c> &amp; 'd' \\ `e` #35;\nint8 2x3", shape=oval, fillcolor="#f2f2f2"];
  v1 [label="line�break\nint8 1", shape=oval, fillcolor="#f2f2f2"];
  v2 [label="same\nfloat32 1", shape=oval, fillcolor="#f2f2f2"];
  v3 [label="camera\nexample.camera", shape=box, fillcolor="#d7efdc"];
  v4 [label="same\nx<y>", shape=box, fillcolor="#d8e6f7"];
  v5 [label="screen\nnull.sink", shape=box, fillcolor="#f9e3cd"];
  v3 -> v0;
  v0 -> v4;
  v1 -> v4 [style=dashed, label="al\"ias<"];
  v4 -> v2;
  v1 -> v5 [style=dashed];
  v2 -> v5;
}
"##
    );
}

#[test]
fn the_language_of_mermaid() {
    let config = load(ODD);
    assert_eq!(
        PipelineGraph::from_config(&config).to_mermaid(),
        r##"flowchart TD
  v0(["a #34;b#34; #60;c#62; #38; #39;d#39; #92; #96;e#96; #35;35#59;<br/>int8 2x3"]):::stream
  v1(["line#65533;break<br/>int8 1"]):::stream
  v2(["same<br/>float32 1"]):::stream
  v3[/"camera<br/>example.camera"\]:::source
  v4["same<br/>x#60;y#62;"]:::kernel
  v5[\"screen<br/>null.sink"/]:::sink
  v3 --> v0
  v0 --> v4
  v1 -. "al#34;ias#60;" .-> v4
  v4 --> v2
  v1 -.-> v5
  v2 --> v5
  classDef stream fill:#f2f2f2,stroke:#666,color:#111
  classDef source fill:#d7efdc,stroke:#666,color:#111
  classDef kernel fill:#d8e6f7,stroke:#666,color:#111
  classDef sink fill:#f9e3cd,stroke:#666,color:#111
"##
    );
}

#[test]
fn svg_of_anything() {
    let config = load(ODD);
    let svg = PipelineGraph::from_config(&config).to_svg();
    assert_eq!(svg, PipelineGraph::from_config(&config).to_svg());
    let name = "a &quot;b&quot; &lt;c&gt; &amp; 'd' \\ `e` #35;";
    let title = format!("<title>stream {name}: int8 2x3</title>");
    assert!(svg.contains(&title), "{svg}");
    assert!(
        svg.contains("<title>kernel same: x&lt;y&gt;</title>"),
        "{svg}"
    );
    assert_eq!(svg.matches("<g class=\"stream\"><title>").count(), 3);
    assert_eq!(svg.matches("marker-end=\"url(#head)\"").count(), 6);
    assert_eq!(svg.matches("class=\"alias\"").count(), 1);
    for token in ["NaN", "inf"] {
        assert!(!svg.contains(token), "{token}");
    }

    let looped = load(LOOP);
    let svg = PipelineGraph::from_config(&looped).to_svg();
    let feedback = "<path class=\"auxiliary feedback\" d=\"M";
    assert_eq!(svg.matches(feedback).count(), 1, "{svg}");
}

/// A document of many stages does not stall who draws it.
#[test]
fn a_long_chain_is_drawn() {
    let names: Vec<String> = (0..2000).map(|index| format!("s{index}")).collect();
    let streams: Vec<_> = names
        .iter()
        .map(|name| json!({"name": name, "shape": [1], "dtype": "int8"}))
        .collect();
    let kernels: Vec<_> = (1..names.len())
        .map(|index| {
            let auxiliary = &names[(index + 7) % names.len()];
            json!({
                "name": format!("k{index}"),
                "kind": "cpu.copy",
                "input": names[index - 1],
                "output": names[index],
                "auxiliary": [auxiliary],
            })
        })
        .collect();
    let document = json!({"shared_memory": streams, "kernels": kernels});
    let config = PipelineConfig::from_json(&document, Path::new("/")).expect("valid");
    let svg = PipelineGraph::from_config(&config).to_svg();
    assert_eq!(svg.matches("<title>").count(), 2 * names.len() - 1);
}
