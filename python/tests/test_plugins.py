"""Kernels, sources and sinks in Python, in interpreters of their own."""

import os
import signal
import time

import numpy as np
import plugin_classes
import pytest

import thalweg
from thalweg.errors import ShmPipelineError, WorkerProcessError

pytestmark = pytest.mark.cpu

REGISTRY = thalweg.get_default_registry().extended(
    *(
        kind
        for kind in vars(plugin_classes).values()
        if isinstance(kind, type)
        and (issubclass(kind, thalweg.Kernel) or kind is plugin_classes.DuckKernel)
        and getattr(kind, "kind", None)
        and kind is not plugin_classes.Failing
        and kind is not thalweg.Kernel
    ),
    sources=[
        plugin_classes.Numbers,
        plugin_classes.Pairs,
        plugin_classes.ForkingSource,
        plugin_classes.Sleeper,
        plugin_classes.SlowSource,
        plugin_classes.WrongShape,
    ],
    sinks=[
        plugin_classes.Recorder,
        plugin_classes.ForkingSink,
        plugin_classes.Mirror,
        plugin_classes.SlowSink,
        plugin_classes.ClosingSink,
    ],
)


def stream(name, **more):
    return {"name": name, "shape": [4], "dtype": "float32", **more}


def kernel(name, kind, source, target, **parameters):
    return {
        "name": name,
        "kind": kind,
        "input": source,
        "output": target,
        "parameters": parameters,
    }


def manager_of(config, timeout=60.0):
    return thalweg.PipelineManager(config, registry=REGISTRY, worker_start_timeout=timeout)


def started(config):
    manager = manager_of(config)
    manager.build()
    manager.start()
    return manager


def until(condition):
    """Look again and again, for a minute at most."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def frame(value):
    return np.full(4, value, np.float32)


def ask(manager, value, answer="answer"):
    manager.get_stream("question").write(frame(value))
    return manager.get_stream(answer).read_new(timeout=60)


@pytest.fixture
def notes(tmp_path):
    path = tmp_path / "notes"
    path.touch()
    return path


def lines(notes):
    return notes.read_text().splitlines()


# What goes wrong in one plugin


def with_neighbour(kind, **parameters):
    """A kernel that goes wrong at negative frames of its own stream, beside one that does not."""
    return {
        "shared_memory": [stream(name) for name in ("question", "answer", "trap", "trapped")],
        "kernels": [
            kernel("neighbour", "test.double", "question", "answer"),
            kernel("culprit", kind, "trap", "trapped", **parameters),
        ],
    }


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("test.raising", "ValueError: no such thing"),
        ("test.leaving", "SystemExit: 3"),
        ("test.interrupting", "KeyboardInterrupt"),
        ("test.exiting", "worker exited with code 3"),
        ("test.crashing", f"worker was killed by signal {int(signal.SIGSEGV)}"),
        ("test.leaving_threads", "ValueError: with threads"),
        ("test.closing_output", "ValueError: without output"),
    ],
)
def test_a_plugin_that_ends_is_named_and_others_go_on(kind, error, capfd):
    with started(with_neighbour(kind)) as manager:
        trap, trapped = manager.get_stream("trap"), manager.get_stream("trapped")
        trap.write(frame(3))
        assert trapped.read_new(timeout=60).tolist() == [6] * 4
        trap.write(frame(-1))
        until(lambda: manager.failures)
        (failure,) = manager.failures
        assert failure["kernel"] == "culprit"
        assert failure["error"] == error
        with pytest.raises(ShmPipelineError, match="worker 'culprit' failed"):
            manager.raise_if_failed()
        if "worker" not in error:
            assert "go_wrong" in failure["traceback"]
            assert "plugin_classes.py" in failure["traceback"]
        # The last good frame stays, and the neighbour knows nothing of all this.
        assert trapped.read().tolist() == [6] * 4
        assert ask(manager, 5).tolist() == [10] * 4
    printed = capfd.readouterr().err
    if kind == "test.raising":
        assert "[culprit] printed before the end" in printed
    if kind == "test.crashing":
        # Where it was when it crashed.
        assert "go_wrong" in printed


def test_a_plugin_that_is_stuck_is_ended_at_the_stop():
    with started(with_neighbour("test.stuck")) as manager:
        manager.get_stream("trap").write(frame(-1))
        assert ask(manager, 5).tolist() == [10] * 4
        pid = manager.status()["workers"]["culprit"]["pid"]
        manager.stop(timeout=0.2)
        until(lambda: not os.path.exists(f"/proc/{pid}"))
        assert manager.state == "built"


def test_a_forked_child_that_comes_back_is_ended(notes, capfd):
    with started(with_neighbour("test.forking", notes=str(notes))) as manager:
        trap, trapped = manager.get_stream("trap"), manager.get_stream("trapped")
        for value in (-1, 2):
            trap.write(frame(value))
            assert trapped.read_new(timeout=60).tolist() == [2 * value] * 4
        assert trapped.count == 2
        assert not manager.failures
    assert lines(notes) == ["child ended with 1"]
    assert "forked child" in capfd.readouterr().err


@pytest.mark.parametrize("place", ["init", "close"])
def test_a_child_of_a_kernel_that_comes_back_from_elsewhere_is_ended(place, notes):
    parameters = {"notes": str(notes), "place": place}
    with started(with_neighbour("test.forking_kernel", **parameters)) as manager:
        assert ask(manager, 5).tolist() == [10] * 4
        assert not manager.failures
    assert lines(notes) == ["child ended with 1"]


@pytest.mark.parametrize("place", ["init", "open", "call", "close"])
@pytest.mark.parametrize("role", ["source", "sink"])
def test_a_child_of_an_endpoint_that_comes_back_is_ended(role, place, notes):
    parameters = {"notes": str(notes), "place": place}
    config = {"shared_memory": [stream("numbers")]}
    kind = f"test.forking_{role}"
    config[f"{role}s"] = [
        {
            "name": "culprit",
            "kind": kind,
            "stream": "numbers",
            "process": "own",
            "parameters": parameters,
        }
    ]
    with started(config) as manager:
        numbers = manager.get_stream("numbers")
        if role == "source":
            until(lambda: numbers.count == 3)
        else:
            for value in (1, 2, 3):
                numbers.write(frame(value))
                until(
                    lambda value=value: (
                        manager.sink_status()["culprit"]["frames_consumed"] == value
                    )
                )
        assert not manager.failures
        manager.stop()
        assert numbers.count == 3
    # The child closes nothing, and its end is not the end of the parent.
    assert sorted(lines(notes)) == ["child ended with 1", "closed"]


def test_what_a_plugin_prints_is_no_report(capfd):
    config = with_neighbour("test.chatting")
    with started(config) as manager:
        trap, trapped = manager.get_stream("trap"), manager.get_stream("trapped")
        for value in range(20):
            trap.write(frame(value))
            assert trapped.read_new(timeout=60).tolist() == [2 * value] * 4
        assert manager.status()["workers"]["culprit"]["health"] == "active"
        assert not manager.failures
    assert '[culprit] {"report": "finished"}' in capfd.readouterr().err


def test_a_class_that_cannot_be_made_fails_the_start():
    with manager_of(with_neighbour("test.unbuildable")) as manager:
        manager.build()
        with pytest.raises(WorkerProcessError, match="'culprit' failed: RuntimeError: no device"):
            manager.start()
        assert manager.state == "built"


def test_an_error_while_closing_is_a_failure():
    with started(with_neighbour("test.closing")) as manager:
        manager.stop()
        (failure,) = manager.failures
        assert failure["error"] == "RuntimeError: cannot let go"
        assert "plugin_classes.py" in failure["traceback"]


# Memory


def test_what_a_kernel_keeps_of_an_output_is_no_part_of_the_stream():
    config = {
        "shared_memory": [stream("question"), stream("answer", slots=8)],
        "kernels": [kernel("keeping", "test.keeping", "question", "answer")],
    }
    with started(config) as manager:
        answer = manager.get_stream("answer")
        held = []
        for value in range(1, 60):
            assert ask(manager, value).tolist() == [value] * 4
            if value > 5:
                newest = [int(publication.payload[0]) for publication in answer.history(4)]
                assert sorted(newest) == list(range(value - 3, value + 1))
            if value == 30:
                held.append(answer.borrow())
        assert held[0].array.tolist() == [30] * 4
        held[0].release()
        assert not manager.failures


def test_inputs_cannot_be_written():
    config = {
        "shared_memory": [
            stream("question"),
            stream("gain", initial={"pattern": "constant", "value": 3}),
            stream("never_written"),
            stream("answer"),
        ],
        "kernels": [
            {
                **kernel("peeping", "test.peeping", "question", "answer"),
                "auxiliary": ["gain", "never_written"],
            }
        ],
    }
    with started(config) as manager:
        for value in range(1, 10):
            assert ask(manager, value).tolist() == [4] * 4, "attempts refused"
            assert manager.get_stream("question").read().tolist() == [value] * 4


def test_triggers_auxiliaries_and_outputs_come_in_order():
    names = ("left", "right", "shift", "nothing", "sum", "difference")
    config = {
        "shared_memory": [stream(name) for name in names],
        "kernels": [
            {
                "name": "adding",
                "kind": "test.adding",
                "inputs": ["left", "right"],
                "auxiliary": {"offset": "shift", "never_written": "nothing"},
                "outputs": ["sum", "difference"],
            }
        ],
    }
    with started(config) as manager:
        manager.get_stream("shift").write(frame(100))
        for value in range(1, 10):
            manager.get_stream("left").write(frame(5 * value))
            manager.get_stream("right").write(frame(value))
            total = manager.get_stream("sum").read_new(timeout=60)
            assert total.tolist() == [6 * value + 100] * 4
            difference = manager.get_stream("difference").read_new(timeout=60)
            assert difference.tolist() == [4 * value] * 4


def test_outputs_may_begin_as_the_frame_before():
    config = {
        "shared_memory": [stream("question"), stream("answer")],
        "kernels": [kernel("counting", "test.counting", "question", "answer")],
    }
    with started(config) as manager:
        assert [ask(manager, 0)[0] for _ in range(12)] == list(range(1, 13))


# Lives


def test_a_kernel_is_ready_before_the_pipeline_runs(notes):
    config = with_neighbour("test.prepared", notes=str(notes))
    with started(config) as manager:
        assert lines(notes) == ["compute 0", "warm up"]
        manager.get_stream("trap").write(frame(3))
        manager.get_stream("trapped").read_new(timeout=60)
        manager.stop()
        assert lines(notes) == ["compute 0", "warm up", "compute 3", "close"]
        # The second start is as ready as the first.
        manager.start()
        assert lines(notes)[4:] == ["compute 0", "warm up"]


def test_a_kernel_need_not_derive_from_ours():
    config = {
        "shared_memory": [stream("question"), stream("answer")],
        "kernels": [kernel("duck", "test.duck", "question", "answer", factor=7)],
    }
    with started(config) as manager:
        assert ask(manager, 3).tolist() == [21] * 4


def test_a_class_by_value():
    cloudpickle = pytest.importorskip("cloudpickle")
    assert cloudpickle
    table = np.arange(100_000, dtype=np.float32)  # Longer than any pipe.

    class Local(thalweg.Kernel):
        kind = "test.local"

        def compute_into(self, trigger_input, output, auxiliary_inputs):
            output[...] = trigger_input + table[-1]

    config = {
        "shared_memory": [stream("question"), stream("answer")],
        "kernels": [kernel("local", "test.local", "question", "answer")],
    }
    manager = thalweg.PipelineManager(
        config, registry=REGISTRY.extended(Local), worker_start_timeout=60
    )
    with manager:
        manager.build()
        manager.start()
        assert ask(manager, 1).tolist() == [100_000] * 4


def test_a_class_of_the_running_script(tmp_path, run_python):
    script = tmp_path / "main.py"
    script.write_text(
        """
import numpy as np, thalweg

STARTED = []

class Bias(thalweg.Kernel):
    kind = "script.bias"

    def compute_into(self, trigger_input, output, auxiliary_inputs):
        assert __name__ == "__thalweg_main__" and not STARTED
        output[...] = trigger_input + HELPER()

def HELPER():
    return 10

if __name__ == "__main__":
    STARTED.append(True)
    registry = thalweg.get_default_registry().extended(Bias)
    config = {
        "shared_memory": [
            {"name": name, "shape": [4], "dtype": "float32"} for name in ("question", "answer")
        ],
        "kernels": [
            {"name": "bias", "kind": "script.bias", "input": "question", "output": "answer"}
        ],
    }
    with thalweg.PipelineManager(config, registry=registry, worker_start_timeout=60) as manager:
        manager.build()
        manager.start()
        manager.get_stream("question").write(np.ones(4, np.float32))
        print(manager.get_stream("answer").read_new(timeout=60).tolist())
"""
    )
    printed = run_python(
        f"""
        import subprocess, sys
        print(subprocess.run([sys.executable, {str(script)!r}], check=True, text=True,
                             stdout=subprocess.PIPE).stdout)
        """
    )
    assert printed.strip() == "[11.0, 11.0, 11.0, 11.0]"


# Sources and sinks in processes of their own


def source(name, kind, **more):
    return {"name": name, "kind": kind, "process": "own", **more}


def test_a_source_that_reads(notes):
    config = {
        "shared_memory": [stream("numbers", slots=12)],
        "sources": [
            source(
                "numbers_source",
                "test.numbers",
                stream="numbers",
                parameters={"notes": str(notes)},
            )
        ],
    }
    with started(config) as manager:
        pid = manager.status()["sources"]["numbers_source"]["pid"]
        assert pid != os.getpid()
        until(lambda: not manager.status()["sources"]["numbers_source"]["alive"])
        status = manager.status()["sources"]["numbers_source"]
        assert status["frames_written"] == 5
        assert status["plugin_metrics"] == {
            "number": 6,
            "device": "none",
            "nested": {"ratio": 0.5},
        }
        assert manager.get_stream("numbers").read().tolist() == [5] * 4
        assert manager.get_stream("numbers").read().dtype == np.float32
        assert not manager.failures
    assert lines(notes) == ["open", "close"]


def test_a_source_that_writes_by_itself():
    config = {
        "shared_memory": [
            stream("left"),
            stream("right"),
            stream("gain_stream", initial={"pattern": "constant", "value": 2}),
        ],
        "sources": [
            source(
                "pairs",
                "test.pairs",
                streams=["left", "right"],
                auxiliary={"gain": "gain_stream"},
            )
        ],
    }
    with started(config) as manager:
        left, right = manager.get_stream("left"), manager.get_stream("right")
        until(lambda: left.count == 3 and right.count == 3)
        publication = right.read_publication()
        assert publication.payload.tolist() == [6] * 4
        assert publication.frame_id == 103
        until(lambda: manager.status()["sources"]["pairs"]["frames_written"] == 3)


def test_a_source_that_waits_is_woken_by_the_stop(notes):
    config = {
        "shared_memory": [stream("numbers")],
        "sources": [
            source("sleeper", "test.sleeper", stream="numbers", parameters={"notes": str(notes)})
        ],
    }
    with started(config) as manager:
        manager.stop(timeout=60)
        assert not manager.failures
    assert lines(notes) in ([], ["stopped: True, requested: True"])


def test_a_source_of_the_wrong_shape_is_named():
    config = {
        "shared_memory": [stream("numbers")],
        "sources": [source("wrong", "test.wrong_shape", stream="numbers")],
    }
    with started(config) as manager:
        until(lambda: manager.failures)
        (failure,) = manager.failures
        assert "expected shape (4,), got (5,)" in failure["error"]


@pytest.mark.parametrize("role", ["source", "sink"])
def test_a_call_that_takes_too_long_is_a_failure(role, capfd):
    config = {"shared_memory": [stream("question")]}
    if role == "source":
        config["sources"] = [
            source("slow", "test.slow_source", stream="question", read_timeout=0.2)
        ]
    else:
        config["sinks"] = [source("slow", "test.slow_sink", stream="question", consume_timeout=0.2)]
    with started(config) as manager:
        if role == "sink":
            manager.get_stream("question").write(frame(1))
        until(lambda: manager.failures)
        (failure,) = manager.failures
        assert "timeout" in failure["error"]
        assert f"{'read' if role == 'source' else 'consume'}_timeout (0.2 s)" in failure["error"]
    # Where it was stuck.
    assert "plugin_classes.py" in capfd.readouterr().err


def test_sinks_get_copies_and_publications(notes, tmp_path):
    others = tmp_path / "others"
    config = {
        "shared_memory": [stream("question"), stream("mirrored")],
        "sinks": [
            source(
                "recorder",
                "test.recorder",
                stream="question",
                parameters={"notes": str(notes)},
            ),
            source(
                "mirror",
                "test.mirror",
                stream="question",
                outputs=["mirrored"],
                parameters={"notes": str(others)},
            ),
        ],
    }
    with started(config) as manager:
        question, mirrored = manager.get_stream("question"), manager.get_stream("mirrored")
        for value in range(1, 6):
            question.write(frame(value), frame_id=40 + value)
            assert mirrored.read_new(timeout=60).tolist() == [value] * 4
            until(lambda: len(lines(notes)) == value)  # noqa: B023
            assert question.read().tolist() == [value] * 4
        assert mirrored.read_publication().frame_id == 45
        until(lambda: manager.status()["sinks"]["recorder"]["frames_consumed"] == 5)
    assert lines(notes) == [str([float(value)] * 4) for value in range(1, 6)]
    assert lines(others) == [f"{value} {40 + value} 0" for value in range(1, 6)]


def test_an_error_while_closing_a_sink_is_a_failure():
    config = {
        "shared_memory": [stream("question")],
        "sinks": [source("closing", "test.closing_sink", stream="question")],
    }
    with started(config) as manager:
        manager.stop()
        (failure,) = manager.failures
        assert "OSError: disk full" in failure["error"]


def test_ctrl_c_is_for_the_program_only(start_python):
    program = start_python(
        f"""
        import os, signal, sys, time
        import numpy as np
        sys.path.insert(0, {os.path.dirname(plugin_classes.__file__)!r})
        import thalweg, plugin_classes

        registry = thalweg.get_default_registry().extended(plugin_classes.Double)
        config = {{
            "shared_memory": [
                {{"name": name, "shape": [4], "dtype": "float32"}}
                for name in ("question", "answer")
            ],
            "kernels": [
                {{"name": "double", "kind": "test.double", "input": "question", "output": "answer"}}
            ],
        }}
        with thalweg.PipelineManager(config, registry=registry, worker_start_timeout=60) as manager:
            manager.build()
            manager.start()
            pid = manager.status()["workers"]["double"]["pid"]
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
            manager.get_stream("question").write(np.ones(4, np.float32))
            print(manager.get_stream("answer").read_new(timeout=60).tolist())
        """
    )
    assert program.stdout.readline() == "[2.0, 2.0, 2.0, 2.0]\n"
    assert program.wait(60) == 0


def test_the_module_says_how_it_is_used(run_python):
    printed = run_python(
        """
        import subprocess, sys
        done = subprocess.run([sys.executable, "-m", "thalweg.worker", "--what"], text=True,
                              capture_output=True)
        print(done.returncode, done.stderr)
        """
    )
    assert printed.startswith("2 usage: python -m thalweg.worker")
