"""`thalweg-compat`: programs that `import pyshmem` and the command `pyshmem`."""

import importlib
import itertools
import os
import select
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points, requires, version
from pathlib import Path

import pytest

import thalweg

pyshmem = pytest.importorskip(
    "pyshmem", reason="thalweg-compat is not installed: pip install -e python/compat"
)
main = pytest.importorskip("pyshmem._cli").main

ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.prefix, "bin", "pyshmem")

# What `import pyshmem` gave in version 1.4.0.
NAMES = [
    "GPU_SUPPORTED_DTYPES",
    "InconsistentStreamError",
    "Publication",
    "SharedMemory",
    "StaleStreamError",
    "create",
    "gpu_available",
    "list_streams",
    "locked_many",
    "open",
    "purge",
    "stat",
    "stream",
    "unlink",
    "unlink_quiet",
]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_that_of_thalweg(name):
    assert name in pyshmem.__all__
    assert getattr(pyshmem, name) is getattr(thalweg, name)


def test_whatever_else_thalweg_has_is_there_too():
    assert set(thalweg.__all__) - {"__version__"} <= set(dir(pyshmem))
    assert pyshmem.PipelineConfig is thalweg.PipelineConfig
    with pytest.raises(AttributeError, match="module 'pyshmem' has no attribute 'absent'"):
        _ = pyshmem.absent


def test_it_is_a_distribution_of_its_own_beside_thalweg():
    assert pyshmem.__version__ == version("thalweg-compat") == version("thalweg")
    assert [line.split(">=")[0] for line in requires("thalweg-compat")] == ["thalweg"]


def test_thalweg_itself_owns_no_foreign_name():
    scripts = entry_points(group="console_scripts", name="pyshmem")
    assert {script.dist.name for script in scripts} == {"thalweg-compat"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["maturin"]["python-packages"] == ["thalweg"]
    assert "scripts" not in project["project"]


def test_the_quick_start_in_two_processes(start_python):
    """The first code block of pyshmem's page; each half where its comment puts it."""
    writer_process = start_python(
        """
        import sys
        import numpy as np
        import pyshmem

        writer = pyshmem.create("demo_frame", shape=(480, 640), dtype=np.float32)
        print("created")
        for line in sys.stdin:
            writer.write(np.full((480, 640), float(line), dtype=np.float32))
            print(line.strip())
        writer.unlink()
        """
    )
    assert writer_process.stdout.readline() == "created\n"
    reader_process = start_python(
        """
        import pyshmem

        reader = pyshmem.open("demo_frame")
        print("opened", input())
        frame = reader.read()
        print(frame.shape, frame.dtype, frame.min(), frame.max())
        print("waiting")
        next_frame = reader.read_new(timeout=30.0)
        print(next_frame.shape, next_frame.min() == next_frame.max(), next_frame.max() > 1)
        """
    )
    tell(writer_process, "1")
    assert writer_process.stdout.readline() == "1\n"
    tell(reader_process, "go")
    assert reader_process.stdout.readline() == "opened go\n"
    assert reader_process.stdout.readline() == "(480, 640) float32 1.0 1.0\n"
    assert reader_process.stdout.readline() == "waiting\n"
    # Which of these comes after the wait has begun is up to the machine, so go on until one has.
    for value in itertools.count(2):
        tell(writer_process, value)
        assert writer_process.stdout.readline() == f"{value}\n"
        if select.select([reader_process.stdout], [], [], 0)[0]:
            break
    assert reader_process.stdout.readline() == "(480, 640) True True\n"
    writer_process.stdin.close()
    assert writer_process.wait(timeout=30) == 0


def tell(process, word):
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


def run_command(*arguments):
    result = subprocess.run(
        [COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    return result.returncode, result.stdout, result.stderr


def test_list():
    assert run_command("list") == (0, "", "no streams found\n")
    with pyshmem.stream("weiß", shape=(2,)), pyshmem.stream("a/b c", shape=(2,)):
        assert run_command("list") == (0, "a/b c\nweiß\n", "")


def test_unlink_takes_several_names_and_minds_none_that_is_missing():
    for name in ("stream_a", "stream_b", "kept"):
        pyshmem.create(name, shape=(2,)).close()
    printed = "unlinked 'stream_a'\nunlinked 'absent'\nunlinked 'stream_b'\n"
    assert run_command("unlink", "stream_a", "absent", "stream_b") == (0, printed, "")
    assert pyshmem.list_streams() == ["kept"]
    pyshmem.unlink("kept")


def test_an_impossible_name_is_an_error_and_no_traceback():
    code, printed, problem = run_command("unlink", "x" * 300)
    assert (code, printed) == (1, "")
    assert problem.startswith("error: ")
    assert "too long" in problem
    assert "Traceback" not in problem


def test_purge():
    assert run_command("purge") == (0, "", "no streams found\n")
    for name in ("b", "a"):
        pyshmem.create(name, shape=(2,)).close()
    assert run_command("purge") == (0, "purged 'a'\npurged 'b'\nremoved 2 stream(s)\n", "")
    assert pyshmem.list_streams() == []
    assert run_command("purge", "--include-cuda-orphans")[0] == 0


def test_purge_is_looked_up_when_it_is_called(monkeypatch, capsys):
    calls = []

    def purge(**options):
        calls.append(options)
        return ["mine"]

    monkeypatch.setattr(pyshmem, "purge", purge)
    assert main(["purge"]) == 0
    assert main(["purge", "--include-cuda-orphans"]) == 0
    assert calls == [{"include_cuda_orphans": False}, {"include_cuda_orphans": True}]
    assert capsys.readouterr().out == "purged 'mine'\nremoved 1 stream(s)\n" * 2


def test_usage():
    code, printed, problem = run_command()
    assert (code, problem) == (1, "")
    assert printed.startswith("usage: pyshmem")
    code, printed, problem = run_command("explode")
    assert (code, printed) == (2, "")
    assert "invalid choice: 'explode'" in problem
    assert run_command("unlink")[0] == 2


def test_the_command_is_installed_beside_the_interpreter():
    assert os.access(COMMAND, os.X_OK)


# shmpipeline


SHMPIPELINE = [
    "Kernel",
    "KernelConfig",
    "KernelContext",
    "KernelRegistry",
    "PipelineConfig",
    "PipelineGraph",
    "PipelineManager",
    "PipelineState",
    "SharedMemoryConfig",
    "Sink",
    "SinkConfig",
    "SinkContext",
    "Source",
    "SourceConfig",
    "SourceContext",
    "SyntheticInputConfig",
    "get_default_registry",
]
MODULES = [
    "cli",
    "config",
    "document",
    "errors",
    "graph",
    "kernel",
    "kernels",
    "kernels.cpu",
    "kernels.cpu.scale",
    "logging_utils",
    "manager",
    "registry",
    "scheduling",
    "sink",
    "sinks",
    "source",
    "sources",
    "state",
    "synthetic",
]


@pytest.fixture
def shmpipeline():
    return pytest.importorskip("shmpipeline")


@pytest.mark.parametrize("name", SHMPIPELINE)
def test_every_name_of_shmpipeline_is_that_of_thalweg(shmpipeline, name):
    assert name in shmpipeline.__all__
    assert getattr(shmpipeline, name) is getattr(thalweg, name)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_of_shmpipeline_has_the_names_of_thalweg(shmpipeline, name):
    own = importlib.import_module(f"shmpipeline.{name}")
    theirs = importlib.import_module(f"thalweg.{name}")
    assert own.__all__ == theirs.__all__
    for item in theirs.__all__:
        assert getattr(own, item) is getattr(theirs, item)


def test_every_kind_has_a_module_under_both_names(shmpipeline):
    folders = [Path(importlib.import_module(f"{name}.kernels.cpu").__file__).parent for name in
               ("thalweg", "shmpipeline")]  # fmt: skip
    names = [{path.name for path in folder.glob("*.py")} for folder in folders]
    assert names[0] == names[1]


def test_whatever_else_there_is_under_shmpipeline(shmpipeline):
    assert shmpipeline.create is thalweg.create
    assert shmpipeline.__version__ == version("thalweg-compat")
    with pytest.raises(AttributeError, match="module 'shmpipeline' has no attribute 'absent'"):
        _ = shmpipeline.absent
    with pytest.raises(ImportError):
        importlib.import_module("shmpipeline.control")


def test_programs_of_shmpipeline_run(shmpipeline, tmp_path, run_python):
    path = tmp_path / "pipeline.yaml"
    path.write_text(
        "shared_memory:\n- {name: a, shape: [4], dtype: float32}\n"
        "- {name: b, shape: [4], dtype: float32}\n"
        "kernels:\n- {name: k, kind: cpu.scale, input: a, output: b, parameters: {factor: 2}}\n"
    )
    output = run_python(
        """
        import sys
        import numpy as np
        from shmpipeline import PipelineConfig, PipelineManager
        from shmpipeline.errors import StateTransitionError
        from shmpipeline.graph import validate_pipeline_config

        config = PipelineConfig.from_yaml(sys.argv[1])
        assert validate_pipeline_config(config) == []
        with PipelineManager(config) as manager:
            try:
                manager.start()
            except StateTransitionError:
                manager.build()
            manager.start()
            manager.get_stream("a").write(np.ones(4))
            print(manager.get_stream("b").read_new(timeout=30))
        """,
        path,
    )
    assert output == "[2. 2. 2. 2.]\n"


def test_the_command_of_shmpipeline(tmp_path):
    path = tmp_path / "pipeline.yaml"
    path.write_text("shared_memory: []\n")
    for words in (["-m", "shmpipeline.cli"], ["-m", "thalweg.cli"]):
        result = subprocess.run(
            [sys.executable, *words, "validate", path],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == 1
        assert "non-empty shared_memory list" in result.stdout + result.stderr
