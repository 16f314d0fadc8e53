//! Checks against kinds: the cases are in `tests/validation/*.txt`, in the format of [`support`].

mod support;

use std::fs;
use std::path::Path;

use support::{DOCUMENT_NAME, check};
use thalweg_kernels::{
    Definition, FrameInputs, Kernel, NodeBuilder, NodeError, NodeRole, NodeSpec, ParameterDoc,
    Produced, Registry, Sink, SinkFrame, Source, SourceContext, SpecProblem,
};
use thalweg_pipeline::config::{
    self, Diagnostic, KernelConfig, NodeConfig, PipelineConfig, SinkConfig, StreamConfig,
    UndefinedStream, node_spec, validate,
};
use thalweg_shm::{ArrayMut, DType};

/// A node of every role that is only ever built, never run.
struct Built;

impl Kernel for Built {
    fn compute(
        &mut self,
        _inputs: &FrameInputs<'_>,
        _outputs: &mut [ArrayMut<'_>],
    ) -> Result<(), NodeError> {
        Err(NodeError::Failed("validation runs nothing".to_owned()))
    }
}

impl Source for Built {
    fn produce(
        &mut self,
        _context: &mut dyn SourceContext,
        _outputs: &mut [ArrayMut<'_>],
    ) -> Result<Produced, NodeError> {
        Err(NodeError::Failed("validation runs nothing".to_owned()))
    }
}

impl Sink for Built {
    fn consume(&mut self, _frame: &SinkFrame<'_>) -> Result<(), NodeError> {
        Err(NodeError::Failed("validation runs nothing".to_owned()))
    }
}

/// Complains about every path listed under the parameter `complain`.
fn complaints(spec: &NodeSpec) -> Vec<SpecProblem> {
    let paths = spec
        .parameters
        .get("complain")
        .and_then(|paths| paths.as_array());
    let paths = paths.into_iter().flatten().filter_map(|path| path.as_str());
    paths
        .map(|path| SpecProblem::new(path, format!("complains about '{path}'")))
        .collect()
}

fn or_built<T: ?Sized>(
    problems: Vec<SpecProblem>,
    built: Box<T>,
) -> Result<Box<T>, Vec<SpecProblem>> {
    if problems.is_empty() {
        Ok(built)
    } else {
        Err(problems)
    }
}

fn build_kernel(spec: &NodeSpec) -> Result<Box<dyn Kernel>, Vec<SpecProblem>> {
    or_built(complaints(spec), Box::new(Built))
}

fn build_source(spec: &NodeSpec) -> Result<Box<dyn Source>, Vec<SpecProblem>> {
    or_built(complaints(spec), Box::new(Built))
}

fn build_sink(spec: &NodeSpec) -> Result<Box<dyn Sink>, Vec<SpecProblem>> {
    or_built(complaints(spec), Box::new(Built))
}

/// A kernel with rules of its own: one factor, equal shapes.
fn build_scale(spec: &NodeSpec) -> Result<Box<dyn Kernel>, Vec<SpecProblem>> {
    let mut problems = Vec::new();
    if !spec
        .parameters
        .get("factor")
        .is_some_and(|factor| factor.is_number())
    {
        problems.push(
            SpecProblem::new("parameters.factor", "expected a number")
                .with_hint("add `factor: 2.0`"),
        );
    }
    if spec.inputs[0].shape != spec.outputs[0].shape {
        problems.push(SpecProblem::new(
            "output",
            format!(
                "expected the input's shape {:?}, found {:?}",
                spec.inputs[0].shape, spec.outputs[0].shape
            ),
        ));
    }
    or_built(problems, Box::new(Built))
}

fn registry() -> Registry {
    const PARAMETERS: &[ParameterDoc] = &[
        ParameterDoc {
            name: "factor",
            doc: "of scale",
        },
        ParameterDoc {
            name: "complain",
            doc: "of the others",
        },
    ];
    let define = |kind, builder| Definition {
        kind,
        summary: "for tests",
        parameters: PARAMETERS,
        builder,
        infer: None,
        warn: None,
    };
    Registry::empty().with(&[
        define("cpu.scale", NodeBuilder::Kernel(build_scale)),
        define("cpu.copy", NodeBuilder::Kernel(build_kernel)),
        define("cpu.custom_operation", NodeBuilder::Kernel(build_kernel)),
        define("example.own", NodeBuilder::Kernel(build_kernel)),
        define("example.camera", NodeBuilder::Source(build_source)),
        define("null.sink", NodeBuilder::Sink(build_sink)),
    ])
}

fn load(document: &str) -> PipelineConfig {
    PipelineConfig::from_yaml_str(document, Path::new(DOCUMENT_NAME))
        .unwrap_or_else(|problems| panic!("{problems}"))
}

fn problems_of(document: &str) -> Vec<Diagnostic> {
    validate(&load(document), &registry())
}

fn everything_about(document: &str) -> Vec<Diagnostic> {
    let reading = PipelineConfig::read_yaml_str(document, Path::new(DOCUMENT_NAME));
    config::check(&reading, &registry())
}

#[test]
fn kinds() {
    check("validation/kinds.txt", problems_of);
}

#[test]
fn warnings() {
    check("validation/warnings.txt", everything_about);
}

/// What is only odd does not keep a pipeline from being built, and is there for who asks.
#[test]
fn a_configuration_knows_its_warnings() {
    let config = load(
        "
shared_memory:
  - {name: a, shape: [\"4\"], dtype: float32}
  - {name: b, shape: [4]}
kernels: [{name: k, kind: example.own, input: a, output: b, parameters: {complan: []}}]
",
    );
    assert_eq!(config.streams[0].shape, [4]);
    assert_eq!(validate(&config, &registry()), []);
    let found = config::warnings(&config, &registry());
    let paths: Vec<&str> = found.iter().map(|warning| warning.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "shared_memory[0].shape[0]",
            "shared_memory[1]",
            "kernels[0].parameters.complan",
        ]
    );
    assert!(
        found
            .iter()
            .all(|warning| !warning.is_error() && warning.line.is_some())
    );
    assert_eq!(config.warnings, found[..2], "those of reading");
    // What is written is clean.
    let written = PipelineConfig::from_json(&config.to_json(), Path::new("/"));
    assert_eq!(written.expect("valid").warnings, []);
}

/// What a kind finds odd about streams that fit it stands at them.
#[test]
fn kinds_warn_of_what_fits_but_is_hardly_meant() {
    let cuts_off = Definition {
        kind: "example.own",
        summary: "for tests",
        parameters: &[],
        builder: NodeBuilder::Kernel(build_kernel),
        infer: None,
        warn: Some(|spec| {
            let output = &spec.outputs[0];
            let is_whole = output.dtype == DType::Int32;
            let message = format!("{:?} cuts fractions off", output.name);
            is_whole
                .then(|| SpecProblem::new("output", message))
                .into_iter()
                .collect()
        }),
    };
    let registry = Registry::empty().with(&[cuts_off]);
    let of = |dtype: &str| {
        let config = load(&format!(
            "shared_memory: [{{name: a, shape: [4], dtype: {dtype}}}, {{name: b, shape: [4], dtype: {dtype}}}]
kernels: [{{name: k, kind: example.own, input: a, output: b}}]"
        ));
        config::warnings(&config, &registry)
    };
    assert_eq!(of("float32"), []);
    let found = of("int32");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].path, "kernels[0].output");
    assert!(!found[0].is_error());
    assert_eq!(found[0].message, "kernel 'k': \"b\" cuts fractions off");
}

#[test]
fn gpu_streams() {
    check("validation/gpu_streams.txt", problems_of);
}

#[test]
fn producers() {
    check("validation/producers.txt", problems_of);
}

#[test]
fn places() {
    check("validation/places.txt", problems_of);
}

#[test]
fn initial_files() {
    check("validation/initial_files.txt", problems_of);
}

#[test]
fn a_file_of_initial_contents_fits_its_stream() {
    let folder = tempfile::tempdir().expect("a folder");
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }";
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(header.len()).expect("short").to_le_bytes());
    bytes.extend(header.bytes().chain(0..6));
    fs::write(folder.path().join("dark.npy"), bytes).expect("writable");
    let problems_with = |shape: &str, dtype: &str| -> Vec<String> {
        let document = format!(
            "
shared_memory:
  - {{name: s, shape: {shape}, dtype: {dtype}, initial: {{pattern: file, path: dark.npy}}}}
sinks: [{{name: k, kind: null.sink, stream: s}}]
"
        );
        let path = folder.path().join(DOCUMENT_NAME);
        let config = PipelineConfig::from_yaml_str(&document, &path)
            .unwrap_or_else(|problems| panic!("{problems}"));
        let problems = validate(&config, &registry());
        problems.iter().map(ToString::to_string).collect()
    };
    let no_problem: [&str; 0] = [];
    assert_eq!(problems_with("[2, 3]", "uint8"), no_problem);
    let folder = folder.path().display();
    assert_eq!(
        problems_with("[3, 2]", "int16"),
        [format!(
            "{folder}/p.yaml:3:75: shared_memory[0].initial.path: shared memory 's': \
             {folder}/dark.npy holds [2, 3] of uint8, the stream needs [3, 2] of int16"
        )]
    );
}

#[test]
fn without_a_text_problems_have_paths_only() {
    let document = serde_json::json!({
        "shared_memory": [{"name": "a", "shape": [4]}, {"name": "b", "shape": [5]}],
        "kernels": [{"name": "k", "kind": "cpu.scale", "inputs": ["a"], "output": "b"}],
    });
    let config = PipelineConfig::from_json(&document, Path::new("/")).expect("well-formed");
    let found: Vec<String> = validate(&config, &registry())
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        found,
        [
            "kernels[0].parameters.factor: kernel 'k': expected a number (hint: add `factor: 2.0`)",
            "kernels[0].output: kernel 'k': expected the input's shape [4], found [5]",
        ]
    );
}

/// The document's rules hold for what a program puts together.
#[test]
fn a_configuration_made_by_a_program_is_checked_in_full() {
    let valid = PipelineConfig {
        streams: vec![
            StreamConfig::new("a", [4], DType::Float32),
            StreamConfig::new("b", [4], DType::Float32),
        ],
        kernels: vec![KernelConfig::new("k", "cpu.copy", ["a"], ["b"])],
        ..PipelineConfig::default()
    };
    assert_eq!(validate(&valid, &registry()), []);

    let mut invalid = valid.clone();
    invalid.streams[0].shape = vec![];
    invalid.kernels[0].outputs = vec!["gone".to_owned()];
    invalid.sinks = vec![SinkConfig::new("k", "null.sink", "b")];
    let found: Vec<String> = validate(&invalid, &registry())
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        found,
        [
            "sinks[0].name: kernel, source and sink names must be unique: 'k' is already used by kernels[0]",
            "shared_memory[0].shape: 'shape' of shared memory 'a' must be a non-empty list of positive \
             integers, one per axis, found an empty list",
            "kernels[0].output: kernel 'k' references undefined shared memory: gone (hint: declare it \
             under `shared_memory`)",
        ]
    );
    assert_eq!(
        node_spec(&invalid, NodeConfig::Kernel(&invalid.kernels[0])),
        Err(UndefinedStream {
            noun: "kernel",
            node: "k".to_owned(),
            stream: "gone".to_owned(),
        })
    );
}

#[test]
fn a_node_is_built_from_everything_its_entry_says() {
    let config = load(
        "
shared_memory:
  - {name: a, shape: [4], dtype: float32}
  - {name: b, shape: [2, 3], dtype: int8}
  - {name: c, shape: [5]}
  - {name: d, shape: [6]}
kernels:
  - name: k
    kind: cpu.custom_operation
    inputs: [a, c]
    output: b
    auxiliary: {z: d}
    operation: input + z
    parameters: {factor: 2}
sources: [{name: s, kind: example.camera, stream: a}]
sinks: [{name: t, kind: null.sink, stream: b, outputs: [c]}]
",
    );
    let spec =
        |node| serde_json::to_value(node_spec(&config, node).expect("declared")).expect("JSON");
    let (a, b, c) = (
        serde_json::json!({"name": "a", "dtype": "float32", "shape": [4]}),
        serde_json::json!({"name": "b", "dtype": "int8", "shape": [2, 3]}),
        serde_json::json!({"name": "c", "dtype": "float64", "shape": [5]}),
    );
    assert_eq!(
        spec(NodeConfig::Kernel(&config.kernels[0])),
        serde_json::json!({
            "name": "k",
            "kind": "cpu.custom_operation",
            "inputs": [a, c],
            "auxiliary": [
                {"alias": "z", "stream": {"name": "d", "dtype": "float64", "shape": [6]}},
            ],
            "any_trigger": false,
            "outputs": [b],
            "operation": "input + z",
            "parameters": {"factor": 2},
            "base_dir": "",
        })
    );
    let source = spec(NodeConfig::Source(&config.sources[0]));
    assert_eq!(source["inputs"], serde_json::json!([]));
    assert_eq!(source["outputs"], serde_json::json!([a]));
    let sink = spec(NodeConfig::Sink(&config.sinks[0]));
    assert_eq!(sink["inputs"], serde_json::json!([b]));
    assert_eq!(sink["outputs"], serde_json::json!([c]));
    let roles: Vec<NodeRole> = config.nodes().map(NodeConfig::role).collect();
    assert_eq!(roles, [NodeRole::Source, NodeRole::Kernel, NodeRole::Sink]);
}
