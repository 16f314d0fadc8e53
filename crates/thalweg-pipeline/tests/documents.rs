//! Whole documents: the shapes of documents people have, and the way there and back without loss.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use thalweg_kernels::Registry;
use thalweg_pipeline::config::{
    Diagnostics, EndpointProcess, KernelConfig, PipelineConfig, PipelinePlacement, Placement,
    PlacementPolicy, Restart, RestartPolicy, Scheduler, Seconds, Storage, StreamConfig, StreamMode,
    TriggerPolicy, normalize_entry, validate,
};
use thalweg_shm::{DType, WaitPolicy};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/documents")
}

fn load(name: &str) -> PipelineConfig {
    PipelineConfig::from_yaml_file(&folder().join(name))
        .unwrap_or_else(|problems| panic!("{problems}"))
}

/// Name, streams, sources, kernels, sinks.
const DOCUMENTS: [(&str, [usize; 4]); 17] = [
    ("affine_transformation.yaml", [4, 0, 1, 0]),
    ("basic_ao_system.yaml", [9, 0, 5, 0]),
    ("benchmark_120x120.yaml", [9, 0, 5, 0]),
    ("custom_operation_120x120.yaml", [4, 0, 1, 0]),
    ("custom_operations.yaml", [4, 0, 1, 0]),
    ("every_field.yaml", [12, 2, 2, 1]),
    ("gpu_affine_transformation.yaml", [4, 0, 1, 0]),
    ("gpu_basic_ao_system.yaml", [9, 0, 5, 0]),
    ("gpu_custom_operations.yaml", [4, 0, 1, 0]),
    ("observatory_ao_system.yaml", [10, 0, 5, 0]),
    ("quick_start.yaml", [2, 0, 1, 0]),
    ("smoke.yaml", [2, 0, 1, 0]),
    ("source_and_sink.yaml", [2, 1, 1, 1]),
    ("source_sink_plugins.yaml", [2, 1, 1, 1]),
    ("tomographic_pipeline_cpu.yaml", [44, 3, 3, 3]),
    ("tomographic_pipeline_gpu.yaml", [20, 3, 3, 3]),
    ("tomographic_pipeline_gpu_batched.yaml", [7, 2, 2, 2]),
];

#[test]
fn every_document_loads() {
    let count = fs::read_dir(folder()).expect("the documents").count();
    assert_eq!(count, DOCUMENTS.len(), "a document is not in the table");
    for (name, expected) in DOCUMENTS {
        let config = load(name);
        let found = [
            config.streams.len(),
            config.sources.len(),
            config.kernels.len(),
            config.sinks.len(),
        ];
        assert_eq!(found, expected, "{name}");
        assert_eq!(config.base_path, folder());
        assert_eq!(config.source_path, Some(folder().join(name)));
    }
}

/// Kinds of the documents that come from somewhere else: plug-ins.
const KINDS_OF_OTHERS: [&str; 7] = [
    "example.camera",
    "example.cameras",
    "example.display",
    "example.join",
    "example.npy_frame_sink",
    "example.simulated_camera",
    "example.writer",
];

/// Nothing is wrong with any document but what this build does not have.
#[test]
fn every_document_is_valid_as_far_as_its_kinds_are_known() {
    let registry = Registry::builtin();
    let mut kinds_of_others = BTreeSet::new();
    let mut entirely_valid = 0;
    for (name, _) in DOCUMENTS {
        let config = load(name);
        let mut expected = BTreeSet::new();
        // The first of them stands for all.
        let on_device = |stream: &StreamConfig| stream.storage == Storage::Gpu;
        if let Some(index) = config.streams.iter().position(on_device) {
            expected.insert(format!("shared_memory[{index}].storage"));
        }
        for (path, node) in config.nodes_with_paths() {
            if KINDS_OF_OTHERS.contains(&node.kind()) {
                kinds_of_others.insert(node.kind().to_owned());
                expected.insert(format!("{path}.kind"));
            }
        }
        let problems = Diagnostics(validate(&config, &registry));
        let found: BTreeSet<String> = problems.0.iter().map(|it| it.path.clone()).collect();
        assert_eq!(found, expected, "{name}:\n{problems}");
        assert_eq!(problems.0.len(), expected.len(), "{name}:\n{problems}");
        entirely_valid += usize::from(problems.0.is_empty());
    }
    assert_eq!(Vec::from_iter(kinds_of_others), KINDS_OF_OTHERS);
    assert_eq!(entirely_valid, 9);
}

#[test]
fn nothing_is_lost_on_the_way_there_and_back() {
    for (name, _) in DOCUMENTS {
        let config = load(name);
        let json = config.to_json();
        let from_json = PipelineConfig::from_json(&json, Path::new("/elsewhere"));
        let from_json = from_json.unwrap_or_else(|problems| panic!("{name}: {problems}"));
        assert_eq!(from_json, config, "{name}");
        assert_eq!(from_json.to_json(), json, "{name}");
        assert_eq!(from_json.base_path, Path::new("/elsewhere"));
        assert_eq!(from_json.source_path, None);

        let yaml = config.to_yaml().expect(name);
        let from_yaml = PipelineConfig::from_yaml_str(&yaml, Path::new("written.yaml"));
        let from_yaml = from_yaml.unwrap_or_else(|problems| panic!("{name}: {problems}\n{yaml}"));
        assert_eq!(from_yaml, config, "{name}:\n{yaml}");
        assert_eq!(from_yaml.to_json(), json, "{name}:\n{yaml}");

        let complete = config.to_json_complete();
        let from_complete = PipelineConfig::from_json(&complete, Path::new("/elsewhere"));
        let from_complete = from_complete.unwrap_or_else(|problems| panic!("{name}: {problems}"));
        assert_eq!(from_complete, config, "{name}");
        for section in ["shared_memory", "sources", "kernels", "sinks"] {
            let entries = complete[section].as_array().expect("a list");
            let brief = json.get(section).map(|entries| entries.as_array());
            for (index, entry) in entries.iter().enumerate() {
                let brief = &brief.flatten().expect("a list")[index];
                for from in [entry, brief] {
                    assert_eq!(normalize_entry(section, from).as_ref(), Ok(entry), "{name}");
                }
            }
        }
    }
}

#[test]
fn every_field_arrives() {
    let config = load("every_field.yaml");
    assert_eq!(config.namespace.as_deref(), Some("lab 1"));
    assert_eq!(config.resource_name("image"), "lab 1.image");

    let image = config.stream("image").expect("declared");
    assert_eq!(
        *image,
        StreamConfig {
            mode: StreamMode::Create,
            slots: Some(8),
            notify: Some(true),
            cpu_mirror: Some(true),
            initial: json!({"pattern": "constant", "value": 7})
                .as_object()
                .cloned(),
            ..StreamConfig::new("image", [4, 4], DType::Uint16)
        }
    );
    let on_device = config.stream("on_device").expect("declared");
    assert_eq!(on_device.storage, Storage::Gpu);
    assert_eq!(on_device.gpu_device.as_deref(), Some("cuda:1"));
    assert_eq!(on_device.mode, StreamMode::Attach);
    let noise = config.stream("noise").expect("declared");
    assert_eq!(noise.dtype, DType::Float64, "the dtype of who does not say");

    let join = &config.kernels[0];
    assert_eq!(join.inputs, ["image", "second"]);
    assert_eq!(join.outputs, ["result", "other result"]);
    let auxiliary: Vec<_> = join
        .auxiliary
        .iter()
        .map(|binding| (binding.alias.as_str(), binding.stream.as_str()))
        .collect();
    assert_eq!(
        auxiliary,
        [("z", "unit"), ("a", "limits"), ("1:30", "1:30")],
        "in declared order, which has a meaning"
    );
    assert_eq!(join.operation.as_deref(), Some("input @ z # not a comment"));
    assert_eq!(
        join.parameters["nested"]["mapping"]["deep"]["deeper"],
        json!(true)
    );
    assert_eq!(join.parameters["looks_like"][1], json!("null"));
    assert_eq!(join.parameters["numbers"][3], json!(1e-5));
    assert_eq!(join.read_timeout, Seconds::new(0.3).expect("positive"));
    assert_eq!(join.pause_sleep, Seconds::new(0.04).expect("positive"));
    assert_eq!(join.poll_interval, Seconds::new(5e-6).expect("positive"));
    assert_eq!(join.trigger_policy, TriggerPolicy::AnyNew);
    assert!(join.propagate_frame_id);
    let synchronization = join.synchronization.as_ref().expect("given");
    assert_eq!(synchronization.max_skew_generations, 3);
    assert_eq!(synchronization.max_wait, Seconds::new(0.125));
    assert_eq!(config.kernels[1].trigger_policy, TriggerPolicy::AllNew);
    assert_eq!(join.wait, WaitPolicy::Spin);
    assert_eq!(join.deadline, Seconds::new(0.002));
    assert_eq!(join.group.as_deref(), Some("one process"));
    assert_eq!(
        join.placement,
        Placement {
            cpus: Some(vec![3, 1]),
            scheduler: Scheduler::Fifo,
            priority: Some(40),
            lock_memory: true,
            strict: true,
        }
    );
    let seconds = |seconds| Seconds::new(seconds).expect("positive");
    assert_eq!(
        join.restart,
        Restart {
            policy: RestartPolicy::Always,
            backoff: seconds(0.25),
            backoff_max: seconds(20.0),
            limit: Some(7),
            window: seconds(300.0),
        }
    );
    assert_eq!(
        config.placement,
        PipelinePlacement {
            policy: PlacementPolicy::None,
            offset: 2,
        }
    );

    assert_eq!(config.sources[0].streams, ["image", "second"]);
    assert_eq!(config.sources[0].read_timeout, Seconds::new(0.25));
    let cameras = &config.sources[0];
    assert_eq!(cameras.process, Some(EndpointProcess::Own));
    assert_eq!(cameras.placement.cpus, Some(vec![5]));
    assert_eq!(cameras.restart, Restart::new(RestartPolicy::OnFailure));
    assert_eq!(config.sources[1].process, Some(EndpointProcess::Manager));
    let writer = &config.sinks[0];
    assert_eq!(writer.wait, WaitPolicy::Park);
    assert_eq!(writer.deadline, Seconds::new(0.05));
    assert_eq!(writer.process, Some(EndpointProcess::Manager));
    assert_eq!(writer.placement.scheduler, Scheduler::RoundRobin);
    assert_eq!(writer.placement.priority, Some(1), "of who does not say");
    assert_eq!(writer.restart.limit, Some(1));
    assert_eq!(config.sinks[0].outputs, ["spectrum"]);
    assert_eq!(config.sinks[0].consume_timeout, Seconds::new(1.5));
}

#[test]
fn what_is_not_given_has_its_default() {
    let config = load("smoke.yaml");
    assert_eq!(
        config.kernels,
        [KernelConfig::new("copy", "cpu.copy", ["input"], ["output"])]
    );
    let kernel = &config.kernels[0];
    assert_eq!(kernel.read_timeout.get(), 1.0);
    assert_eq!(kernel.pause_sleep.get(), 0.01);
    assert_eq!(kernel.poll_interval.get(), 1e-5);
    assert_eq!(kernel.trigger_policy, TriggerPolicy::AnyNew);
    assert!(!kernel.propagate_frame_id);
    assert_eq!(kernel.synchronization, None);
    assert_eq!(kernel.wait, WaitPolicy::Adaptive);
    assert_eq!((kernel.deadline, kernel.group.as_deref()), (None, None));
    assert_eq!(kernel.placement, Placement::default());
    assert_eq!(kernel.placement.scheduler, Scheduler::Other);
    assert_eq!(kernel.restart.policy, RestartPolicy::Never);
    assert_eq!(kernel.restart.backoff.get(), 0.1);
    assert_eq!(kernel.restart.backoff_max.get(), 5.0);
    assert_eq!(kernel.restart.limit, None);
    assert_eq!(kernel.restart.window.get(), 60.0);
    assert_eq!(config.placement.policy, PlacementPolicy::RoundRobin);
    assert_eq!(config.placement.offset, 0);
    assert_eq!(config.resource_name("input"), "input");

    let config = load("tomographic_pipeline_cpu.yaml");
    assert_eq!(config.sources[1].poll_interval.get(), 0.01);
    assert_eq!(config.sources[1].read_timeout, None);
    assert_eq!(config.sinks[0].read_timeout.get(), 1.0);
    assert_eq!(config.sinks[0].pause_sleep.get(), 0.01);
    assert_eq!(config.sinks[0].consume_timeout, None);
    let several = KernelConfig::new("join", "example.join", ["a", "b"], ["c"]);
    assert_eq!(several.trigger_policy, TriggerPolicy::AllNew);
}

#[test]
fn positions_and_paths_make_no_difference() {
    let one = load("quick_start.yaml");
    let text = fs::read_to_string(folder().join("quick_start.yaml")).expect("the document");
    let other = PipelineConfig::from_yaml_str(&format!("# moved\n{text}"), Path::new("other.yaml"));
    let other = other.unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(one, other);
    let line = |config: &PipelineConfig, path: &str| config.positions.span(path).map(|at| at.line);
    assert_eq!(line(&one, "kernels[0].parameters.factor"), Some(17));
    assert_eq!(line(&other, "kernels[0].parameters.factor"), Some(18));
    let missing = "kernels[0].parameters.absent";
    assert_eq!(line(&one, missing), line(&one, "kernels[0].parameters"));
}

#[test]
fn written_yaml_reads_well() {
    let yaml = load("quick_start.yaml").to_yaml().expect("writable");
    assert_eq!(
        yaml,
        "\
shared_memory:
- name: input_frame
  shape: [4]
  dtype: float32
- name: scaled_frame
  shape: [4]
  dtype: float32
kernels:
- name: scale_stage
  kind: cpu.scale
  input: input_frame
  output: scaled_frame
  parameters:
    factor: 2.0
"
    );
}
