"""Every example runs as its README says, and notices numbers that are not NumPy's."""

import importlib.util
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import thalweg

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.cpu


def run_example(script, *arguments, cwd=None):
    """What a script prints."""
    result = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / script, *map(str, arguments)],
        check=False,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    return result.stdout


@pytest.fixture
def load_example(monkeypatch):
    """A script as a module, with the modules beside it; all are forgotten afterwards."""
    before = set(sys.modules)

    def load(script):
        path = EXAMPLES / script
        monkeypatch.syspath_prepend(path.parent)
        specification = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(specification)
        sys.modules[path.stem] = module
        specification.loader.exec_module(module)
        return module

    yield load
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(EXAMPLES)):
            del sys.modules[name]


@pytest.fixture
def pictures():
    """Pillow, which writes and reads pictures."""
    return pytest.importorskip("PIL.Image", reason="needs the extra `examples`: Pillow")


@pytest.fixture
def photographs(pictures):
    """The package that brings the photograph; Pillow."""
    pytest.importorskip("skimage", reason="needs the extra `examples`: scikit-image")
    return pictures


def off_by_a_little(function):
    """The same numbers and 1e-3, for arrays and dictionaries of such."""

    def changed(*arguments):
        result = function(*arguments)
        if isinstance(result, dict):
            return result | {"commands": result["commands"] + 1e-3}
        return result + 1e-3

    return changed


def test_every_example_has_a_readme_and_is_listed():
    index = (EXAMPLES.parent / "README.md").read_text()
    folders = [folder for folder in EXAMPLES.iterdir() if any(folder.glob("*.py"))]
    assert len(folders) >= 4
    for folder in folders:
        readme = (folder / "README.md").read_text()
        assert f"examples/{folder.name}" in index
        for script in set(re.findall(rf"examples/{folder.name}/([\w.]+)", readme)):
            assert (folder / script).exists(), f"README of {folder.name} names {script}"


def test_affine_transformation():
    printed = run_example("affine_transformation/run_example.py", "--vectors", 200)
    assert "200 vectors, every result agrees with NumPy" in printed
    assert re.search(r"^\d+ vectors/s", printed, re.MULTILINE)


def test_affine_transformation_notices_a_deviation(load_example, monkeypatch, capsys):
    example = load_example("affine_transformation/run_example.py")
    monkeypatch.setattr(example, "transformed", off_by_a_little(example.transformed))
    assert example.run(3, 1) == 1
    assert "vector 1, " in capsys.readouterr().err


def test_custom_operations():
    printed = run_example("custom_operations/run_example.py")
    numbers = re.findall(r"\d+\.\d*", printed)
    assert len(numbers) == 16


def test_custom_operations_notices_a_deviation(load_example, monkeypatch, capsys):
    example = load_example("custom_operations/run_example.py")
    monkeypatch.setattr(example, "calibrated", off_by_a_little(example.calibrated))
    assert example.run(1) == 1
    assert "NumPy says" in capsys.readouterr().err


def test_basic_ao_system():
    printed = run_example("basic_ao_system/run_example.py", "--frames", 100)
    assert "100 frames, every stage agrees with NumPy" in printed
    for stage in ("centroids", "corrected_centroids", "slopes", "reconstruction", "commands"):
        assert re.search(rf"^{stage} .*1e-05$", printed, re.MULTILINE)


def test_basic_ao_system_notices_a_deviation(load_example, monkeypatch, capsys):
    example = load_example("basic_ao_system/run_example.py")
    reference = example.Reference
    monkeypatch.setattr(reference, "stages", off_by_a_little(reference.stages))
    assert example.run(3, 1) == 1
    assert "frame 1, stream 'commands'" in capsys.readouterr().err


def test_basic_ao_system_benchmark(tmp_path):
    report = tmp_path / "report.json"
    printed = run_example(
        "basic_ao_system/run_benchmark.py", "--warmup", 5, "--frames", 50, "--json", report
    )
    assert "target of 2000 frames/s" in printed
    figures = json.loads(report.read_text())
    assert figures["frames"] == 50
    assert figures["largest_deviation"] < 1e-4
    assert 0 < figures["round_trip_us"]["p50"] <= figures["round_trip_us"]["p99"]
    assert len(figures["execution_us"]) == 5


def test_observatory_ao_system():
    printed = run_example("observatory_ao_system/run_example.py", "--frames", 10)
    assert "10 frames, every stage agrees with NumPy" in printed


def test_observatory_ao_system_notices_a_deviation(load_example, monkeypatch, capsys):
    example = load_example("observatory_ao_system/run_example.py")
    reference = example.Reference
    monkeypatch.setattr(reference, "stages", off_by_a_little(reference.stages))
    assert example.run(2, 1) == 1
    assert "frame 1, stream 'commands'" in capsys.readouterr().err


def test_observatory_ao_system_benchmark(tmp_path):
    report = tmp_path / "report.json"
    words = ["--rate-hz", 100, "--warmup", 0.1, "--duration", 0.5, "--json", report]
    printed = run_example("observatory_ao_system/benchmark_affine_reconstructor.py", *words)
    for title in ("writer late by", "reconstruct computes", "image to end of clip"):
        assert title in printed
    figures = json.loads(report.read_text())
    assert figures["written"] == 50
    assert 1 <= figures["emitted"] <= 50
    # What one stage did not emit, the next ones did not get: nothing is lost unaccounted.
    stages = list(figures["stages"].values())
    for before, after in itertools.pairwise(stages):
        assert after["frames"] + after["missed_inputs"] == before["frames"]
    assert stages[0]["frames"] + stages[0]["missed_inputs"] == 60  # with those that do not count
    assert figures["largest_deviation"] < 1e-4
    lateness = list(figures["lateness_us"].values())
    assert 0 <= lateness[0] and lateness == sorted(lateness)


def test_observatory_ao_system_benchmark_notices_a_deviation(load_example, monkeypatch):
    example = load_example("observatory_ao_system/benchmark_affine_reconstructor.py")
    right = example.Reference.stages
    monkeypatch.setattr(
        example.Reference,
        "stages",
        lambda *given: {name: array + 1e-3 for name, array in right(*given).items()},
    )
    with pytest.raises(ArithmeticError, match="frame 3, stream 'correction'"):
        example.measure(100, 0.01, 0.02)


def test_observatory_ao_system_showcase(pictures, tmp_path):
    words = ["--rate-hz", 100, "--duration", 0.5, "--pictures", 5, "--clip", tmp_path / "clip.gif"]
    printed = run_example("observatory_ao_system/showcase.py", *words)
    assert re.search(r"^commands: [1-9]\d* frames", printed, re.MULTILINE)
    assert re.search(r"^latency: p50 [\d.]+ ms", printed, re.MULTILINE)
    with pictures.open(tmp_path / "clip.gif") as clip:
        assert clip.n_frames == 5
        shown = []
        for number in range(clip.n_frames):
            clip.seek(number)
            shown.append(np.asarray(clip.convert("RGB")))
    # The loop moves, and commands have both signs.
    assert all((before != after).any() for before, after in itertools.pairwise(shown))
    commands = shown[-1][40:280, 570:810].astype(int)
    assert (commands[..., 0] - commands[..., 2] > 60).any()
    assert (commands[..., 2] - commands[..., 0] > 60).any()


def test_machine_vision(photographs, tmp_path):
    printed = run_example("machine_vision/run_example.py", cwd=tmp_path)
    assert re.search(
        r"^24 coins in \d+ looks, every stage agrees with NumPy", printed, re.MULTILINE
    )
    rows = re.findall(r"^ *(\d+) +([\d.]+) +([\d.]+) +\d+ +[\d.]+$", printed, re.MULTILINE)
    assert [int(number) for number, _, _ in rows] == list(range(1, 25))
    with photographs.open(tmp_path / "coins.png") as picture:
        assert picture.size == (3 * 384, 3 * 303)
        # A grey photograph, with a red cross on every coin that was found.
        for _, row, column in rows:
            place = round(3 * (float(column) + 0.5)), round(3 * (float(row) + 0.5))
            assert picture.getpixel(place) == (255, 40, 40)


def test_machine_vision_notices_a_deviation(
    photographs, load_example, monkeypatch, capsys, tmp_path
):
    example = load_example("machine_vision/run_example.py")
    right = example.reference

    def wrong(*given):
        return right(*given) | {"coin_area": right(*given)["coin_area"] * 1.001}

    monkeypatch.setattr(example, "reference", wrong)
    assert example.run(1, tmp_path / "map.png") == 1
    assert "coin 1 from (50, 50), stream 'coin_area'" in capsys.readouterr().err


def test_machine_vision_notices_a_coin_that_is_elsewhere(
    photographs, load_example, monkeypatch, capsys, tmp_path
):
    example = load_example("machine_vision/run_example.py")
    monkeypatch.setattr(example.Tray, "blobs", lambda self: [(10.0, 10.0)])
    assert example.run(1, tmp_path / "map.png") == 1
    assert "off by more than" in capsys.readouterr().err


def test_tomographic_ao_stress():
    printed = run_example("tomographic_ao_stress/run_example.py", "--frames", 20)
    assert "17 complete exposures, commands agree with NumPy" in printed
    assert "3 exposures without one image: no commands" in printed
    for stream in ("commands", "slow_tip_tilt", "fast_tip_tilt"):
        assert re.search(rf"^{stream} +largest deviation", printed, re.MULTILINE)


@pytest.mark.parametrize(
    ("controller", "method", "complaint"),
    [
        ("Tomography", "commands", "frame 1, stream 'commands'"),
        ("TipTilt", "command", "frame 1, stream 'slow_tip_tilt'"),
    ],
)
def test_tomographic_ao_stress_notices_a_deviation(
    load_example, monkeypatch, capsys, controller, method, complaint
):
    example = load_example("tomographic_ao_stress/run_example.py")
    reference = getattr(example, controller)
    monkeypatch.setattr(reference, method, off_by_a_little(getattr(reference, method)))
    assert example.run(3, 16, 8, 1) == 1
    assert complaint in capsys.readouterr().err


def test_tomographic_ao_stress_document_has_the_dimensions_it_names(tmp_path):
    printed = run_example(
        "tomographic_ao_stress/generate_calibrations.py",
        *(tmp_path, "--image-size", 16, "--actuators", 8),
    )
    assert str(tmp_path) in printed
    dimensions = json.loads((tmp_path / "expected_dimensions.json").read_text())
    document = thalweg.PipelineConfig.from_yaml(
        EXAMPLES / "tomographic_ao_stress/pipeline_cpu.yaml"
    )
    assert list(dimensions) == [stream.name for stream in document.shared_memory]
    assert dimensions["reconstructor"] == {
        "shape": [8, 256],
        "dtype": "float32",
        "bytes": 4 * 8 * 256,
    }
    files = {path.stem: np.load(path) for path in tmp_path.glob("*.npy")}
    assert len(files) == 31
    for name, array in files.items():
        assert list(array.shape) == dimensions[name]["shape"], name
        assert array.dtype == dimensions[name]["dtype"], name


def test_tomographic_ao_stress_benchmark(tmp_path):
    size = ["--image-size", 16, "--actuators", 8]
    run_example("tomographic_ao_stress/generate_calibrations.py", tmp_path / "files", *size)
    report = tmp_path / "report.json"
    printed = run_example(
        "tomographic_ao_stress/run_benchmark.py",
        *size,
        *("--rate-hz", 50, "--warmup", 0.1, "--duration", 1, "--drop-probability", 0.02),
        *("--calibrations", tmp_path / "files", "--json", report),
    )
    assert "delivery ratio" in printed
    figures = json.loads(report.read_text())
    loop = figures["tomography"]
    assert loop["exposures"] == 50
    # An exposure without an image gives no commands; how many others do is up to the machine.
    assert 1 <= loop["commands"] <= 50 - loop["incomplete_exposures"]
    assert loop["delivery_ratio"] == loop["commands"] / 50
    assert 1 <= loop["traced"] <= loop["commands"]
    assert 0 < loop["latency_us"]["p50"] <= loop["latency_us"]["max"]
    assert {"skew_events", "skipped_generations", "timeouts"} <= set(loop)
    assert {name: small["requested_hz"] for name, small in figures["tip_tilt"].items()} == {
        "slow_loop": 100,
        "fast_loop": 1000,
    }
    assert all(small["frames"] > 0 for small in figures["tip_tilt"].values())
    assert {"cpu", "cpus", "system", "numpy", "thalweg"} <= set(figures["environment"])


def test_tomographic_ao_stress_benchmark_needs_commands(load_example, monkeypatch, capsys):
    example = load_example("tomographic_ao_stress/run_benchmark.py")
    words = "--image-size 8 --actuators 4 --rate-hz 50 --warmup 0 --duration 0.2"
    monkeypatch.setattr(sys, "argv", ["", *words.split(), "--drop-probability", "1"])
    assert example.main() == 1
    assert "no commands came out" in capsys.readouterr().err
