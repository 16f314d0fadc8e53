"""Configurations put together from records, and the graph they describe."""

import dataclasses
import pickle

import numpy as np
import pytest

import thalweg as shmpipeline
from thalweg import (
    KernelConfig,
    PipelineConfig,
    PipelineGraph,
    SharedMemoryConfig,
    SinkConfig,
    SourceConfig,
)
from thalweg.config import AuxiliaryBinding, SynchronizationConfig
from thalweg.errors import ConfigValidationError
from thalweg.graph import GraphEdge, validate_pipeline_config

pytestmark = pytest.mark.cpu


def kernel(**changes):
    fields = {"name": "stage", "kind": "cpu.copy", "input": "a", "output": "b", **changes}
    return KernelConfig(**fields)


def streams(*names):
    return tuple(SharedMemoryConfig(name, (4,), "float32") for name in names)


# Records


def test_a_stream_by_position():
    stream = SharedMemoryConfig(
        "s",
        [2, np.int64(3)],
        np.float32,
        "CPU",
        None,
        False,
        True,
        "Replace",
        {"pattern": "constant", "value": 1},
        "lab",
    )
    assert (stream.name, stream.shape, stream.dtype) == ("s", (2, 3), np.dtype("float32"))
    assert (stream.storage, stream.mode, stream.notify) == ("cpu", "replace", True)
    assert stream.cpu_mirror is False
    assert stream.resource_name == "lab.s"
    assert dataclasses.replace(stream, namespace=None).resource_name == "s"
    with pytest.raises(dataclasses.FrozenInstanceError):
        stream.name = "t"


def test_complex_values_are_values():
    stream = SharedMemoryConfig(
        "s", (1,), "complex64", initial={"pattern": "constant", "value": 1 + 2j}
    )
    with shmpipeline.PipelineManager(
        PipelineConfig((stream, *streams("a", "b")), (kernel(),))
    ) as manager:
        manager.build()
        assert manager.get_stream("s").read().tolist() == [1 + 2j]


def test_a_kernel_by_position():
    stage = KernelConfig(
        "k", "cpu.scale", "a", "b", ("c",), None, {"factor": 2}, 0.5, 0.1, 1e-4, ("b", "d"),
        ("a", "e"), "all_new", SynchronizationConfig("matching_frame_id", max_wait_s=0.1), True,
    )  # fmt: skip
    assert stage.trigger_inputs == ("a", "e")
    assert stage.all_inputs == ("a", "e", "c")
    assert stage.all_outputs == ("b", "d")
    assert stage.auxiliary == (AuxiliaryBinding("c", "c"),)
    assert stage.requires_matching_frame_id and stage.tracks_frame_id
    assert stage.synchronization.max_wait_s == 0.1
    assert (stage.read_timeout, stage.pause_sleep, stage.poll_interval) == (0.5, 0.1, 1e-4)


def test_sources_and_sinks_by_position():
    source = SourceConfig("s", "synthetic.array", "a", ("x",), {"seed": 1}, 0.5, 2.0, ("a", "b"))
    assert source.output_streams == ("a", "b")
    assert source.auxiliary_by_alias == {"x": "x"}
    assert (source.poll_interval, source.read_timeout) == (0.5, 2.0)
    sink = SinkConfig("s", "null.sink", "a", {"alias": "x"}, {}, 0.5, 0.1, 3.0, ("b",))
    assert sink.output_streams == ("b",)
    assert sink.auxiliary_by_alias == {"alias": "x"}
    assert (sink.read_timeout, sink.pause_sleep, sink.consume_timeout) == (0.5, 0.1, 3.0)


def test_one_stream_is_all_streams_unless_there_are_more():
    stage = kernel()
    assert (stage.inputs, stage.outputs, stage.trigger_policy) == (("a",), ("b",), "any_new")
    assert not stage.tracks_frame_id and stage.synchronization is None
    changed = dataclasses.replace(stage, input="x")
    assert (changed.input, changed.inputs) == ("x", ("x",))
    changed = dataclasses.replace(stage, inputs=("x", "y"))
    assert (changed.input, changed.inputs, changed.trigger_policy) == ("x", ("x", "y"), "all_new")
    assert dataclasses.replace(changed, inputs=("z",)).trigger_policy == "any_new"
    explicit = dataclasses.replace(changed, trigger_policy="any_new")
    assert dataclasses.replace(explicit, parameters={"x": 1}).trigger_policy == "any_new"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: kernel(output="a"), "same shared memory for both input and output"),
        (lambda: kernel(outputs=("b", "b")), "same output stream"),
        (lambda: kernel(read_timeout=0), "read_timeout"),
        (lambda: kernel(read_timeout=float("nan")), "not JSON compliant"),
        (lambda: kernel(propagate_frame_id="false"), "propagate_frame_id"),
        (lambda: kernel(auxiliary=("a",)), "trigger"),
        (lambda: kernel(auxiliary={"x": "c", "y": "c"}), "auxiliary"),
        (
            lambda: kernel(auxiliary=(AuxiliaryBinding("x", "c"), AuxiliaryBinding("x", "d"))),
            "same auxiliary alias more than once: x",
        ),
        (
            lambda: kernel(
                inputs=("a", "c"),
                trigger_policy="any_new",
                synchronization={"mode": "matching_frame_id"},
            ),
            "requires trigger_policy",
        ),
        (lambda: kernel(name=" "), "name"),
        (
            lambda: KernelConfig.from_dict({"name": "k", "kind": "x", "output": "b"}),
            "either 'input'",
        ),
        (
            lambda: KernelConfig.from_dict(
                {"name": "k", "kind": "x", "input": "a", "inputs": ["a"], "output": "b"}
            ),
            "either 'input' or 'inputs'",
        ),
        (
            lambda: KernelConfig.from_dict(
                {"name": "k", "kind": "x", "input": "a", "output": "b", "colour": 1}
            ),
            "contains unsupported fields",
        ),
        (lambda: SharedMemoryConfig("s", (0,), "float32"), "shape"),
        (lambda: SharedMemoryConfig("s", (2.9,), "float32"), "positive integer"),
        (lambda: SharedMemoryConfig("s", (4,), "object"), "dtype"),
        (lambda: SharedMemoryConfig("s", (4,), np.dtype("U3")), "dtype"),
        (lambda: SharedMemoryConfig("s", (4,), object()), "dtype"),
        (lambda: SharedMemoryConfig("s", (4,), "float32", mode="maybe"), "mode"),
        (lambda: SharedMemoryConfig("s", (4,), "float32", "gpu"), "gpu_device"),
        (lambda: SourceConfig("s", "k", "a", poll_interval=-1), "poll_interval"),
        (lambda: SinkConfig("s", "k", "a", consume_timeout=0), "consume_timeout"),
    ],
)
def test_records_check_themselves(make, text):
    with pytest.raises(ConfigValidationError, match=text):
        make()


def test_identity_needs_two_axes():
    with pytest.raises(ConfigValidationError, match=r"identity.*2-?D|two axes|2 axes"):
        SharedMemoryConfig("s", (4,), "float32", initial={"pattern": "identity"})


def test_a_pipeline_from_records():
    config = PipelineConfig(streams("a", "b"), [kernel()])
    assert config == PipelineConfig.from_dict(config.to_dict())
    assert config.kernels == (kernel(),)
    assert config.shared_memory_by_name["a"].shape == (4,)
    assert config.base_path.is_absolute() and config.source_path is None
    assert validate_pipeline_config(config) == []
    with pytest.raises(ConfigValidationError, match="undefined shared memory: missing"):
        dataclasses.replace(config, kernels=(kernel(output="missing"),))
    with pytest.raises(ConfigValidationError, match="absolute"):
        PipelineConfig(streams("a", "b"), (kernel(),), base_path="folder")
    changed = dataclasses.replace(config, sinks=(SinkConfig("end", "null.sink", "b"),))
    assert changed != config and changed.sinks[0].name == "end"


def test_paths_are_no_part_of_what_a_configuration_says(tmp_path):
    path = tmp_path / "pipeline.yaml"
    path.write_text(
        "shared_memory:\n- {name: a, shape: [4], dtype: float32}\n"
        "- {name: b, shape: [4], dtype: float32}\n"
        "kernels:\n- {name: stage, kind: cpu.copy, input: a, output: b}\n"
    )
    config = PipelineConfig.from_yaml(path)
    assert config == PipelineConfig(streams("a", "b"), (kernel(),))
    assert "path" not in str(config.to_dict())
    assert dataclasses.replace(config, namespace="lab").source_path == path


def test_configurations_can_be_pickled():
    config = PipelineConfig(streams("a", "b"), (kernel(parameters={"x": [1]}),), namespace="lab")
    copy = pickle.loads(pickle.dumps(config))
    assert copy == config and copy.namespace == "lab"
    assert pickle.loads(pickle.dumps(config.kernels[0])) == config.kernels[0]


def test_parameters_that_are_changed_in_place_count():
    raw = {
        "shared_memory": [{"name": n, "shape": [1], "dtype": "float64"} for n in "ab"],
        "kernels": [
            {
                "name": "k",
                "kind": "cpu.scale",
                "input": "a",
                "output": "b",
                "parameters": {"factor": 2},
            }
        ],
    }
    config = PipelineConfig.from_dict(raw)
    config.kernels[0].parameters["factor"] = 5
    assert config.to_dict()["kernels"][0]["parameters"] == {"factor": 5}
    with shmpipeline.PipelineManager(config) as manager:
        manager.build()
        manager.start()
        manager.get_stream("a").write([1.0])
        assert manager.get_stream("b").read_new(timeout=30)[0] == 5


# Namespaces (W6)


def test_w6_a_namespace_is_kept_wherever_a_configuration_goes(tmp_path):
    path = tmp_path / "pipeline.yaml"
    path.write_text(
        "namespace: lab\nshared_memory:\n- {name: a, shape: [4], dtype: float32}\n"
        "- {name: b, shape: [4], dtype: float32}\n"
        "kernels:\n- {name: stage, kind: cpu.copy, input: a, output: b}\n"
    )
    config = PipelineConfig.from_yaml(path)
    assert config.namespace == "lab"
    assert [stream.resource_name for stream in config.shared_memory] == ["lab.a", "lab.b"]
    assert config.to_dict()["namespace"] == "lab"
    assert shmpipeline.document.config_to_document(config)["namespace"] == "lab"
    again = dataclasses.replace(config, kernels=config.kernels)
    assert again.namespace == "lab" == again.shared_memory[0].namespace
    inherited = PipelineConfig(config.shared_memory, config.kernels)
    assert inherited.namespace == "lab"
    with pytest.raises(ConfigValidationError, match="one namespace"):
        other = dataclasses.replace(config.shared_memory[1], namespace="other")
        PipelineConfig((config.shared_memory[0], other), config.kernels)


# Graph


@pytest.fixture
def loop():
    return PipelineConfig.from_dict(
        {
            "shared_memory": [
                {"name": name, "shape": [4], "dtype": "float32"}
                for name in ("raw", "dark", "clean", "out", "spare")
            ],
            "sources": [
                {"name": "camera", "kind": "synthetic.array", "stream": "raw"},
            ],
            "kernels": [
                {
                    "name": "clean_up",
                    "kind": "cpu.custom_operation",
                    "operation": "input - dark",
                    "input": "raw",
                    "output": "clean",
                    "auxiliary": ["dark"],
                },
                {
                    "name": "double",
                    "kind": "cpu.scale",
                    "input": "clean",
                    "output": "out",
                    "parameters": {"factor": 2.0},
                },
            ],
            "sinks": [{"name": "end", "kind": "null.sink", "stream": "out"}],
        }
    )


def test_who_feeds_whom(loop):
    graph = PipelineGraph.from_config(loop)
    assert graph.config is loop
    assert graph.source_streams() == ("dark", "raw")
    assert graph.sink_streams() == ("out",)
    assert graph.orphaned_streams() == ("spare",)
    assert graph.upstream_kernels("double") == ("clean_up",)
    assert graph.downstream_kernels("clean_up") == ("double",)
    assert graph.downstream_kernels("double") == ()
    with pytest.raises(KeyError):
        graph.upstream_kernels("nobody")
    assert graph.edges[0] == GraphEdge("camera", "raw", "source", "raw")
    assert graph.edges[2] == GraphEdge("dark", "clean_up", "auxiliary:dark", "dark")
    assert graph.validation_errors() == []
    graph.raise_for_errors()


def test_the_graph_in_words_and_as_values(loop):
    graph = PipelineGraph(loop)
    text = graph.describe()
    assert text.startswith("Pipeline Graph")
    for section in ("Shared Memory:", "Sources:", "Kernels:", "Sinks:", "Orphaned Shared Memory:"):
        assert section in text
    values = graph.to_dict()
    assert values["source_streams"] == ("dark", "raw")
    assert isinstance(values["sink_streams"], tuple)
    assert isinstance(values["orphaned_streams"], tuple)
    assert values["kernels"][0]["upstream_kernels"] == ()
    assert values["kernels"][0]["auxiliary"] == {"dark": "dark"}
    assert values["shared_memory"][0]["role"] == "source"
    assert values["edges"][0]["role"] == "source"


def test_several_producers_are_told_with_their_roles(loop):
    twice = dataclasses.replace(
        loop, kernels=(*loop.kernels, dataclasses.replace(loop.kernels[1], name="again"))
    )
    graph = PipelineGraph.from_config(twice)
    assert any("multiple producer kernels" in error for error in graph.validation_errors())
    with pytest.raises(ConfigValidationError, match="multiple producer kernels"):
        graph.raise_for_errors()
    assert "Validation Errors:" in graph.describe()
    mixed = dataclasses.replace(
        loop, sources=(*loop.sources, SourceConfig("other", "synthetic.array", "out"))
    )
    assert any("multiple producers" in error for error in validate_pipeline_config(mixed))


def test_everything_that_is_wrong_is_told(loop):
    wrong = dataclasses.replace(
        loop,
        kernels=(
            dataclasses.replace(loop.kernels[0], operation="input - lamp"),
            dataclasses.replace(loop.kernels[1], kind="cpu.scal"),
        ),
        sinks=(SinkConfig("end", "nul.sink", "out"),),
    )
    errors = validate_pipeline_config(wrong)
    assert len(errors) == 3
    assert "lamp" in errors[0] and "unknown kernel kind: 'cpu.scal'" in errors[1]
    assert "nul.sink" in errors[2]


def test_gpu_kinds_are_no_unknown_kinds(loop):
    wrong = dataclasses.replace(
        loop, kernels=(dataclasses.replace(loop.kernels[1], kind="gpu.scale", input="raw"),)
    )
    [error] = validate_pipeline_config(wrong)
    assert "this build has no GPU streams" in error and "unknown" not in error
