"""Pipelines from Python: configurations, states, handles, failures, and nothing left behind."""

import gc
import json
import os
import select
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import thalweg
from thalweg import PipelineConfig, PipelineManager, PipelineState
from thalweg.errors import (
    ConfigValidationError,
    ShmPipelineError,
    StateTransitionError,
    WorkerProcessError,
)

pytestmark = pytest.mark.cpu


def stream(name, shape=(4,), dtype="float32", **more):
    return {"name": name, "shape": list(shape), "dtype": dtype, **more}


def scaling(factor=2.0, **more):
    return {
        "shared_memory": [stream("question"), stream("answer")],
        "kernels": [
            {
                "name": "scale",
                "kind": "cpu.scale",
                "input": "question",
                "output": "answer",
                "parameters": {"factor": factor},
            }
        ],
        **more,
    }


@pytest.fixture
def running():
    with PipelineManager(scaling()) as manager:
        manager.build()
        manager.start()
        yield manager


def ask(manager, value, timeout=30.0):
    manager.get_stream("question").write(np.full(4, value, np.float32))
    return manager.get_stream("answer").read_new(timeout=timeout)[0]


def until(condition):
    """Look again and again, for half a minute at most."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline


# Configurations


def test_yaml_and_dictionary_mean_the_same(tmp_path):
    path = tmp_path / "pipeline.yaml"
    path.write_text(
        "shared_memory:\n"
        "- {name: question, shape: [4], dtype: float32}\n"
        "- {name: answer, shape: [4], dtype: float32}\n"
        "kernels:\n"
        "- {name: scale, kind: cpu.scale, input: question, output: answer, parameters: {factor: 2}}\n"
    )
    from_yaml = PipelineConfig.from_yaml(str(path))
    assert from_yaml == PipelineConfig.from_yaml(path)
    assert from_yaml == PipelineConfig.from_dict(scaling(2))
    assert from_yaml == PipelineConfig.from_dict(from_yaml.to_dict())
    assert from_yaml != PipelineConfig.from_dict(scaling(3))
    assert from_yaml != "pipeline.yaml"
    assert (from_yaml.source_path, from_yaml.base_path) == (path, tmp_path)
    assert repr(str(path)) in repr(from_yaml)
    from_dict = PipelineConfig.from_dict(scaling(), base_path=tmp_path)
    assert (from_dict.source_path, from_dict.base_path) == (None, tmp_path)
    assert "question" in repr(from_dict)


def test_dictionaries_may_hold_numpy_values():
    raw = scaling(np.float64(0.1))
    raw["shared_memory"][0]["shape"] = np.array([4])
    raw["shared_memory"][1]["shape"] = (np.int32(4),)
    config = PipelineConfig.from_dict(raw)
    assert config.to_dict()["kernels"][0]["parameters"] == {"factor": 0.1}


def test_every_problem_of_a_file_is_told_with_its_line(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text(
        "shared_memory:\n"
        "- {name: question, shape: [0], dtype: float32}\n"
        "- {name: answer, shape: [4], dtype: floot32}\n"
        "kernels:\n"
        "- {name: scale, kind: cpu.scale, input: question, output: answr}\n"
        "colour: blue\n"
    )
    with pytest.raises(ConfigValidationError) as failure:
        PipelineConfig.from_yaml(path)
    message = str(failure.value)
    for line, word in [(2, "shape"), (3, "floot32"), (5, "answr"), (6, "colour")]:
        assert any(
            text.startswith(f"{path}:{line}:") and word in text for text in message.splitlines()
        ), message


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ({}, "non-empty shared_memory list"),
        ([], "pipeline config"),
        (None, "pipeline config"),
        (scaling(float("nan")), "not JSON compliant"),
        (scaling(object()), "expected numbers, texts, lists and mappings"),
        ({**scaling(), "kernels": []}, "at least one kernel"),
    ],
)
def test_problems_of_a_dictionary(raw, text):
    with pytest.raises(ConfigValidationError, match=text):
        PipelineConfig.from_dict(raw)


def test_missing_and_unreadable_files_are_errors_of_the_system(tmp_path):
    for make in (PipelineConfig.from_yaml, PipelineManager):
        with pytest.raises(FileNotFoundError, match="absent"):
            make(tmp_path / "absent.yaml")
        with pytest.raises(IsADirectoryError):
            make(tmp_path)


def test_files_that_are_no_yaml(tmp_path):
    path = tmp_path / "pipeline.yaml"
    for content in (b"shared_memory: [", b"\xff\xfe\x00", b""):
        path.write_bytes(content)
        with pytest.raises(ConfigValidationError, match=str(path)):
            PipelineConfig.from_yaml(path)


def test_kinds_are_checked_when_building():
    raw = scaling("two")
    raw["kernels"].append(
        {"name": "odd", "kind": "cpu.od", "input": "question", "output": "answer"}
    )
    manager = PipelineManager(raw)
    with pytest.raises(ConfigValidationError) as failure:
        manager.build()
    message = str(failure.value)
    assert "cpu.od" in message and "'factor' to be a number" in message
    assert manager.state == PipelineState.INITIALIZED
    assert thalweg.list_streams() == []


def test_errors_are_of_one_family():
    for error in (ConfigValidationError, StateTransitionError, WorkerProcessError):
        assert issubclass(error, ShmPipelineError)
        assert getattr(thalweg.errors, error.__name__) is error
        assert error.__module__ == "thalweg.errors"


# States


def test_states_and_what_is_possible_in_them():
    manager = PipelineManager(scaling())
    assert manager.state == "initialized"
    assert manager.state is PipelineState.INITIALIZED
    for call in (manager.start, manager.stop):
        with pytest.raises(StateTransitionError, match="pipeline that is initialized"):
            call()
    manager.build()
    assert manager.state is PipelineState.BUILT
    with pytest.raises(StateTransitionError, match="cannot build"):
        manager.build()
    manager.stop()  # nothing to do
    for value in range(3):
        manager.start()
        assert manager.state is PipelineState.RUNNING
        assert ask(manager, value) == 2 * value
        with pytest.raises(StateTransitionError, match="cannot start"):
            manager.start()
        manager.stop()
        assert manager.state is PipelineState.BUILT
    manager.shutdown()
    manager.shutdown(force=True)
    assert manager.state is PipelineState.STOPPED
    assert thalweg.list_streams() == []
    manager.build()
    manager.start()
    assert ask(manager, 5) == 10
    manager.shutdown(force=True)
    assert manager.state is PipelineState.STOPPED


def test_a_manager_shuts_down_at_the_end_of_its_block():
    with pytest.raises(ZeroDivisionError), PipelineManager(scaling()) as manager:
        manager.build()
        manager.start()
        raise ZeroDivisionError
    assert manager.state is PipelineState.STOPPED


def test_a_manager_that_is_forgotten_shuts_down():
    manager = PipelineManager(scaling())
    manager.build()
    manager.start()
    answer = manager.get_stream("answer")
    del manager
    gc.collect()
    assert thalweg.list_streams() == []
    answer.close()


def test_streams_can_be_kept():
    manager = PipelineManager(scaling())
    manager.build()
    manager.get_stream("question").write([1, 2, 3, 4])
    manager.shutdown(unlink=False)
    assert thalweg.list_streams() == ["answer", "question"]
    with thalweg.open("question") as question:
        assert question.read().tolist() == [1, 2, 3, 4]
    assert thalweg.purge() == ["answer", "question"]


def test_a_worker_that_does_not_come_up_is_an_error_and_leaves_nothing(monkeypatch):
    monkeypatch.setenv("THALWEG_BIN", "/bin/false")
    manager = PipelineManager(scaling(), worker_start_timeout=20)
    manager.build()
    with pytest.raises(WorkerProcessError, match="scale"):
        manager.start()
    assert manager.state is PipelineState.BUILT
    manager.shutdown()


def test_the_time_to_start_is_bounded(monkeypatch, tmp_path):
    sleeper = tmp_path / "sleeper"
    sleeper.write_text("#!/bin/sh\nexec sleep 3600\n")
    sleeper.chmod(0o755)
    monkeypatch.setenv("THALWEG_BIN", str(sleeper))
    with PipelineManager(scaling(), worker_start_timeout=0.2) as manager:
        manager.build()
        with pytest.raises(WorkerProcessError, match=r"0\.2 s: scale"):
            manager.start()


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf")])
def test_times_are_checked(timeout):
    with pytest.raises(ValueError, match="worker_start_timeout must be a number of seconds"):
        PipelineManager(scaling(), worker_start_timeout=timeout)


def test_a_missing_command_is_explained(monkeypatch, tmp_path):
    monkeypatch.setenv("THALWEG_BIN", str(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError, match="THALWEG_BIN"):
        PipelineManager(scaling())


# Handles


def test_a_name_has_one_handle(running):
    question = running.get_stream("question")
    assert question is running.get_stream("question")
    assert isinstance(question, thalweg.SharedMemory)
    with pytest.raises(KeyError, match="no stream 'questoin': known are 'question', 'answer'"):
        running.get_stream("questoin")


def test_there_are_no_handles_before_build_and_after_shutdown():
    manager = PipelineManager(scaling())
    with pytest.raises(KeyError, match=r"call build\(\) first"):
        manager.get_stream("question")
    manager.build()
    question = manager.get_stream("question")
    manager.shutdown()
    with pytest.raises(KeyError):
        manager.get_stream("question")
    with pytest.raises(RuntimeError, match="closed shared memory 'question'"):
        question.read()


def test_handles_of_a_pipeline_return_every_answer_once(running):
    question, answer = running.get_stream("question"), running.get_stream("answer")
    with thalweg.open("answer") as opened:
        question.write([1, 1, 1, 1])
        # Through a handle that waits for the level, so that the answer is certain to be there.
        assert opened.read_after(0, timeout=30)[0] == 2
        with pytest.raises(TimeoutError, match="a new write"):
            opened.read_new(timeout=0)
    assert answer.read_new(timeout=0)[0] == 2
    with pytest.raises(TimeoutError, match="a new write"):
        answer.read_new(timeout=0.01)
    with thalweg.open("answer") as opened:
        for value, read in [(3, answer.read), (4, lambda: answer.borrow().array)]:
            before = opened.count
            question.write(np.full(4, value))
            opened.read_after(before, timeout=30)
            assert read()[0] == 2 * value
            with pytest.raises(TimeoutError):
                answer.read_new(timeout=0)


def test_what_was_there_before_the_start_is_not_new():
    raw = scaling()
    raw["shared_memory"][1]["initial"] = {"pattern": "constant", "value": 9}
    with PipelineManager(raw) as manager:
        manager.build()
        answer = manager.get_stream("answer")
        assert answer.read().tolist() == [9, 9, 9, 9]
        with pytest.raises(TimeoutError):
            answer.read_new(timeout=0)
        manager.start()
        manager.get_stream("question").write([1, 1, 1, 1])
        with thalweg.open("answer") as opened:
            assert opened.read_after(1, timeout=30)[0] == 2
        manager.stop()
        manager.start()
        with pytest.raises(TimeoutError):
            answer.read_new(timeout=0)
        assert ask(manager, 4) == 8


def test_a_namespace_is_not_part_of_the_name():
    with PipelineManager(scaling(namespace="lab")) as manager:
        manager.build()
        manager.start()
        assert ask(manager, 4) == 8
        assert manager.get_stream("answer").name == "lab.answer"
        assert thalweg.list_streams() == ["lab.answer", "lab.question"]


# Values


def test_five_stages_against_numpy():
    """The loop of an observatory: calibrate, find the light, reconstruct, integrate, clip."""
    rng = np.random.default_rng(5)
    tiles, tile, actuators = 6, 8, 20
    side, slopes = tiles * tile, 2 * tiles * tiles
    dark, flat = rng.uniform(0, 1, (side, side)), rng.uniform(0.5, 1.5, (side, side))
    matrix, bias = rng.normal(size=(actuators, slopes)), rng.normal(size=actuators)
    raw = {
        "shared_memory": [
            *(stream(name, (side, side)) for name in ("image", "dark", "flat", "clean")),
            stream("centroids", (tiles, tiles, 2)),
            stream("slopes", (slopes,)),
            stream("matrix", (actuators, slopes)),
            *(stream(name, (actuators,)) for name in ("bias", "errors", "commands", "clipped")),
        ],
        "kernels": [
            {
                "name": "calibrate",
                "kind": "cpu.custom_operation",
                "operation": "(input - dark) / flat",
                "input": "image",
                "output": "clean",
                "auxiliary": ["dark", "flat"],
            },
            {
                "name": "centroid",
                "kind": "cpu.shack_hartmann_centroid",
                "input": "clean",
                "output": "centroids",
                "parameters": {"tile_size": tile},
            },
            {"name": "flatten", "kind": "cpu.flatten", "input": "centroids", "output": "slopes"},
            {
                "name": "reconstruct",
                "kind": "cpu.affine_transform",
                "input": "slopes",
                "output": "errors",
                "auxiliary": ["matrix", "bias"],
            },
            {
                "name": "integrate",
                "kind": "cpu.leaky_integrator",
                "input": "errors",
                "output": "commands",
                "parameters": {"leak": 0.98, "gain": 0.3},
            },
            {
                "name": "clip",
                "kind": "cpu.custom_operation",
                "operation": "clip(input, -1, 1)",
                "input": "commands",
                "output": "clipped",
            },
        ],
    }
    state = np.zeros(actuators)
    with PipelineManager(raw) as manager:
        manager.build()
        manager.start()
        for name, values in [("dark", dark), ("flat", flat), ("matrix", matrix), ("bias", bias)]:
            manager.get_stream(name).write(values)
        for frame in range(50):
            image = rng.uniform(10, 100, (side, side))
            manager.get_stream("image").write(image, frame_id=frame)
            clipped = manager.get_stream("clipped").read_new(timeout=30)

            clean = (image - dark) / flat
            light = clean.reshape(tiles, tile, tiles, tile).swapaxes(1, 2)
            offsets = np.arange(tile) - (tile - 1) / 2
            flux = light.sum(axis=(2, 3))
            rows = np.einsum("rcij,i->rc", light, offsets) / flux
            columns = np.einsum("rcij,j->rc", light, offsets) / flux
            state = 0.98 * state + 0.3 * (matrix @ np.stack([rows, columns], -1).ravel() + bias)
            np.testing.assert_allclose(clipped, np.clip(state, -1, 1), rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(
                manager.get_stream("centroids").read(), np.stack([rows, columns], -1), atol=1e-5
            )
        manager.stop()  # A frame is counted just after it was published.
        status = manager.status()
    assert [worker["frames_processed"] for worker in status["workers"].values()] == [50] * 6
    assert all(worker["missed_inputs"] == 0 for worker in status["workers"].values())


def test_parameters_reach_the_workers_bit_by_bit():
    for factor in np.random.default_rng(2).normal(size=5).tolist():
        raw = scaling(factor)
        for entry in raw["shared_memory"]:
            entry["dtype"] = "float64"
        with PipelineManager(raw) as manager:
            manager.build()
            manager.start()
            manager.get_stream("question").write(np.ones(4))
            assert manager.get_stream("answer").read_new(timeout=30)[0] == factor


# Status


def test_status_before_during_and_after(running):
    fresh = PipelineManager(scaling()).status()
    assert fresh["state"] == "initialized"
    assert fresh["workers"] == {} and fresh["failures"] == []

    assert running.status()["workers"]["scale"]["health"] == "waiting-input"
    for value in range(10):
        ask(running, value)
    until(lambda: running.status()["workers"]["scale"]["frames_processed"] == 10)
    status = running.status()
    assert status["state"] == "running"
    assert type(status["state"]) is str
    worker = status["workers"]["scale"]
    assert (worker["kind"], worker["alive"], worker["exitcode"]) == ("cpu.scale", True, None)
    assert (worker["health"], worker["frames_processed"]) == ("active", 10)
    assert worker["last_output_count"] == 10
    assert worker["missed_inputs"] == 0
    assert worker["avg_exec_us"] > 0
    assert worker["latency"]["count"] == 10
    os.kill(worker["pid"], 0)
    assert status["summary"]["workers_total"] == status["summary"]["active_workers"] == 1

    running.stop()
    worker = running.status()["workers"]["scale"]
    assert (worker["health"], worker["alive"], worker["exitcode"]) == ("stopped", False, 0)


def test_sources_and_sinks_have_a_status():
    raw = {
        "shared_memory": [stream("noise")],
        "sources": [
            {
                "name": "maker",
                "kind": "synthetic.array",
                "stream": "noise",
                "parameters": {"pattern": "constant", "constant": 3, "rate_hz": 1000},
            }
        ],
        "sinks": [{"name": "drain", "kind": "null.sink", "stream": "noise"}],
    }
    with PipelineManager(raw) as manager:
        manager.build()
        manager.start()
        noise = manager.get_stream("noise")
        for _ in range(5):
            assert noise.read_new(timeout=30).tolist() == [3, 3, 3, 3]
        until(lambda: manager.status()["sinks"]["drain"]["frames_consumed"] >= 5)
        until(lambda: manager.status()["sources"]["maker"]["frames_written"] >= 5)
        status = manager.status()
    assert status["workers"] == {}
    assert status["summary"]["active_sources"] == status["summary"]["active_sinks"] == 1


def test_a_worker_that_is_killed_fails_the_pipeline(running):
    pid = running.status()["workers"]["scale"]["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: running.state is PipelineState.FAILED)
    status = running.status()
    assert status["workers"]["scale"]["health"] == "failed"
    [failure] = status["failures"]
    assert (failure["type"], failure["kernel"], failure["kind"]) == (
        "worker_failed",
        "scale",
        "cpu.scale",
    )
    assert failure["pid"] == pid
    running.stop()
    running.start()
    assert ask(running, 4) == 8


# Nothing left behind


START = """
import os, signal, sys, time
import numpy as np
from thalweg import PipelineManager
manager = PipelineManager("pipeline.yaml")
manager.build()
manager.start()
"""


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.yaml").write_text(json.dumps(scaling()))


def test_leaving_the_interpreter_shuts_down(in_folder, run_python):
    run_python(START)
    assert thalweg.list_streams() == []


def test_leaving_the_interpreter_by_an_exception_shuts_down(in_folder):
    result = subprocess.run(
        [sys.executable, "-c", START + "1 / 0"], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1
    assert result.stderr.endswith("ZeroDivisionError: division by zero\n")
    assert thalweg.list_streams() == []


def test_ctrl_c_shuts_down(in_folder):
    """As a terminal sends it: to every process of the group at once."""
    script = START + 'print("ready", flush=True)\nmanager.get_stream("answer").read_new()'
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert errors.endswith("KeyboardInterrupt\n")
    assert thalweg.list_streams() == []


def test_a_killed_run_takes_its_workers_along_and_the_next_one_cleans_up(in_folder, start_python):
    process = start_python(
        START + 'print(manager.status()["workers"]["scale"]["pid"])\nsys.stdin.read()'
    )
    worker = int(process.stdout.readline())
    with pytest.raises(RuntimeError, match=f"running pipeline .process {process.pid}"):
        thalweg.unlink("question")
    assert thalweg.purge() == [], "streams of a live run are kept"
    with PipelineManager("pipeline.yaml") as second:
        with pytest.raises(ShmPipelineError, match=f"running pipeline .process {process.pid}"):
            second.build()
        death = os.pidfd_open(worker)
        process.kill()
        process.wait()
        assert select.select([death], [], [], 30)[0], "the worker outlives its parent"
        os.close(death)
        assert thalweg.list_streams() == ["answer", "question"]
        second.build()
        second.start()
        assert ask(second, 4) == 8
    assert thalweg.list_streams() == []


def test_debris_can_be_purged(in_folder, start_python):
    process = start_python(START + 'print("ready")\nsys.stdin.read()')
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.wait()
    assert thalweg.purge() == ["answer", "question"]


def test_forked_children_leave_the_run_alone(in_folder, run_python):
    output = run_python(
        START
        + """
def ask(value):
    manager.get_stream("question").write(np.full(4, value, np.float32))
    return manager.get_stream("answer").read_new(timeout=30)[0]

assert ask(1) == 2
child = os.fork()
if child == 0:
    manager.shutdown()
    try:
        manager.stop()
    except RuntimeError as error:
        assert "forked" in str(error)
    del manager
    import gc
    gc.collect()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert ask(3) == 6
assert manager.state == "running"
manager.shutdown()
print("done")
"""
    )
    assert output == "done\n"


def test_other_processes_use_the_streams_of_a_run(running, start_python):
    process = start_python(
        """
        import sys, numpy as np, thalweg
        question, answer = thalweg.open("question"), thalweg.open("answer")
        for value in range(100):
            before = answer.count
            question.write(np.full(4, value, np.float32))
            assert answer.read_after(before, timeout=30)[0] == 2 * value
        print("done")
        """
    )
    assert process.stdout.readline() == "done\n"


CHILD = """
import numpy as np, thalweg

def double(value):
    with thalweg.open("question") as question, thalweg.open("answer") as answer:
        before = answer.count
        question.write(np.full(4, value, np.float32))
        return float(answer.read_after(before, timeout=30)[0])
"""


def test_multiprocessing_opens_by_name(running, run_python, tmp_path):
    """Spawned as the standard library does it; in a process of its own, which has the helper."""
    (tmp_path / "child_of_test.py").write_text(CHILD)
    output = run_python(
        """
        import multiprocessing, sys
        sys.path.insert(0, sys.argv[1])
        import child_of_test
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(pool.map(child_of_test.double, range(5)))
        """,
        tmp_path,
        timeout_s=120,
    )
    assert output == "[0.0, 2.0, 4.0, 6.0, 8.0]\n"
