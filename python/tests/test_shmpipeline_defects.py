"""The known defects of shmpipeline, by their letters, as far as other files do not have them.

W17 and W18 are about a control server, which this build does not have.
"""

import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import thalweg
from thalweg import PipelineConfig, PipelineManager, PipelineState
from thalweg._find import find_binary
from thalweg.errors import ConfigValidationError, WorkerProcessError

pytestmark = pytest.mark.cpu


def until(condition):
    """Look again and again, for half a minute at most."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def stream(name, shape=(4,), dtype="float32", **more):
    return {"name": name, "shape": list(shape), "dtype": dtype, **more}


def test_w1_numbers_in_between_are_not_constants():
    raw = {
        "shared_memory": [stream("x", (2,)), stream("w", (2,)), stream("y", (2,))],
        "kernels": [
            {
                "name": "k",
                "kind": "cpu.custom_operation",
                "operation": "input * (input @ w)",
                "input": "x",
                "output": "y",
                "auxiliary": ["w"],
            }
        ],
    }
    with PipelineManager(raw) as manager:
        manager.build()
        manager.start()
        manager.get_stream("w").write([10, 100])
        manager.get_stream("x").write([2, 3])
        assert manager.get_stream("y").read_new(timeout=30).tolist() == [640, 960]


def test_w4_branches_that_share_a_stream_run_at_the_same_time():
    """Each holds the shared stream for a frame of its own, and does not wait for the other."""
    raw = {
        "shared_memory": [stream(name) for name in ("a", "b", "shared", "x", "y")],
        "kernels": [
            {
                "name": f"k{source}",
                "kind": "cpu.custom_operation",
                "operation": "input + shared",
                "input": source,
                "output": target,
                "auxiliary": ["shared"],
            }
            for source, target in (("a", "x"), ("b", "y"))
        ],
    }
    with PipelineManager(raw) as manager:
        manager.build()
        manager.start()
        # Somebody writes the shared stream, for ever as far as the others are concerned.
        with manager.get_stream("shared").loan() as lent:
            lent[:] = 0
            for source, target in (("a", "x"), ("b", "y")):
                manager.get_stream(source).write([1] * 4)
                assert manager.get_stream(target).read_new(timeout=30)[0] == 1


@pytest.mark.parametrize("mode", ["attach", "create_or_attach"])
def test_w5_streams_of_a_namespace_are_recognized(mode):
    existing = thalweg.create("lab.a", shape=(4,), dtype=np.float32)
    existing.write([1, 2, 3, 4])
    raw = {
        "namespace": "lab",
        "shared_memory": [stream("a", mode=mode), stream("b")],
        "kernels": [{"name": "k", "kind": "cpu.copy", "input": "a", "output": "b"}],
    }
    with PipelineManager(raw) as manager:
        manager.build()
        assert manager.get_stream("a").read().tolist() == [1, 2, 3, 4]
        assert manager.get_stream("a").instance_id == existing.instance_id
    assert thalweg.list_streams() == ["lab.a"], "a stream of somebody else is left alone"
    existing.unlink()


def test_w7_a_killed_manager_leaves_no_process_and_the_next_run_cleans_up(start_python):
    script = """
        import sys
        from thalweg import PipelineManager
        manager = PipelineManager(
            {
                "shared_memory": [{"name": n, "shape": [4], "dtype": "float32"} for n in "ab"],
                "kernels": [{"name": "k", "kind": "cpu.copy", "input": "a", "output": "b"}],
            }
        )
        manager.build()
        manager.start()
        print(manager.status()["workers"]["k"]["pid"])
        sys.stdin.read()
    """
    process = start_python(script)
    death = os.pidfd_open(int(process.stdout.readline()))
    process.kill()
    process.wait()
    until(lambda: _has_ended(death))
    os.close(death)
    assert thalweg.purge() == ["a", "b"]


def _has_ended(descriptor):
    import select

    return bool(select.select([descriptor], [], [], 0)[0])


ANY_KERNEL = """
from thalweg import Kernel

class Newest(Kernel):
    kind = "test.newest"
    input_arity = 2

    def compute_into(self, trigger_input, output, auxiliary_inputs):
        first, second = trigger_input
        output[:4], output[4:] = first, second
"""


def test_w11_every_trigger_of_any_new_counts(tmp_path, monkeypatch):
    """The second one as well as the first, without the first having to come."""
    (tmp_path / "any_kernel.py").write_text(ANY_KERNEL)
    monkeypatch.syspath_prepend(tmp_path)
    from any_kernel import Newest

    raw = {
        "shared_memory": [stream("a"), stream("b"), stream("c", (8,))],
        "kernels": [
            {
                "name": "k",
                "kind": "test.newest",
                "inputs": ["a", "b"],
                "output": "c",
                "trigger_policy": "any_new",
            }
        ],
    }
    registry = thalweg.get_default_registry().extended(Newest)
    with PipelineManager(raw, registry=registry) as manager:
        manager.build()
        manager.start()
        for value in range(1, 20):
            manager.get_stream("b").write([value] * 4)
            assert manager.get_stream("c").read_new(timeout=30)[4] == value
    sys.modules.pop("any_kernel")


def test_w12_a_dead_branch_is_counted_while_it_is_dead():
    raw = {
        "shared_memory": [stream("a"), stream("b"), stream("c", (8,))],
        "kernels": [
            {
                "name": "k",
                "kind": "cpu.concatenate",
                "inputs": ["a", "b"],
                "output": "c",
                "synchronization": {"mode": "matching_frame_id", "max_wait_s": 0.05},
            }
        ],
    }
    with PipelineManager(raw) as manager:
        manager.build()
        manager.start()
        manager.get_stream("a").write([1] * 4, frame_id=1)
        manager.get_stream("b").write([1] * 4, frame_id=1)
        assert manager.get_stream("c").read_new_publication(timeout=30).frame_id in (0, 1)
        # From here on only one branch lives.
        number = 1

        def skewed():
            nonlocal number
            number += 1
            manager.get_stream("a").write([1] * 4, frame_id=number)
            worker = manager.status()["workers"]["k"]
            return worker["frame_sync_skew_events"] + worker["frame_sync_timeouts"] > 0

        # A branch that does not publish at all has no frame to compare; one that lags has.
        manager.get_stream("b").write([1] * 4, frame_id=1)
        until(skewed)
        assert manager.state is PipelineState.RUNNING


def test_w14_a_worker_that_does_not_come_up_says_why(monkeypatch, tmp_path):
    complaint = tmp_path / "worker"
    complaint.write_text("#!/bin/sh\necho 'no licence for this device' >&2\nexit 3\n")
    complaint.chmod(0o755)
    monkeypatch.setenv("THALWEG_BIN", str(complaint))
    raw = {
        "shared_memory": [stream("a"), stream("b")],
        "kernels": [{"name": "k", "kind": "cpu.copy", "input": "a", "output": "b"}],
    }
    with PipelineManager(raw) as manager:
        manager.build()
        with pytest.raises(WorkerProcessError, match="(?s)worker 'k' failed: .*no licence"):
            manager.start()


def test_w16_json_is_alone_on_standard_output(tmp_path):
    path = tmp_path / "pipeline.yaml"
    path.write_text(
        "shared_memory:\n- {name: a, shape: [4], dtype: float32}\n"
        "- {name: b, shape: [4], dtype: float32}\n"
        "kernels:\n- {name: k, kind: cpu.copy, input: a, output: b}\n"
    )
    result = subprocess.run(
        [find_binary(), "describe", path, "--json"], capture_output=True, text=True, timeout=60
    )
    assert json.loads(result.stdout)["source_streams"] == ["a"]
    assert "\033" not in result.stdout
    path.write_text("shared_memory: [\n")
    result = subprocess.run(
        [find_binary(), "validate", path], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr + result.stdout
    assert "pipeline.yaml" in result.stderr + result.stdout


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("- {name: a, shape: [2.9], dtype: float32}", "shape"),
        ('- {name: a, shape: ["3x"], dtype: float32}', "shape"),
        ("- {name: a, shape: [true], dtype: float32}", "shape"),
        ("- {name: a, shape: [x], dtype: float32}", "shape"),
        ("- {name: a, shape: [4], dtype: object}", "dtype"),
        ("- {name: a, name: b, shape: [4], dtype: float32}", "name"),
        ("- {name: a, shape: [4], dtype: float32, cpu_mirror: 1}", "cpu_mirror"),
    ],
)
def test_w19_what_is_odd_is_an_error_with_its_line(tmp_path, line, text):
    path = tmp_path / "pipeline.yaml"
    path.write_text(
        f"shared_memory:\n- {{name: z, shape: [4], dtype: float32}}\n{line}\n"
        "sinks:\n- {name: k, kind: null.sink, stream: z}\n"
    )
    with pytest.raises(ConfigValidationError, match=rf"pipeline\.yaml:3:.*{text}"):
        PipelineConfig.from_yaml(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("read_timeout", True), ("read_timeout", "soon"), ("propagate_frame_id", "false")],
)
def test_w19_odd_values_of_kernels(field, value):
    raw = {
        "shared_memory": [stream("a"), stream("b")],
        "kernels": [{"name": "k", "kind": "cpu.copy", "input": "a", "output": "b", field: value}],
    }
    with pytest.raises(ConfigValidationError, match=field):
        PipelineConfig.from_dict(raw)


def test_w22_dtypes_are_checked_before_the_start():
    raw = {
        "shared_memory": [stream(name, dtype="int32") for name in ("a", "b", "c")],
        "kernels": [
            {
                "name": "k",
                "kind": "cpu.elementwise_divide",
                "input": "a",
                "output": "c",
                "auxiliary": ["b"],
            }
        ],
    }
    with pytest.raises(ConfigValidationError, match="'k'"):
        PipelineManager(raw).build()
    for entry in raw["shared_memory"]:
        entry["dtype"] = "float16"
    with PipelineManager(raw) as manager:
        manager.build()
        manager.start()
        manager.get_stream("b").write([2] * 4)
        manager.get_stream("a").write([1] * 4)
        assert manager.get_stream("c").read_new(timeout=30)[0] == 0.5


def test_w13_w27_many_stages_start_and_their_first_frame_is_like_any_other():
    count = 12
    raw = {
        "shared_memory": [stream(f"s{index}") for index in range(count + 1)],
        "kernels": [
            {"name": f"k{i}", "kind": "cpu.copy", "input": f"s{i}", "output": f"s{i + 1}"}
            for i in range(count)
        ],
    }
    with PipelineManager(raw) as manager:
        manager.build()
        manager.start()
        manager.get_stream("s0").write([5] * 4)
        assert manager.get_stream(f"s{count}").read_new(timeout=30)[0] == 5
        pids = {worker["pid"] for worker in manager.status()["workers"].values()}
        assert len(pids) == count
        for pid in pids:
            status = Path(f"/proc/{pid}/status").read_text()
            resident_kib = int(re.search(r"VmRSS:\s+(\d+)", status)[1])
            # shmpipeline needs 107 MB for each.
            assert resident_kib < 32 * 1024


def test_w24_what_configurations_can_say(tmp_path):
    raw = {
        "shared_memory": [stream("a", slots=5), stream("b")],
        "kernels": [
            {
                "name": "k",
                "kind": "cpu.copy",
                "input": "a",
                "output": "b",
                "placement": {"cpus": sorted(os.sched_getaffinity(0))[:1]},
                "wait": "park",
                "restart": "on-failure",
                "deadline": 10.0,
            }
        ],
    }
    with PipelineManager(raw) as manager:
        manager.build()
        assert manager.get_stream("a").slots == 5
        manager.start()
        pid = manager.status()["workers"]["k"]["pid"]
        os.kill(pid, 9)
        until(lambda: manager.status()["workers"]["k"]["restarts"] == 1)
        until(lambda: manager.status()["workers"]["k"]["health"] == "waiting-input")
        manager.get_stream("a").write([3] * 4)
        assert manager.get_stream("b").read_new(timeout=30)[0] == 3
        worker = manager.status()["workers"]["k"]
        assert worker["cpu_slot"] == min(os.sched_getaffinity(0))
        assert worker["deadline_missed"] == 0 and manager.state is PipelineState.RUNNING
        assert any(event["type"] == "worker_restarting" for event in manager.poll_events())


def test_every_defect_has_a_test_that_names_it():
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    names = re.findall(r"^def (test_\w+)", text, re.MULTILINE)
    found = {int(number) for name in names for number in re.findall(r"_w(\d+)", name)}
    assert {*range(1, 28)} - {17, 18} <= found, sorted({*range(1, 28)} - found)


def test_threads_of_managers_end_with_them():
    raw = {
        "shared_memory": [stream("a"), stream("b")],
        "kernels": [{"name": "k", "kind": "cpu.copy", "input": "a", "output": "b"}],
    }
    before = threading.active_count()
    for _ in range(3):
        with PipelineManager(raw) as manager:
            manager.build()
            manager.start()
    assert threading.active_count() == before
    assert sys.getrefcount(manager) <= 3
