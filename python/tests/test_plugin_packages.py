"""Packages that bring kinds of their own, and the `thalweg` command that finds them."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from thalweg._find import find_binary

pytestmark = pytest.mark.cpu

EXAMPLE = Path(__file__).parents[2] / "examples" / "source_sink_plugins"


def install(package, target):
    """Put a package where Python finds it, as pip would, from its `pyproject.toml`."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    shutil.copytree(package / "src", target, dirs_exist_ok=True)
    name = project["name"].replace("-", "_")
    about = target / f"{name}-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    groups = project["entry-points"].items()
    (about / "entry_points.txt").write_text(
        "\n".join(
            f"[{group}]\n" + "".join(f"{kind} = {where}\n" for kind, where in entries.items())
            for group, entries in groups
        )
    )


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The example package, installed for interpreters that are started from now on."""
    target = tmp_path / "packages"
    target.mkdir()
    install(EXAMPLE, target)
    before = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(target), *([before] if before else [])])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("THALWEG_PYTHON", sys.executable)
    return target


@pytest.fixture
def pipeline(tmp_path):
    path = tmp_path / "pipeline.yaml"
    path.write_text((EXAMPLE / "pipeline.yaml").read_text())
    return path


def command(*words, timeout_s=120):
    return subprocess.run(
        [find_binary(), *map(str, words)], capture_output=True, text=True, timeout=timeout_s
    )


@pytest.mark.parametrize("process", ["manager", "own"])
def test_the_example(installed, process):
    script = EXAMPLE / "run_example.py"
    done = subprocess.run(
        [sys.executable, str(script), "--timeout", "60", "--process", process],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "every one half of the camera's" in done.stdout


def test_the_example_says_what_is_missing():
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / "run_example.py")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "example.simulated_camera" in done.stderr
    assert "have to be installed" in done.stderr


def test_the_command_runs_plugins(installed, pipeline):
    done = command("run", pipeline, "--frames", "8", "--json")
    assert done.returncode == 0, done.stderr
    status = json.loads(done.stdout)
    by_name = {node["name"]: node for node in status["nodes"]}
    assert by_name["files"]["frames"] >= 8
    assert by_name["camera"]["pid"] != by_name["files"]["pid"]
    frames = sorted((pipeline.parent / "frames").glob("*.npy"))
    assert len(frames) >= 8
    last = np.load(frames[-1])
    assert (last.shape, last.dtype) == ((64, 64), np.float32)


def test_the_command_lists_and_accepts_kinds_of_plugins(installed, pipeline):
    listed = command("sources")
    assert listed.returncode == 0
    assert "example.simulated_camera" in listed.stdout.splitlines()
    assert "example.npy_frame_sink" in command("sinks").stdout.splitlines()
    assert "example.npy_frame_sink" not in command("kinds").stdout
    for words in (("sources", "--long"), ("sources", "example.simulated_camera")):
        assert "thalweg-example-plugins 0.1.0" in command(*words).stdout
    assert command("validate", pipeline).returncode == 0


def test_the_command_tells_what_plugins_refuse(installed, pipeline):
    text = pipeline.read_text().replace("rate_hz: 50.0", "rate_hz: fast")
    pipeline.write_text(text)
    line = next(number for number, line in enumerate(text.splitlines(), 1) if "simulated_camera" in line)
    for verb in ("validate", "run"):
        done = command(verb, pipeline)
        assert done.returncode == 1
        told = done.stdout + done.stderr
        assert f"pipeline.yaml:{line}:" in told
        assert "'rate_hz' has to be a positive number, got 'fast'" in told


def test_a_broken_package_is_named(installed, pipeline):
    (installed / "example_plugins" / "__init__.py").write_text("import missing_dependency\n")
    done = command("validate", pipeline)
    assert done.returncode == 1
    assert "the plugin of kind 'example.simulated_camera' cannot be used" in done.stdout
    assert "No module named 'missing_dependency'" in done.stdout
    listed = command("sources", "--long")
    assert listed.returncode == 0
    assert "cannot be loaded: ModuleNotFoundError" in listed.stdout


def test_an_interpreter_that_does_not_work_is_named(pipeline, monkeypatch):
    monkeypatch.setenv("THALWEG_PYTHON", "/nowhere/python")
    done = command("validate", pipeline)
    assert done.returncode == 1
    assert "THALWEG_PYTHON names `/nowhere/python`, which is not a file" in done.stdout
    assert "unknown source kind 'example.simulated_camera'" in done.stdout


def test_no_interpreter_is_started_without_need(tmp_path, monkeypatch):
    trap = tmp_path / "python"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexit 1\n")
    trap.chmod(0o755)
    monkeypatch.setenv("THALWEG_PYTHON", str(trap))
    path = tmp_path / "pipeline.yaml"
    path.write_text(
        "shared_memory:\n"
        "- {name: question, shape: [4], dtype: float32}\n"
        "- {name: answer, shape: [4], dtype: float32}\n"
        "kernels:\n"
        "- {name: copy, kind: cpu.copy, input: question, output: answer}\n"
    )
    assert command("validate", path).returncode == 0
    assert not (tmp_path / "started").exists()
    path.write_text(path.read_text().replace("cpu.copy", "other.copy"))
    assert command("validate", path).returncode == 1
    assert (tmp_path / "started").exists()
