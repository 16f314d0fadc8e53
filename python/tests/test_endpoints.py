"""Sources and sinks in Python, on threads of the manager."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import thalweg
from thalweg import PipelineManager, PipelineState, Sink, Source, get_default_registry
from thalweg.errors import ConfigValidationError, StateTransitionError, WorkerProcessError

pytestmark = pytest.mark.cpu


def until(condition):
    """Look again and again, for half a minute at most."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def through(source=None, sink=None, **more):
    """A pipeline that doubles."""
    raw = {
        "shared_memory": [
            {"name": name, "shape": [4], "dtype": "float32"} for name in ("raw", "out")
        ],
        "kernels": [
            {
                "name": "double",
                "kind": "cpu.scale",
                "input": "raw",
                "output": "out",
                "parameters": {"factor": 2.0},
            }
        ],
        **more,
    }
    if source is not None:
        raw["sources"] = [{"name": "camera", "kind": source.kind, "stream": "raw"}]
    if sink is not None:
        raw["sinks"] = [{"name": "display", "kind": sink.kind, "stream": "out"}]
    return raw


def manager_of(raw, *classes, **arguments):
    sources = [kind for kind in classes if hasattr(kind, "read") or hasattr(kind, "produce")]
    sinks = [kind for kind in classes if kind not in sources]
    registry = get_default_registry().extended(sources=sources, sinks=sinks)
    return PipelineManager(raw, registry=registry, **arguments)


def counting():
    """A source and a sink that share a list with the program."""
    seen, log = [], []

    class Camera(Source):
        kind = "test.camera"

        def open(self):
            log.append(("open", threading.current_thread() is threading.main_thread()))
            self.number = 0

        def read(self):
            self.number += 1
            if self.number > 5:
                return None
            return np.full(4, self.number)

        def close(self):
            log.append(("close", threading.current_thread() is threading.main_thread()))

        def plugin_metrics(self):
            return {"numbers": self.number, "device": "sim-0"}

    class Display(Sink):
        kind = "test.display"

        def consume(self, value):
            seen.append(value)

    return Camera, Display, seen, log


def test_objects_shared_with_the_program_work():
    Camera, Display, seen, log = counting()
    with manager_of(through(Camera, Display), Camera, Display) as manager:
        manager.build()
        manager.start()
        until(lambda: seen and seen[-1][0] == 10)
        assert log == [("open", True)]
        sources, sinks = manager.source_status(), manager.sink_status()
        manager.stop()
        assert log == [("open", True), ("close", False)]
        assert manager.failures == ()
    # Latest value wins, and the order is kept.
    values = [value[0] for value in seen]
    assert values == sorted(values) and set(values) <= {2, 4, 6, 8, 10}
    assert all(value.flags.owndata and value.flags.writeable for value in seen)
    camera = sources["camera"]
    assert (camera["frames_written"], camera["alive"], camera["last_error"]) == (5, True, None)
    assert camera["streams"] == ["raw"]
    assert camera["plugin_metrics"]["device"] == "sim-0"
    assert camera["started_at"] <= camera["last_write_time"] <= time.time()
    assert sinks["display"]["frames_consumed"] == len(seen) or seen
    assert sinks["display"]["frames_consumed"] + sinks["display"]["missed_writes"] <= 5


def test_a_second_start_is_as_good_as_the_first():
    Camera, Display, seen, log = counting()
    with manager_of(through(Camera, Display), Camera, Display) as manager:
        manager.build()
        for _ in range(3):
            seen.clear()
            manager.start()
            until(lambda: seen and seen[-1][0] == 10)
            manager.stop()
    assert [what for what, _ in log] == ["open", "close"] * 3


def test_nothing_written_after_start_is_overlooked_by_a_sink():
    seen = []

    class Display(Sink):
        kind = "test.display"

        def consume(self, value):
            seen.append(value[0])

    with manager_of(through(sink=Display), Display) as manager:
        manager.build()
        for value in range(20):
            manager.start()
            manager.get_stream("raw").write([value] * 4)
            until(lambda value=value: seen and seen[-1] == 2 * value)
            manager.stop()


def test_pause_and_resume_hold_and_release_everybody():
    produced = []

    class Camera(Source):
        kind = "test.camera"

        def read(self):
            produced.append(self.paused())
            return np.zeros(4)

    with manager_of(through(Camera), Camera) as manager:
        manager.build()
        manager.start()
        until(lambda: len(produced) > 3)
        manager.pause()
        assert manager.state is PipelineState.PAUSED
        with pytest.raises(StateTransitionError, match="RUNNING"):
            manager.pause()
        # One read may have begun before; from then on there is none.
        until(lambda: manager.status()["sources"]["camera"]["health"] == "paused")
        before = len(produced)
        assert len(produced) <= before + 1
        manager.resume()
        until(lambda: len(produced) > before + 3)
        with pytest.raises(StateTransitionError, match="PAUSED"):
            manager.resume()
        manager.pause()
        manager.stop()  # also from a pause


@pytest.mark.parametrize("role", ["source", "sink"])
def test_an_exception_is_a_failure_with_its_traceback(role):
    class Camera(Source):
        kind = "test.camera"

        def read(self):
            if role == "source":
                raise ValueError("no light")
            return np.zeros(4)

    class Display(Sink):
        kind = "test.display"

        def consume(self, value):
            raise ValueError("no screen")

    with manager_of(through(Camera, Display), Camera, Display) as manager:
        manager.build()
        manager.start()
        until(lambda: manager.state is PipelineState.FAILED)
        failure = manager.failures[0]
        name, text = ("camera", "no light") if role == "source" else ("display", "no screen")
        assert failure["type"] == f"{role}_failed"
        assert (failure["kernel"], failure["component_type"]) == (name, role)
        assert failure["error"] == f"ValueError: {text}"
        assert "raise ValueError" in failure["traceback"]
        with pytest.raises(WorkerProcessError, match=rf"{role} '{name}' failed: .*{text}"):
            manager.raise_if_failed()
        # Neighbours are not concerned.
        assert manager.status()["workers"]["double"]["alive"]
        assert manager.status()["summary"][f"failed_{role}s"] == 1
        assert any(event["type"] == f"{role}_failed" for event in manager.poll_events())
        manager.stop()
        # What failed stays known until the next start.
        assert manager.failures


def test_an_exception_of_open_ends_the_start():
    class Camera(Source):
        kind = "test.camera"

        def open(self):
            raise OSError("no camera")

        def read(self):
            return None

    Display = counting()[1]
    with manager_of(through(Camera, Display), Camera, Display) as manager:
        manager.build()
        with pytest.raises(OSError, match="no camera"):
            manager.start()
        assert manager.state is PipelineState.BUILT
        workers = manager.status()["workers"]
        assert not workers["double"]["alive"]
        assert not [t for t in threading.enumerate() if t.name.startswith("thalweg-s")]


@pytest.mark.parametrize("role", ["source", "sink"])
def test_w23_a_call_that_takes_too_long_is_given_up_and_writes_no_more(role):
    release, entered = threading.Event(), threading.Event()

    class Camera(Source):
        kind = "test.camera"

        def read(self):
            if role == "source":
                entered.set()
                release.wait(60)
                return np.full(4, 99)
            return np.zeros(4)

    class Display(Sink):
        kind = "test.display"

        def consume(self, value):
            entered.set()
            release.wait(60)

    raw = through(Camera, Display)
    raw["sources"][0]["read_timeout"] = 0.2 if role == "source" else None
    raw["sinks"][0]["consume_timeout"] = 0.2 if role == "sink" else None
    if role == "source":
        del raw["sinks"]
    with manager_of(raw, Camera, Display) as manager:
        manager.build()
        manager.start()
        assert entered.wait(30)
        until(lambda: manager.state is PipelineState.FAILED)
        [failure] = manager.failures
        assert "timeout" in failure["error"] and "0.2 s" in failure["error"]
        assert "release.wait" in failure["traceback"], "says where it hangs"
        manager.stop(timeout=1)
        before = manager.get_stream("raw").count
        release.set()
        until(lambda: not [t for t in threading.enumerate() if t.name.startswith("thalweg-s")])
        if role == "source":
            assert manager.get_stream("raw").count == before == 0


def test_w23_a_thread_that_does_not_end_is_left_behind_and_its_successor_is_alone():
    release, entered = threading.Event(), threading.Event()
    lives = []

    class Camera(Source):
        kind = "test.camera"

        def open(self):
            lives.append(self)

        def read(self):
            if self is lives[0]:
                entered.set()
                release.wait(60)
                return np.full(4, 99)
            return np.full(4, 1)

    with manager_of(through(Camera), Camera) as manager:
        manager.build()
        manager.start()
        assert entered.wait(30)
        began = time.monotonic()
        manager.stop(timeout=0.3)
        assert time.monotonic() - began < 10
        assert manager.state is PipelineState.BUILT
        manager.start()
        stream = manager.get_stream("raw")
        seen = stream.read_new(timeout=30)
        release.set()
        until(lambda: sum(t.name == "thalweg-source-camera" for t in threading.enumerate()) == 1)
        for _ in range(10):
            seen = stream.read_new(timeout=30)
            assert seen[0] == 1


def test_w25_a_stop_does_not_wait_for_a_read_timeout():
    Camera, Display, seen, _ = counting()
    raw = through(Camera, Display)
    raw["sinks"][0]["read_timeout"] = 60
    raw["kernels"][0]["read_timeout"] = 60
    raw["sources"][0]["poll_interval"] = 60
    with manager_of(raw, Camera, Display) as manager:
        manager.build()
        manager.start()
        until(lambda: seen)
        began = time.monotonic()
        manager.stop(timeout=40)
        assert time.monotonic() - began < 20
        assert manager.failures == ()


def test_several_streams_are_produced_at_once_with_their_frame_ids():
    class Cameras(Source):
        kind = "test.cameras"

        def produce(self, writers):
            self.number = getattr(self, "number", 0) + 1
            for index, stream in enumerate(writers.values()):
                stream.write(np.full(2, self.number + index), frame_id=self.number)
            return 1

    raw = {
        "shared_memory": [
            {"name": name, "shape": [2], "dtype": "float32"} for name in ("left", "right")
        ],
        "sources": [{"name": "cameras", "kind": "test.cameras", "streams": ["left", "right"]}],
    }
    with manager_of(raw, Cameras) as manager:
        manager.build()
        manager.start()
        for name, index in (("left", 0), ("right", 1)):
            seen = manager.get_stream(name).read_new_publication(timeout=30)
            assert seen.payload[0] == seen.frame_id + index
        status = manager.source_status()["cameras"]
        assert status["coordinated_generation_count"] == status["frames_written"] > 0


def test_a_source_with_one_stream_may_stamp_frame_ids():
    class Camera(Source):
        kind = "test.camera"

        def produce(self, writers):
            writers["raw"].write(np.zeros(4), frame_id=77)
            return 1

    with manager_of(through(Camera), Camera) as manager:
        manager.build()
        manager.start()
        assert manager.get_stream("raw").read_new_publication(timeout=30).frame_id == 77


def test_a_source_that_comes_to_its_end():
    class Camera(Source):
        kind = "test.camera"

        def open(self):
            self.left = 3

        def read(self):
            if self.left == 0:
                raise StopIteration
            self.left -= 1
            return np.zeros(4)

    with manager_of(through(Camera), Camera) as manager:
        manager.build()
        manager.start()
        until(lambda: manager.source_status()["camera"]["health"] == "finished")
        assert manager.state is PipelineState.RUNNING
        assert manager.source_status()["camera"]["frames_written"] == 3
        manager.restart()
        assert manager.source_status()["camera"]["health"] == "finished", "it has not failed"


def test_a_sink_that_writes_and_a_source_that_reads_it_back():
    class Camera(Source):
        kind = "test.camera"
        required_feedback_aliases = ("command",)

        def read(self):
            command = self.read_auxiliary("command")
            return np.full(4, 1.0 if command is None else command[0] / 2 + 1)

    class Mirror(Sink):
        kind = "test.mirror"

        def consume_publication(self, publication, writers):
            writers["command"].write(publication.payload, frame_id=publication.frame_id)

    raw = through(Camera)
    raw["shared_memory"].append({"name": "command", "shape": [4], "dtype": "float32"})
    raw["sources"][0]["auxiliary"] = {"command": "command"}
    raw["kernels"][0]["propagate_frame_id"] = True
    raw["sinks"] = [
        {"name": "mirror", "kind": "test.mirror", "stream": "out", "outputs": ["command"]}
    ]
    with manager_of(raw, Camera, Mirror) as manager:
        manager.build()
        manager.start()
        command = manager.get_stream("command")
        until(lambda: command.count > 0 and command.read()[0] > 10)

    raw["kernels"][0]["propagate_frame_id"] = False
    manager = manager_of(raw, Camera, Mirror)
    with pytest.raises(ConfigValidationError, match="'double'.*propagate_frame_id: true"):
        manager.build()
    raw["sources"][0]["auxiliary"] = {}
    with pytest.raises(ConfigValidationError, match="feedback 'command' is required"):
        manager_of(raw, Camera, Mirror).build()


def test_classes_need_no_base_class():
    seen = []

    class Camera:
        kind = "duck.camera"

        def __init__(self, context):
            self.value = context.config.parameters["value"]

        def read(self):
            return np.full(4, self.value)

    class Display:
        kind = "duck.display"

        def __init__(self, context):
            assert context.stream_spec.shape == (4,)

        def consume(self, value):
            seen.append(value[0])

    raw = through(Camera, Display)
    raw["sources"][0]["parameters"] = {"value": 4}
    with manager_of(raw, Camera, Display) as manager:
        manager.build()
        manager.start()
        until(lambda: seen and seen[-1] == 8)


@pytest.mark.parametrize("role", ["source", "sink"])
def test_an_endpoint_may_stop_the_pipeline_it_is_part_of(role):
    stopped = threading.Event()

    class Camera(Source):
        kind = "test.camera"

        def read(self):
            if role == "source":
                manager.stop()
                stopped.set()
            return np.zeros(4)

    class Display(Sink):
        kind = "test.display"

        def consume(self, value):
            if role == "sink":
                manager.stop()
                stopped.set()

    with manager_of(through(Camera, Display), Camera, Display) as manager:
        manager.build()
        began = time.monotonic()
        manager.start()
        assert stopped.wait(30)
        assert time.monotonic() - began < 4, "nobody waited for the one who asked"
        assert manager.state is PipelineState.BUILT and manager.failures == ()


@pytest.mark.parametrize("role", ["source", "sink"])
def test_an_endpoint_that_stops_and_starts_its_pipeline_is_followed_by_one(role):
    lives, back = [], threading.Event()

    class Recorded:
        def open(self):
            lives.append(self)
            self.calls = self.calls_after_the_start = 0

        def called(self):
            self.calls += 1
            if self is not lives[0]:
                return
            if back.is_set():
                self.calls_after_the_start += 1
                return
            manager.stop()
            manager.start()
            back.set()

        def close(self):
            self.thread = threading.current_thread()

    class Camera(*([Recorded] if role == "source" else []), Source):
        kind = "test.camera"

        def read(self):
            if role == "source":
                self.called()
            return np.zeros(4)

    class Display(*([Recorded] if role == "sink" else []), Sink):
        kind = "test.display"

        def consume(self, value):
            if role == "sink":
                self.called()

    with manager_of(through(Camera, Display), Camera, Display) as manager:
        manager.build()
        manager.start()
        until(lambda: len(lives) == 2 and lives[1].calls > 10)
        first, second = lives
        until(lambda: hasattr(first, "thread") and not first.thread.is_alive())
        assert first.calls_after_the_start == 0
        assert manager.state is PipelineState.RUNNING and manager.failures == ()
        assert not hasattr(second, "thread")


@pytest.mark.parametrize("role", ["source", "sink"])
def test_nobody_waits_for_a_measurement_but_its_endpoint(role, caplog):
    asked, release, threads = threading.Event(), threading.Event(), set()

    class Measuring:
        taken = 0

        def plugin_metrics(self):
            threads.add(threading.current_thread().name)
            self.taken += 1
            if self.taken > 1:
                asked.set()
                release.wait(60)
            return {"taken": self.taken}

    class Camera(*([Measuring] if role == "source" else []), Source):
        kind = "test.camera"

        def read(self):
            return np.zeros(4)

    class Display(*([Measuring] if role == "sink" else []), Sink):
        kind = "test.display"

        def consume(self, value):
            pass

    name = "camera" if role == "source" else "display"
    with manager_of(through(Camera, Display), Camera, Display) as manager:
        manager.build()
        manager.start()
        assert asked.wait(30)
        began = time.monotonic()
        assert manager.status()[f"{role}s"][name]["plugin_metrics"] == {"taken": 1}
        manager.stop(timeout=0.2)
        manager.shutdown()
        assert time.monotonic() - began < 30
        release.set()
    assert threads == {f"thalweg-{role}-{name}"}
    assert f"{role} '{name}' did not end in time" in caplog.text


def test_a_measurement_is_taken_of_the_last_frame_as_well():
    class Display(Sink):
        kind = "test.display"
        frames = 0

        def consume(self, value):
            self.frames += 1

        def plugin_metrics(self):
            return {"frames": self.frames}

    with manager_of(through(sink=Display), Display) as manager:
        manager.build()
        manager.start()
        for frames in range(1, 4):
            manager.get_stream("raw").write([1] * 4)
            until(lambda frames=frames: metrics_of(manager) == {"frames": frames})
        manager.get_stream("raw").write([1] * 4)
        until(lambda: manager.sink_status()["display"]["frames_consumed"] == 4)
        manager.stop()
        assert metrics_of(manager) == {"frames": 4}


def metrics_of(manager):
    return manager.sink_status()["display"]["plugin_metrics"]


def test_an_endpoint_may_look_at_a_pipeline_that_stops():
    looked, entered = [], threading.Event()

    class Display(Sink):
        kind = "test.display"

        def consume(self, value):
            entered.set()
            while not self.wait(0.01):
                pass
            looked.append((manager.state, manager.status()["workers"]["double"]["name"]))

    with manager_of(through(sink=Display), Display) as manager:
        manager.build()
        manager.start()
        manager.get_stream("raw").write([1] * 4)
        assert entered.wait(30)
        began = time.monotonic()
        manager.stop()
        assert time.monotonic() - began < 4
        assert looked == [(PipelineState.RUNNING, "double")]


def test_restart_policies_hold_for_endpoints():
    lives = []

    class Camera(Source):
        kind = "test.camera"

        def open(self):
            lives.append(self)

        def read(self):
            if len(lives) < 4:
                raise ValueError("not yet")
            return np.zeros(4)

    raw = through(Camera)
    raw["sources"][0]["restart"] = {"policy": "on-failure", "backoff_s": 0.001}
    with manager_of(raw, Camera) as manager:
        manager.build()
        manager.start()
        manager.get_stream("raw").read_new(timeout=30)
        status = manager.source_status()["camera"]
        assert (status["restarts"], status["last_error"]) == (3, "ValueError: not yet")
        assert manager.state is PipelineState.RUNNING and manager.failures == ()

    raw["sources"][0]["restart"] = {"policy": "on-failure", "backoff_s": 0.001, "limit": 1}
    lives.clear()
    with manager_of(raw, Camera) as manager:
        manager.build()
        manager.start()
        until(lambda: manager.state is PipelineState.FAILED)
        assert len(lives) == 2


def test_always_means_after_the_end_as_well():
    lives = []

    class Camera(Source):
        kind = "test.camera"

        def open(self):
            lives.append(self)
            self.left = 2

        def read(self):
            if self.left == 0:
                raise StopIteration
            self.left -= 1
            return np.zeros(4)

    raw = through(Camera)
    raw["sources"][0]["restart"] = {"policy": "always", "backoff_s": 0.001}
    with manager_of(raw, Camera) as manager:
        manager.build()
        manager.start()
        until(lambda: len(lives) > 2 and manager.get_stream("raw").count >= 4)
        assert manager.failures == ()
        manager.stop()
        count = len(lives)
        assert manager.state is PipelineState.BUILT
        assert len(lives) == count, "nothing is started after a stop"


def test_what_goes_wrong_after_a_stop_is_no_failure(caplog):
    class Camera(Source):
        kind = "test.camera"

        def read(self):
            if self.wait(60):
                raise OSError("the device is gone")

    with manager_of(through(Camera), Camera) as manager:
        manager.build()
        manager.start()
        manager.stop()
        assert manager.failures == ()
        assert "OSError: the device is gone" in caplog.text


def test_w9_restart_mends_a_failed_endpoint_and_a_failed_worker():
    lives = []

    class Display(Sink):
        kind = "test.display"

        def open(self):
            lives.append(self)

        def consume(self, value):
            if len(lives) == 1:
                raise ValueError("first light")
            self.seen = value[0]

    with manager_of(through(sink=Display), Display) as manager:
        manager.build()
        with pytest.raises(StateTransitionError, match="RUNNING"):
            manager.restart()
        manager.start()
        manager.get_stream("raw").write([1] * 4)
        until(lambda: manager.state is PipelineState.FAILED)
        manager.restart()
        assert manager.state is PipelineState.RUNNING and manager.failures == ()
        manager.get_stream("raw").write([2] * 4)
        until(lambda: getattr(lives[-1], "seen", 0) == 4)


LEFT_RUNNING = """
import logging, sys, threading, time
import numpy as np
import thalweg

class Camera(thalweg.Source):
    kind = "test.camera"

    def read(self):
        if sys.argv[1] == "stuck":
            threading.Event().wait()
        return np.zeros(4)

    def close(self):
        print("closed")

registry = thalweg.get_default_registry().extended(sources=(Camera,))
manager = thalweg.PipelineManager(
    {
        "shared_memory": [{"name": "raw", "shape": [4], "dtype": "float32"}],
        "sources": [{"name": "camera", "kind": "test.camera", "stream": "raw"}],
    },
    registry=registry,
)
manager.build()
manager.start()
if sys.argv[1] == "busy":
    manager.get_stream("raw").read_new(timeout=30)
print("end")
"""


def test_w7_an_interpreter_ends_with_endpoints_at_work(run_python):
    assert run_python(LEFT_RUNNING, "busy") == "end\nclosed\n"
    assert thalweg.list_streams() == []


def test_w7_an_interpreter_ends_although_an_endpoint_does_not():
    result = subprocess.run(
        [sys.executable, "-c", LEFT_RUNNING, "stuck"], capture_output=True, text=True, timeout=60
    )
    assert (result.returncode, result.stdout) == (0, "end\n"), result.stderr
    assert "source 'camera' did not end in time" in result.stderr
    assert thalweg.list_streams() == []


NO_NEW_THREADS = """
import threading

def refuse(thread):
    raise RuntimeError("can't create new thread at interpreter shutdown")

threading.Thread.start = refuse
"""


@pytest.mark.parametrize("how", ["busy", "stuck"])
def test_w7_an_interpreter_that_makes_no_more_threads_ends_all_the_same(how):
    # As every interpreter from 3.12 on once it ends.
    result = subprocess.run(
        [sys.executable, "-c", LEFT_RUNNING + NO_NEW_THREADS, how],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (result.returncode, result.stdout) == (0, "end\nclosed\n" if how == "busy" else "end\n")
    assert "Traceback" not in result.stderr
    assert ("source 'camera' did not end in time" in result.stderr) == (how == "stuck")
    assert thalweg.list_streams() == []
