"""What programs look for in the messages of errors."""

import dataclasses

import pytest

from thalweg import KernelConfig, PipelineConfig, PipelineManager, SinkConfig, SourceConfig
from thalweg.errors import ConfigValidationError
from thalweg.graph import validate_pipeline_config

pytestmark = pytest.mark.cpu


def stream(name, shape=(4,), dtype="float32", **more):
    return {"name": name, "shape": list(shape), "dtype": dtype, **more}


def one(kind, streams, **kernel):
    """A configuration with one kernel from `a` to `b`."""
    entry = {"name": "k", "kind": kind, "output": "b", **kernel}
    if "inputs" not in entry:
        entry.setdefault("input", "a")
    return {"shared_memory": streams, "kernels": [entry]}


def matrices(columns=4, **parameters):
    return one(
        "cpu.affine_transform",
        [stream("a"), stream("b", (2,)), stream("m", (2, columns)), stream("o", (2,))],
        auxiliary=["m", "o"],
        parameters=parameters,
    )


def tomography(columns):
    """Eight sensors of 4x4 pixels in one cube, and a command of two."""
    streams = [
        stream("a", (8, 4, 4)),
        stream("b", (2,)),
        stream("reconstructor", (2, columns)),
        *(
            stream(name, (2,))
            for name in ("reconstructor_bias", "command_offset", "command_low", "command_high")
        ),
        stream("wfs_dark", (8, 4, 4)),
        stream("wfs_inverse_flat", (8, 4, 4)),
        stream("wfs_slope_offset", (8, 1, 1, 2)),
    ]
    names = [entry["name"] for entry in streams[2:]]
    return one("cpu.tomographic_controller", streams, auxiliary=names, trigger_policy="all_new")


CONFIGURATIONS = [
    ({"shared_memory": [stream("a")], "kernels": [{"name": "k", "kind": "x", "output": "a"}]},
     "either 'input' or 'inputs'"),
    ({"shared_memory": [stream("a")], "kernels": [{"name": "k", "kind": "x", "input": "a"}]},
     "either 'output' or"),
    ({"shared_memory": [stream("a")], "sources": [{"name": "s", "kind": "x"}]}, "either 'stream'"),
    ({"shared_memory": [stream("a", colour=1)], "sinks": []}, "contains unsupported fields"),
    (one("cpu.copy", [stream("b")], input="missing"), "undefined shared memory: missing"),
    (one("cpu.copy", [stream("b")], input="b"), "same shared memory for both input and output"),
    (one("cpu.copy", [stream("a"), stream("b")], output=None, outputs=["b", "b"]),
     "same output stream"),
    (one("cpu.copy", [stream("a"), stream("b")], read_timeout=-1), "read_timeout"),
    (one("cpu.copy", [stream("a"), stream("b")], poll_interval=0), "poll_interval"),
    ({"shared_memory": [stream("a", mode="odd")]}, "mode"),
    ({"shared_memory": [stream("a", initial={"pattern": "identity"})]}, "identity.*2-?D"),
    (one("cpu.concatenate", [stream("a"), stream("c"), stream("b", (8,))], input=None,
         inputs=["a", "c"], trigger_policy="any_new",
         synchronization={"mode": "matching_frame_id"}), "requires trigger_policy"),
]  # fmt: skip

KINDS = [
    (matrices(columns=3), "matrix columns to match input vector length"),
    (matrices(blas_threads=0), "'blas_threads' to be a positive integer"),
    (one("cpu.custom_operation", [stream("a"), stream("b")], operation="sqrt(input)"),
     "unsupported function"),
    (one("cpu.concatenate", [stream("a"), stream("b")]), "at least two"),
    (one("cpu.concatenate", [stream("a"), stream("c"), stream("b", (8,))], input=None,
         inputs=["a", "c"], trigger_policy="any_new"), "all_new"),
    (one("cpu.reduce", [stream("a"), stream("b", (1,))], parameters={"operation": "median"}),
     "unsupported reduce operation"),
    (one("cpu.reduce", [stream("a"), stream("b", (2,))]), "scalar"),
    (tomography(columns=15), "reconstructor columns"),
]  # fmt: skip


def without_nothing(raw):
    """A document without the keys that are None."""
    for entry in raw.get("kernels", []):
        for key in [key for key, value in entry.items() if value is None]:
            del entry[key]
    return raw


@pytest.mark.parametrize(("raw", "text"), CONFIGURATIONS, ids=[text for _, text in CONFIGURATIONS])
def test_configurations(raw, text):
    with pytest.raises(ConfigValidationError, match=text):
        PipelineConfig.from_dict(without_nothing(raw))


@pytest.mark.parametrize(("raw", "text"), KINDS, ids=[text for _, text in KINDS])
def test_kinds(raw, text):
    config = PipelineConfig.from_dict(without_nothing(raw))
    with pytest.raises(ConfigValidationError, match=text):
        PipelineManager(config).build()
    assert any(text in error for error in validate_pipeline_config(config))


def test_the_right_ones_are_built():
    """So that what is refused above is refused for its one fault."""
    for raw in (matrices(blas_threads=2), tomography(columns=16)):
        with PipelineManager(without_nothing(raw)) as manager:
            manager.build()


def test_endpoints_and_parameters():
    with pytest.raises(ConfigValidationError, match="consume_timeout"):
        SinkConfig("s", "null.sink", "a", consume_timeout=-1)
    with pytest.raises(ConfigValidationError, match="read_timeout"):
        SourceConfig("s", "synthetic.array", "a", read_timeout=0)
    for section, kind, parameters in (
        ("sources", "synthetic.array", {"rate_hz": 0}),
        ("sinks", "null.sink", {"device_delay_s": -1}),
    ):
        raw = {
            "shared_memory": [stream("a")],
            section: [{"name": "s", "kind": kind, "stream": "a", "parameters": parameters}],
        }
        with pytest.raises(ConfigValidationError, match=next(iter(parameters))):
            PipelineManager(raw).build()


def test_an_output_that_does_not_fit_names_the_output_stream():
    raw = one("cpu.custom_operation", [stream("a"), stream("b", (5,))], operation="input * 2")
    with pytest.raises(ConfigValidationError, match="output"):
        PipelineManager(raw).build()


def test_producers():
    config = PipelineConfig.from_dict(
        {
            "shared_memory": [stream("a"), stream("b")],
            "kernels": [{"name": "k", "kind": "cpu.copy", "input": "a", "output": "b"}],
        }
    )
    twice = (*config.kernels, KernelConfig("l", "cpu.copy", "a", "b"))
    errors = validate_pipeline_config(dataclasses.replace(config, kernels=twice))
    assert any("multiple producer kernels" in error for error in errors)
    mixed = dataclasses.replace(config, sources=(SourceConfig("s", "synthetic.array", "b"),))
    assert any("multiple producers" in error for error in validate_pipeline_config(mixed))


def test_an_empty_document_has_exactly_one_problem():
    with pytest.raises(ConfigValidationError) as failure:
        PipelineConfig.from_dict({})
    assert str(failure.value) == "pipeline config must define a non-empty shared_memory list"


def test_gpu_streams_and_kinds_give_one_problem():
    raw = {
        "shared_memory": [
            stream("a", storage="gpu", gpu_device="cuda:0"),
            stream("b", storage="gpu", gpu_device="cuda:0"),
        ],
        "kernels": [{"name": "k", "kind": "gpu.copy", "input": "a", "output": "b"}],
    }
    config = PipelineConfig.from_dict(raw)
    with pytest.raises(ConfigValidationError, match="this build has no GPU streams") as failure:
        PipelineManager(config).build()
    assert "unknown" not in str(failure.value)
