"""Every code block of the page shmpipeline 1.0.1 has on the package index, restated as a test.

The calls, their arguments and their order are those of the page; only the import differs. Where the
page leaves something open (how long to run, what a plugin package is called) a test brings it
along. Names of the tests are the headings of the page.
"""

import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import thalweg
from thalweg._find import find_binary
from thalweg.cli import main

ROOT = Path(__file__).parents[2]

# The blocks and command lines of the page that need a server (or a GUI, which talks to one).
SERVER_BLOCKS = [
    "CLI: shmpipeline serve pipeline.yaml --host 127.0.0.1 --port 8765",
    "Remote Control Service: shmpipeline serve pipeline.yaml --host 0.0.0.0 --port 8765 --token "
    "change-me",
    "Remote Control Service: from shmpipeline.control import RemoteManagerClient",
    "GUI: shmpipeline-gui",
    "GUI: shmpipeline-gui path/to/pipeline.yaml",
    "GUI: shmpipeline-control-gui",
]
# Those that install something from an index, or work in a clone of that project.
INSTALL_BLOCKS = [
    "Installation Profiles: pip install shmpipeline",
    "Installation Profiles: pip install shmpipeline[gpu]",
    "Installation Profiles: pip install shmpipeline[gui]",
    "Installation Profiles: pip install shmpipeline[control]",
    "Installation Profiles: pip install -e .",
    "Installation Profiles: pip install -e .[control,gpu,gui,test,docs]",
    "GUI: pip install shmpipeline[gui]",
    "Development: pip install -e .[test]",
    "Development: pip install -e .[docs]",
    "Development: sphinx-build -W -b html docs docs/_build/html",
    "Development: pytest",
]

CONFIGURATION_EXAMPLE = """\
shared_memory:
- name: input_frame
  shape: [4]
  dtype: float32
  storage: cpu
- name: scaled_frame
  shape: [4]
  dtype: float32
  storage: cpu
kernels:
- name: scale_stage
  kind: cpu.scale
  input: input_frame
  output: scaled_frame
  parameters:
    factor: 2.0
"""

CUSTOM_OPERATIONS = """\
shared_memory:
- name: ao_wfs_image
  shape: [120, 120]
  dtype: float32
  storage: cpu
- name: ao_dark_image
  shape: [120, 120]
  dtype: float32
  storage: cpu
- name: ao_flat_image
  shape: [120, 120]
  dtype: float32
  storage: cpu
- name: ao_clean_image
  shape: [120, 120]
  dtype: float32
  storage: cpu
kernels:
- name: image_processing
  kind: cpu.custom_operation
  operation: (input - dark) / flat
  input: ao_wfs_image
  output: ao_clean_image
  auxiliary:
    dark: ao_dark_image
    flat: ao_flat_image
"""

SOURCE_AND_SINK = """\
shared_memory:
- name: camera_frame
  shape: [4]
  dtype: float32
  storage: cpu
- name: corrected_frame
  shape: [4]
  dtype: float32
  storage: cpu
sources:
- name: camera
  kind: example.camera
  stream: camera_frame
  parameters:
    device: sim-0
kernels:
- name: scale_stage
  kind: cpu.scale
  input: camera_frame
  output: corrected_frame
  parameters:
    factor: 2.0
sinks:
- name: display
  kind: example.display
  stream: corrected_frame
"""

PLUGIN_PACKAGE = """\
import numpy as np
from thalweg import Sink, Source

class DemoCamera(Source):
    kind = "example.camera"
    storage = "cpu"

    def read(self):
        return np.arange(4, dtype=np.float32)

class DemoDisplay(Sink):
    kind = "example.display"
    storage = "cpu"

    def consume(self, value):
        print(np.asarray(value))
"""

ENTRY_POINTS = """\
[project.entry-points."shmpipeline.sources"]
"example.camera" = "example_plugins:DemoCamera"

[project.entry-points."shmpipeline.sinks"]
"example.display" = "example_plugins:DemoDisplay"
"""

pytestmark = pytest.mark.cpu


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.yaml").write_text(CONFIGURATION_EXAMPLE)
    return tmp_path


def test_ao_example_command_line():
    script = ROOT / "examples/observatory_ao_system/benchmark_affine_reconstructor.py"
    words = "--rate-hz 500 --warmup 1 --duration 4".split()
    result = subprocess.run(
        [sys.executable, script, *words], capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr


def test_custom_operations(in_folder):
    from thalweg import PipelineManager

    (in_folder / "custom.yaml").write_text(CUSTOM_OPERATIONS)
    rng = np.random.default_rng(3)
    image, dark, flat = (rng.uniform(1, 9, (120, 120)).astype(np.float32) for _ in range(3))
    with PipelineManager("custom.yaml") as manager:
        manager.build()
        manager.start()
        manager.get_stream("ao_dark_image").write(dark)
        manager.get_stream("ao_flat_image").write(flat)
        manager.get_stream("ao_wfs_image").write(image)
        clean = manager.get_stream("ao_clean_image").read_new(timeout=10)
    np.testing.assert_allclose(clean, (image - dark) / flat, rtol=1e-6)


def test_configuration_example():
    from thalweg import PipelineConfig

    config = PipelineConfig.from_yaml("pipeline.yaml")
    assert [stream.name for stream in config.shared_memory] == ["input_frame", "scaled_frame"]
    assert {stream.shape for stream in config.shared_memory} == {(4,)}
    assert {stream.dtype for stream in config.shared_memory} == {np.dtype("float32")}
    assert config.kernels[0].parameters == {"factor": 2.0}


@pytest.fixture
def plugins(in_folder, monkeypatch):
    """The plugin package of the page, importable."""
    (in_folder / "example_plugins.py").write_text(PLUGIN_PACKAGE)
    (in_folder / "pipeline.yaml").write_text(SOURCE_AND_SINK)
    monkeypatch.syspath_prepend(in_folder)
    yield in_folder
    sys.modules.pop("example_plugins", None)


def test_source_and_sink_plugins_registered_programmatically(plugins, capfd):
    from example_plugins import DemoCamera, DemoDisplay

    from thalweg import PipelineManager, get_default_registry

    registry = get_default_registry().extended(
        sources=(DemoCamera,),
        sinks=(DemoDisplay,),
    )
    manager = PipelineManager("pipeline.yaml", registry=registry)

    manager.build()
    manager.start()
    corrected = manager.get_stream("corrected_frame").read_new(timeout=10)
    shown = manager.sink_status
    while shown()["display"]["frames_consumed"] == 0:
        manager.raise_if_failed()
    manager.stop()
    manager.shutdown()
    assert corrected.tolist() == [0, 2, 4, 6]
    assert "[0. 2. 4. 6.]" in capfd.readouterr().out


def installed(folder, entries):
    """A package of the page, installed as pip leaves it."""
    information = folder / "example_plugins-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: example-plugins\nVersion: 1.0\n"
    )
    groups = tomllib.loads(entries)["project"]["entry-points"]
    lines = []
    for group, points in groups.items():
        lines += [f"[{group}]", *(f"{name} = {place}" for name, place in points.items()), ""]
    (information / "entry_points.txt").write_text("\n".join(lines))


RUN_INSTALLED = """
import sys, time
from thalweg import PipelineManager, get_default_registry

assert "example.camera" in get_default_registry().source_kinds()
assert "example.display" in get_default_registry().sink_kinds()
with PipelineManager("pipeline.yaml") as manager:
    manager.build()
    manager.start()
    print(manager.get_stream("corrected_frame").read_new(timeout=10).tolist(), file=sys.stderr)
"""


@pytest.mark.parametrize("prefix", ["shmpipeline", "thalweg"])
def test_source_and_sink_plugins_exposed_through_entry_points(plugins, prefix):
    entries = ENTRY_POINTS.replace("shmpipeline", prefix)
    if prefix == "shmpipeline":
        # What thalweg-compat says.
        compat = tomllib.loads((ROOT / "python/compat/pyproject.toml").read_text())
        groups = compat["project"]["entry-points"]["thalweg.plugin_groups"]
        entries += '\n[project.entry-points."thalweg.plugin_groups"]\n' + "".join(
            f'"{name}" = "{place}"\n' for name, place in groups.items()
        )
    installed(plugins, entries)
    path = os.pathsep.join(filter(None, [str(plugins), os.environ.get("PYTHONPATH")]))
    result = subprocess.run(
        [sys.executable, "-c", RUN_INSTALLED],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr.strip() == "[0.0, 2.0, 4.0, 6.0]"


def test_quick_start():
    import numpy as np

    from thalweg import PipelineConfig, PipelineManager

    config = PipelineConfig.from_yaml("pipeline.yaml")
    manager = PipelineManager(config)
    manager.build()
    manager.start()
    manager.get_stream("input_frame").write(np.array([1, 2, 3, 4], dtype=np.float32))
    result = manager.get_stream("scaled_frame").read_new(timeout=2.0)
    manager.stop()
    manager.shutdown()

    assert result.tolist() == [2, 4, 6, 8]
    assert thalweg.list_streams() == []


def test_cli_validate(capfd):
    assert main("validate pipeline.yaml".split()) == 0
    printed = capfd.readouterr()
    assert "Validation passed" in printed.out + printed.err
    Path("broken.yaml").write_text("shared_memory: []\n")
    assert main("validate broken.yaml".split()) == 1
    printed = capfd.readouterr()
    assert "Validation failed" in printed.out + printed.err


def test_cli_describe(capfd):
    assert main("describe pipeline.yaml".split()) == 0
    assert "Pipeline Graph" in capfd.readouterr().out


def test_cli_describe_json(capfd):
    import json

    assert main("describe pipeline.yaml --json".split()) == 0
    graph = json.loads(capfd.readouterr().out)
    assert graph["source_streams"] == ["input_frame"]
    assert graph["sink_streams"] == ["scaled_frame"]


def test_cli_run_until_interrupted():
    process = subprocess.Popen(
        [find_binary(), *"run pipeline.yaml".split()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process, thalweg.open("input_frame", wait=30) as stream:
        with thalweg.open("scaled_frame", wait=30) as scaled:
            while scaled.count == 0:
                stream.write(np.array([1, 2, 3, 4], dtype=np.float32))
            assert scaled.read().tolist() == [2, 4, 6, 8]
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 130, errors
    assert thalweg.list_streams() == []


def test_cli_run_for_a_duration(capfd):
    import json

    # The page says 5.0.
    assert main("run pipeline.yaml --duration 0.5 --json-status".split()) == 0
    status = json.loads(capfd.readouterr().out)
    assert "scale_stage" in json.dumps(status)


def test_graph_introspection(capsys):
    from thalweg import PipelineConfig, PipelineGraph

    config = PipelineConfig.from_yaml("pipeline.yaml")
    graph = PipelineGraph.from_config(config)
    print(graph.source_streams())
    print(graph.describe())

    printed = capsys.readouterr().out
    assert printed.startswith("('input_frame',)\nPipeline Graph\n")
    assert "scale_stage" in printed


def test_synthetic_inputs(capsys):
    from thalweg import PipelineConfig, PipelineManager, SyntheticInputConfig

    config = PipelineConfig.from_yaml("pipeline.yaml")
    manager = PipelineManager(config)
    manager.build()
    manager.start()
    manager.start_synthetic_input(
        SyntheticInputConfig(
            stream_name="input_frame",
            pattern="random",
            seed=7,
            rate_hz=500.0,
        )
    )
    scaled = manager.get_stream("scaled_frame").read_new(timeout=10)
    snapshot = manager.runtime_snapshot()
    print(snapshot["synthetic_sources"])
    manager.stop_synthetic_input("input_frame")
    manager.shutdown()

    assert "'input_frame'" in capsys.readouterr().out
    status = snapshot["synthetic_sources"]["input_frame"]
    assert (status["pattern"], status["requested_rate_hz"]) == ("random", 500.0)
    assert scaled.shape == (4,)


@pytest.mark.parametrize(
    "pattern", ["constant", "random", "ramp", "sine", "impulse", "checkerboard"]
)
def test_synthetic_inputs_available_patterns(pattern):
    from thalweg import PipelineManager

    with PipelineManager("pipeline.yaml") as manager:
        manager.build()
        manager.start()
        manager.start_synthetic_input({"stream_name": "input_frame", "pattern": pattern})
        assert np.isfinite(manager.get_stream("scaled_frame").read_new(timeout=10)).all()


def test_runtime_health_and_viewers():
    from thalweg import PipelineManager

    with PipelineManager("pipeline.yaml") as manager:
        manager.build()
        manager.start()
        worker = manager.runtime_snapshot()["workers"]["scale_stage"]
        assert worker["health"] == "waiting-input"
        for field in (
            "idle_s",
            "last_metric_age_s",
            "avg_exec_us",
            "jitter_us_rms",
            "throughput_hz",
        ):
            assert field in worker


CUSTOM_KERNEL = """\
import numpy as np
from thalweg import (
    Kernel,
    PipelineConfig,
    PipelineManager,
    get_default_registry,
)

class BiasCpuKernel(Kernel):
    kind = "example.bias"
    storage = "cpu"

    @classmethod
    def validate_config(cls, config, shared_memory):
        super().validate_config(config, shared_memory)
        if "bias" not in config.parameters:
            raise ValueError("example.bias requires a 'bias' parameter")

    def compute_into(self, trigger_input, output, auxiliary_inputs):
        output[...] = np.asarray(trigger_input) + float(
            self.context.config.parameters["bias"]
        )

config = PipelineConfig.from_yaml("pipeline.yaml")
registry = get_default_registry().extended(BiasCpuKernel)
manager = PipelineManager(config, registry=registry)
"""

USE_CUSTOM_KERNEL = """
if __name__ == "__main__":
    manager.build()
    manager.start()
    manager.get_stream("input_frame").write(np.array([1, 2, 3, 4], dtype=np.float32))
    print(manager.get_stream("scaled_frame").read_new(timeout=30.0).tolist())
    manager.stop()
    manager.shutdown()
"""


def biased(parameters):
    raw = CONFIGURATION_EXAMPLE.replace("cpu.scale", "example.bias")
    return raw.replace("factor: 2.0", parameters)


@pytest.mark.skipif(
    not (ROOT / "python/thalweg/worker.py").exists(), reason="no worker for kernels in Python yet"
)
def test_custom_kernel_extensions(in_folder):
    (in_folder / "pipeline.yaml").write_text(biased("bias: 0.5"))
    (in_folder / "program.py").write_text(CUSTOM_KERNEL + USE_CUSTOM_KERNEL)
    result = subprocess.run(
        [sys.executable, "program.py"], capture_output=True, text=True, timeout=120
    )
    assert (result.returncode, result.stdout) == (0, "[1.5, 2.5, 3.5, 4.5]\n"), result.stderr


def test_custom_kernel_extensions_check_their_parameters(in_folder):
    (in_folder / "pipeline.yaml").write_text(biased("other: 0.5"))
    names = {"__name__": "program"}
    exec(CUSTOM_KERNEL, names)
    with pytest.raises(ValueError, match="example.bias requires a 'bias' parameter"):
        names["manager"].build()


@pytest.mark.parametrize("block", SERVER_BLOCKS)
def test_blocks_that_need_a_server(block):
    pytest.skip("this build has no control server")


@pytest.mark.parametrize("block", INSTALL_BLOCKS)
def test_blocks_that_install(block):
    pytest.skip(
        "installs from an index or belongs to another project's clone; see the wheel's tests"
    )


def test_the_skips_are_counted():
    assert (len(SERVER_BLOCKS), len(INSTALL_BLOCKS)) == (6, 11)
    assert all(re.match(r"[A-Z].*: ", block) for block in SERVER_BLOCKS + INSTALL_BLOCKS)
