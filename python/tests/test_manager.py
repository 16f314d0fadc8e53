"""Pipelines at work: states, changes while they run, what they report, test patterns, measuring."""

import dataclasses
import json
import logging
import os
import sys
import time
import warnings

import numpy as np
import pytest

import thalweg
from thalweg import KernelConfig, PipelineManager, PipelineState, SyntheticInputConfig
from thalweg.errors import (
    ConfigValidationError,
    ShmPipelineError,
    StateTransitionError,
    WorkerProcessError,
)
from thalweg.scheduling import (
    NoAffinityPlacementPolicy,
    RoundRobinPlacementPolicy,
    normalize_placement_policy,
)

pytestmark = pytest.mark.cpu


def until(condition):
    """Look again and again, for half a minute at most."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def stream(name, dtype="float32", **more):
    return {"name": name, "shape": [4], "dtype": dtype, **more}


def scaling(name, source, target, factor=2.0, **more):
    return {
        "name": name,
        "kind": "cpu.scale",
        "input": source,
        "output": target,
        "parameters": {"factor": factor},
        **more,
    }


def chain(*factors, **more):
    """Stages one behind the other, with streams s0, s1, ..."""
    return {
        "shared_memory": [stream(f"s{index}") for index in range(len(factors) + 1)],
        "kernels": [
            scaling(f"k{index}", f"s{index}", f"s{index + 1}", factor)
            for index, factor in enumerate(factors)
        ],
        **more,
    }


def failing():
    """A stage that fails, and one behind it."""
    raw = chain(1.0, 2.0)
    raw["kernels"][0] = {
        "name": "k0",
        "kind": "cpu.raise_error",
        "input": "s0",
        "output": "s1",
        "parameters": {"message": "boom"},
    }
    return raw


@pytest.fixture
def running():
    with PipelineManager(chain(2.0)) as manager:
        manager.build()
        manager.start()
        yield manager


def ask(manager, value, last="s1"):
    manager.get_stream("s0").write(np.full(4, value, np.float32))
    return manager.get_stream(last).read_new(timeout=30)[0]


# States


def test_every_call_says_in_which_states_it_is_possible():
    manager = PipelineManager(chain(2.0))
    calls = [
        (manager.start, "BUILT"),
        (manager.pause, "RUNNING"),
        (manager.resume, "PAUSED"),
        (manager.restart, "RUNNING, PAUSED or FAILED"),
        (lambda: manager.add_kernel(scaling("k", "s0", "s1")), "RUNNING or PAUSED"),
        (manager.benchmark, "RUNNING"),
        (lambda: manager.start_synthetic_input({"stream_name": "s0"}), "BUILT, RUNNING"),
    ]
    for call, text in calls:
        with pytest.raises(StateTransitionError, match=text):
            call()
    manager.stop_synthetic_input("s0")
    manager.stop_all_synthetic_inputs()
    assert manager.poll_events() == [] and manager.events == () and manager.failures == ()
    manager.raise_if_failed()
    manager.shutdown()
    assert manager.state is PipelineState.STOPPED
    manager.build()
    manager.shutdown()


def test_a_manager_says_what_it_was_made_of():
    registry = thalweg.get_default_registry()
    policy = RoundRobinPlacementPolicy(offset=1)
    manager = PipelineManager(
        chain(2.0), spawn_method="fork", placement_policy=policy, registry=registry
    )
    assert manager.registry is registry and manager.placement_policy is policy
    assert manager.graph.source_streams() == ("s0",)
    with pytest.raises(ValueError, match="spawn_method"):
        PipelineManager(chain(2.0), spawn_method="thread")


def test_a_pause_holds_frames_back(running):
    running.pause()
    assert running.state is PipelineState.PAUSED
    running.get_stream("s0").write([1] * 4)
    until(lambda: running.status()["workers"]["k0"]["health"] == "paused")
    assert running.status()["summary"]["paused_workers"] == 1
    running.resume()
    assert running.get_stream("s1").read_new(timeout=30)[0] == 2
    running.pause()
    running.stop()
    running.start()
    assert running.state is PipelineState.RUNNING
    assert ask(running, 3) == 6


def test_w8_w9_a_failed_stage_poisons_nobody_and_is_started_again():
    with PipelineManager(failing()) as manager:
        manager.build()
        manager.start()
        manager.get_stream("s1").write([1] * 4)
        assert manager.get_stream("s2").read_new(timeout=30)[0] == 2
        manager.get_stream("s0").write([1] * 4)
        until(lambda: manager.state is PipelineState.FAILED)
        [failure] = manager.failures
        assert (failure["type"], failure["kernel"]) == ("worker_failed", "k0")
        assert "boom" in failure["error"]
        with pytest.raises(WorkerProcessError, match="worker 'k0' failed: .*boom"):
            manager.raise_if_failed()
        # The frame before stays readable, and the stage behind goes on.
        assert manager.get_stream("s1").read()[0] == 1
        manager.get_stream("s1").write([5] * 4)
        assert manager.get_stream("s2").read_new(timeout=30)[0] == 10
        manager.restart()
        assert manager.state is PipelineState.RUNNING and manager.failures == ()
        assert manager.status()["workers"]["k0"]["alive"]


def test_a_restart_has_a_time_to_start_of_its_own():
    with PipelineManager(failing()) as manager:
        manager.build()
        manager.start()
        manager.get_stream("s0").write([1] * 4)
        until(lambda: manager.state is PipelineState.FAILED)
        with pytest.raises(WorkerProcessError, match=" 0 s: k0"):
            manager.restart(timeout=0)
        with pytest.raises(ValueError, match="timeout must be a number of seconds"):
            manager.restart(timeout=-1)
        manager.restart(timeout=60)
        assert manager.state is PipelineState.RUNNING and manager.failures == ()


def test_an_added_kernel_has_a_time_to_start_of_its_own(running):
    more = scaling("more", "s1", "s9")
    with pytest.raises(WorkerProcessError, match=" 0 s: more"):
        running.add_kernel(more, [stream("s9")], timeout=0)
    with pytest.raises(ValueError, match="timeout must be a number of seconds"):
        running.add_kernel(more, [stream("s9")], timeout=float("nan"))
    assert thalweg.list_streams() == ["s0", "s1"] and set(running.status()["workers"]) == {"k0"}
    running.add_kernel(more, [stream("s9")], timeout=60)
    assert ask(running, 3, "s9") == 12


def test_w9_a_failure_during_a_pause_keeps_the_pause():
    with PipelineManager(failing()) as manager:
        manager.build()
        manager.start()
        manager.pause()
        pid = manager.status()["workers"]["k1"]["pid"]
        os.kill(pid, 9)
        until(lambda: manager.state is PipelineState.FAILED)
        manager.restart()
        assert manager.state is PipelineState.PAUSED
        manager.resume()
        assert manager.state is PipelineState.RUNNING


def test_w15_a_build_that_fails_leaves_nothing():
    thalweg.create("s1", shape=(4,), dtype=np.float32).close()
    raw = chain(2.0)
    raw["shared_memory"][1]["mode"] = "create"
    manager = PipelineManager(raw)
    with pytest.raises(FileExistsError, match="already exists"):
        manager.build()
    assert manager.state is PipelineState.INITIALIZED
    assert thalweg.list_streams() == ["s1"]
    thalweg.unlink("s1")


def test_w3_a_second_start_is_ready_when_it_returns(running):
    for value in range(5):
        running.stop()
        running.start()
        assert running.status()["workers"]["k0"]["alive"]
        assert ask(running, value) == 2 * value


# Changes


def test_kernels_are_added_replaced_and_removed_while_the_others_go_on(running):
    status = running.add_kernel(
        scaling("more", "s1", "s9", 3.0),
        [stream("s9", initial={"pattern": "constant", "value": 7})],
    )
    assert set(status["workers"]) == {"k0", "more"}
    # W10: the initial value is there.
    assert running.get_stream("s9").read()[0] == 7
    assert ask(running, 1, "s9") == 6
    [k0] = [kernel for kernel in running.config.kernels if kernel.name == "k0"]
    pid = status["workers"]["more"]["pid"]
    status = running.replace_kernel(dataclasses.replace(k0, parameters={"factor": 10.0}))
    assert status["workers"]["more"]["pid"] == pid, "the other stage was not touched"
    assert ask(running, 1, "s9") == 30
    running.remove_kernel("more")
    assert set(running.status()["workers"]) == {"k0"}
    assert running.get_stream("s1").read_new(timeout=30)[0] == 10
    assert ask(running, 2) == 20
    with pytest.raises(KeyError, match="no kernel 'more'"):
        running.remove_kernel("more")
    with pytest.raises(KeyError, match="no kernel 'more'"):
        running.replace_kernel(scaling("more", "s0", "s1"))


def test_w10_a_change_that_fails_changes_nothing(running):
    before = running.config
    for kernel, streams, error in [
        (scaling("more", "s1", "s9", "three"), [stream("s9")], ConfigValidationError),
        (scaling("more", "s1", "s9"), [], ConfigValidationError),
        (scaling("k0", "s1", "s9"), [stream("s9")], ConfigValidationError),
        (scaling("more", "s1", "s9"), [stream("s9", mode="attach")], FileNotFoundError),
    ]:
        with pytest.raises(error):
            running.add_kernel(kernel, streams)
    assert running.config is before
    assert running.state is PipelineState.RUNNING
    assert thalweg.list_streams() == ["s0", "s1"]
    assert ask(running, 4) == 8


def test_kernels_are_added_to_a_pipeline_with_a_namespace():
    with PipelineManager(chain(2.0, namespace="lab")) as manager:
        manager.build()
        manager.start()
        manager.add_kernel(KernelConfig("copy", "cpu.copy", "s1", "s9"), [stream("s9")])
        assert thalweg.list_streams() == ["lab.s0", "lab.s1", "lab.s9"]
        assert ask(manager, 3, "s9") == 6


KERNEL_MODULE = """
from thalweg import Kernel

class Negate(Kernel):
    kind = "test.negate"

    def compute_into(self, trigger_input, output, auxiliary_inputs):
        output[...] = -trigger_input
"""


def test_kernels_in_python_are_added_and_replaced_as_well(tmp_path, monkeypatch):
    (tmp_path / "negating.py").write_text(KERNEL_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    from negating import Negate

    registry = thalweg.get_default_registry().extended(Negate)
    with PipelineManager(chain(2.0), registry=registry) as manager:
        manager.build()
        manager.start()
        manager.add_kernel(KernelConfig("more", "test.negate", "s1", "s9"), [stream("s9")])
        assert ask(manager, 3, "s9") == -6
        manager.replace_kernel(scaling("more", "s1", "s9", 10.0))
        assert ask(manager, 3, "s9") == 60
        manager.replace_kernel(KernelConfig("k0", "test.negate", "s0", "s1"))
        assert ask(manager, 3, "s9") == -30
    sys.modules.pop("negating")


# What it reports


def test_the_keys_of_status_and_snapshot(running):
    for value in range(3):
        ask(running, value)
    until(lambda: running.status()["workers"]["k0"]["frames_processed"] == 3)
    snapshot = running.runtime_snapshot()
    keys = "state workers sources sinks failures metrics synthetic_sources placement_policy summary"
    assert set(keys.split()) <= set(snapshot)
    assert abs(snapshot["timestamp"] - time.time()) < 60
    assert snapshot["graph"]["kernels"][0]["name"] == "k0"
    metrics = snapshot["metrics"]["k0"]
    keys = (
        "pid cpu_slot frames_processed last_exec_ms last_exec_us avg_exec_ms avg_exec_us "
        "jitter_us_rms throughput_hz runtime_s last_output_count metrics_window "
        "frame_sync_skew_events frame_sync_skipped_generations frame_sync_timeouts"
    )
    assert set(keys.split()) <= set(metrics)
    assert metrics["last_exec_us"] > 0 and metrics["jitter_us_rms"] >= 0
    worker = snapshot["workers"]["k0"]
    keys = "pid alive exitcode cpu_slot health idle_s last_metric_age_s execution wait latency"
    assert set(keys.split()) <= set(worker)
    assert metrics.items() <= worker.items()
    assert worker["latency"]["count"] == 3 and worker["missed_inputs"] == 0
    keys = (
        "workers_total active_workers idle_workers waiting_workers paused_workers failed_workers "
        "stopped_workers sources_total active_sources failed_sources sinks_total active_sinks "
        "failed_sinks"
    )
    assert set(keys.split()) <= set(snapshot["summary"])
    json.dumps(snapshot)


def test_w21_rates_decay_and_ages_grow(running):
    ask(running, 1)
    until(lambda: running.status()["workers"]["k0"]["frames_processed"] == 1)
    first = running.status()["workers"]["k0"]["idle_s"]
    until(lambda: running.status()["workers"]["k0"]["idle_s"] > first)
    until(lambda: running.status()["workers"]["k0"]["throughput_hz"] == 0)


def test_keys_of_native_sources_and_sinks():
    raw = {
        "shared_memory": [stream("noise")],
        "sources": [
            {
                "name": "maker",
                "kind": "synthetic.array",
                "stream": "noise",
                "parameters": {"pattern": "constant", "rate_hz": 1000},
            }
        ],
        "sinks": [{"name": "drain", "kind": "null.sink", "stream": "noise"}],
    }
    with PipelineManager(raw) as manager:
        manager.build()
        manager.start()
        until(lambda: manager.sink_status()["drain"]["frames_consumed"] >= 5)
        source, sink = manager.source_status()["maker"], manager.sink_status()["drain"]
    common = (
        "name kind stream alive effective_rate_hz throughput_hz started_at last_error "
        "plugin_metrics "
    )
    keys = common + (
        "streams coordinated_generation_count poll_interval frames_written last_write_time "
        "last_write_duration_ms"
    )
    assert set(keys.split()) <= set(source)
    keys = common + (
        "outputs read_timeout pause_sleep frames_consumed missed_writes last_read_time "
        "last_read_duration_ms"
    )
    assert set(keys.split()) <= set(sink)
    assert source["started_at"] <= source["last_write_time"]
    assert source["effective_rate_hz"] > 0
    assert sink["plugin_metrics"]


def test_a_garbage_collection_while_events_are_taken_may_end_the_run(run_python):
    # On the thread that notices them, and in the midst of noticing: the log is written there.
    out = run_python(
        """
        import faulthandler, gc, logging, os, signal, threading
        import thalweg

        faulthandler.dump_traceback_later(50, exit=True)
        gc.disable()
        ended = threading.Event()
        rubbish = []

        class Collecting(logging.Handler):
            def emit(self, record):
                if threading.current_thread().name == "thalweg-monitor" and rubbish:
                    rubbish.clear()
                    gc.collect()
                    ended.set()

        log = logging.getLogger("thalweg.pipelines")
        log.propagate = False
        log.addHandler(Collecting())
        config = {
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
        }
        manager = thalweg.PipelineManager(config)
        manager.build()
        manager.start()
        pid = manager.status()["workers"]["double"]["pid"]
        events = manager._run.events
        manager.cycle = manager
        rubbish.append(manager)
        del manager
        os.kill(pid, signal.SIGKILL)
        assert ended.wait(40)
        print([event["type"] for event in events.kept()], thalweg.list_streams())
        """
    )
    assert out == "['worker_started', 'worker_failed'] []\n"


def test_events_and_the_log(caplog):
    caplog.set_level(logging.INFO, "thalweg.pipelines")
    with PipelineManager(failing()) as manager:
        manager.build()
        manager.start()
        manager.get_stream("s1").write([1] * 4)
        manager.get_stream("s2").read_new(timeout=30)
        seen = []

        def has(kind):
            seen.extend(manager.poll_events())
            return any(event["type"] == kind for event in seen)

        until(lambda: has("worker_metrics"))
        manager.get_stream("s0").write([1] * 4)
        until(lambda: has("worker_failed"))
        manager.stop()
        assert has("worker_stopped")
    types = {(event["type"], event["kernel"]) for event in seen}
    assert {("worker_started", "k0"), ("worker_started", "k1"), ("worker_failed", "k0")} <= types
    assert ("worker_stopped", "k1") in types
    started = next(event for event in seen if event["type"] == "worker_started")
    assert started["pid"] and "cpu_slot" in started
    assert set(event["type"] for event in manager.events) <= {event["type"] for event in seen}
    text = "\n".join(record.getMessage() for record in caplog.records)
    for line in (
        "pipeline state: initialized -> built",
        "pipeline state: built -> running",
        "worker 'k0' started",
        "worker 'k0' failed: ",
        "worker 'k1' stopped",
        "pipeline state: built -> stopped",
    ):
        assert line in text, text


def test_w2_what_nobody_polls_is_logged_all_the_same_and_nothing_waits(caplog):
    caplog.set_level(logging.INFO, "thalweg.pipelines")
    with PipelineManager(chain(2.0)) as manager:
        manager.build()
        manager.start()
        until(lambda: "worker 'k0' started" in caplog.text)
        for value in range(2000):
            assert ask(manager, value) == 2 * value
        assert len(manager.events) <= 256


# Placement


def test_placement_policies():
    kernel = KernelConfig("k", "cpu.copy", "a", "b")
    policy = RoundRobinPlacementPolicy(offset=1)
    slots = [policy.cpu_slot_for(kernel=kernel, index=i, cpu_count=2) for i in range(3)]
    assert (slots, policy.describe()) == ([1, 0, 1], "round-robin")
    off = RoundRobinPlacementPolicy(enabled=False)
    assert off.cpu_slot_for(kernel=kernel, index=0, cpu_count=2) is None
    none = NoAffinityPlacementPolicy()
    assert none.cpu_slot_for(kernel=kernel, index=0, cpu_count=2) is None
    assert none.describe() == "none"
    assert normalize_placement_policy(None) == RoundRobinPlacementPolicy()
    assert normalize_placement_policy(none) is none


def test_slots_are_those_of_the_allowed_cpus():
    allowed = sorted(os.sched_getaffinity(0))

    class Last:
        def cpu_slot_for(self, *, kernel, index, cpu_count):
            assert kernel.name == f"k{index}" and cpu_count == len(allowed)
            return cpu_count - 1 if index == 0 else None

        def describe(self):
            return "last"

    with PipelineManager(chain(2.0, 2.0), placement_policy=Last()) as manager:
        manager.build()
        manager.start()
        status = manager.status()
        assert status["placement_policy"] == "last"
        assert status["workers"]["k0"]["cpu_slot"] == allowed[-1]
        pid = status["workers"]["k0"]["pid"]
        threads = [int(name) for name in os.listdir(f"/proc/{pid}/task")]
        assert {allowed[-1]} in [os.sched_getaffinity(thread) for thread in threads]
    quiet = PipelineManager(chain(2.0, placement={"policy": "none"}))
    assert quiet.placement_policy.describe() == "none"


# Test patterns


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"pattern": "noise"}, "pattern"),
        ({"rate_hz": 0}, "rate_hz"),
        ({"period": -1}, "period"),
        ({"impulse_interval": 1.5}, "impulse_interval"),
        ({"impulse_interval": 0}, "impulse_interval"),
        ({"seed": -1}, "seed"),
        ({"amplitude": "large"}, "amplitude"),
        ({"colour": 1}, "contains unsupported fields: 'colour'"),
    ],
)
def test_patterns_are_checked(spec, text):
    with pytest.raises(ConfigValidationError, match=text):
        SyntheticInputConfig.from_dict({"stream_name": "s0", **spec})
    with pytest.raises(ConfigValidationError, match="stream_name"):
        SyntheticInputConfig.from_dict({})


def test_a_pattern_by_position():
    spec = SyntheticInputConfig("s0", " Sine ", 10, 3, 2, 1, 8, 0, 5)
    assert (spec.pattern, spec.rate_hz, spec.seed, spec.impulse_interval) == ("sine", 10.0, 3, 5)


def test_patterns_are_written_paced_replaced_and_ended(running):
    running.start_synthetic_input(
        SyntheticInputConfig("s0", "constant", constant=3.0, offset=1.0, rate_hz=200.0)
    )
    assert running.get_stream("s1").read_new(timeout=30)[0] == 8
    status = running.synthetic_input_status()["s0"]
    keys = (
        "stream_name pattern rate_hz requested_rate_hz seed amplitude offset period constant "
        "impulse_interval frames_written alive effective_rate_hz started_at last_write_time "
        "last_write_duration_ms last_error"
    )
    assert set(keys.split()) == set(status)
    # Between two frames of a slow pattern everybody may write.
    running.start_synthetic_input({"stream_name": "s0", "pattern": "constant", "rate_hz": 0.001})
    until(lambda: running.synthetic_input_status()["s0"]["frames_written"] == 1)
    running.get_stream("s0").write([50] * 4, timeout=10)
    until(lambda: running.get_stream("s1").read()[0] == 100)
    running.pause()
    assert running.synthetic_input_status()["s0"]["alive"], "a pause does not concern it"
    running.resume()
    running.stop()
    assert running.synthetic_input_status()["s0"]["alive"]
    running.stop_synthetic_input("s0")
    running.stop_synthetic_input("s0")
    assert running.synthetic_input_status() == {}
    with pytest.raises(KeyError, match="no stream 'nowhere'"):
        running.start_synthetic_input({"stream_name": "nowhere"})


def test_random_patterns_are_those_of_numpy():
    with PipelineManager(chain(1.0)) as manager:
        manager.build()
        reader = manager.get_stream("s0").subscribe(budget=4)
        manager.start_synthetic_input({"stream_name": "s0", "seed": 11, "rate_hz": 500})
        rng = np.random.default_rng(11)
        for _ in range(3):
            expected = rng.standard_normal(4).astype(np.float32)
            np.testing.assert_array_equal(reader.read_next(timeout=30).payload, expected)
        reader.close()


def test_fractions_that_are_lost_are_warned_of():
    raw = {
        "shared_memory": [stream("a", "int32"), stream("b", "int32")],
        "kernels": [{"name": "k", "kind": "cpu.copy", "input": "a", "output": "b"}],
    }
    with PipelineManager(raw) as manager:
        manager.build()
        with pytest.warns(UserWarning, match="'sine'"):
            manager.start_synthetic_input({"stream_name": "a", "pattern": "sine"})
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            manager.start_synthetic_input({"stream_name": "a", "pattern": "checkerboard"})


def test_a_stream_of_a_source_is_not_written_twice():
    raw = chain(2.0)
    raw["sources"] = [{"name": "camera", "kind": "synthetic.array", "stream": "s0"}]
    with PipelineManager(raw) as manager:
        manager.build()
        with pytest.raises(ConfigValidationError, match="written by source 'camera'"):
            manager.start_synthetic_input({"stream_name": "s0"})


# Measuring


def test_a_benchmark_measures_spacing_and_true_latency(running):
    report = running.benchmark(
        duration_s=0.3, source={"stream_name": "s0", "rate_hz": 500}, warmup_s=0.05
    )
    assert report["output_stream"] == "s1"
    assert report["frames"] > 10 and report["throughput_hz"] > 0
    assert report["duration_s"] >= 0.3
    for distribution in (report["inter_arrival_ms"], report["latency_ms"]):
        assert {"min", "mean", "max", "p50", "p90", "p99"} <= set(distribution)
        assert distribution["min"] <= distribution["p50"] <= distribution["max"]
    assert report["latency_ms"]["count"] > 10
    assert set(report["workers"]["k0"]) == {"avg_exec_ms", "jitter_us_rms", "throughput_hz"}
    assert running.synthetic_input_status() == {}
    json.dumps(report)


def test_a_benchmark_without_frames_has_no_percentiles(running):
    report = running.benchmark(duration_s=0.05, warmup_s=0)
    assert report["frames"] == 0
    assert report["inter_arrival_ms"] == {"count": 0}
    with pytest.raises(ValueError, match="duration_s"):
        running.benchmark(duration_s=0)
    with pytest.raises(KeyError):
        running.benchmark(output_stream="nowhere")


def test_w26_a_pipeline_that_ends_in_a_sink_is_measured_where_it_ends():
    raw = chain(2.0)
    raw["sinks"] = [{"name": "end", "kind": "null.sink", "stream": "s1"}]
    with PipelineManager(raw) as manager:
        manager.build()
        manager.start()
        source = SyntheticInputConfig("s0", rate_hz=1000)
        report = manager.benchmark(0.1, source, warmup_s=0.05)
        assert report["output_stream"] == "s1" and report["frames"] > 0


def test_several_ends_have_to_be_told_apart():
    raw = chain(2.0)
    raw["shared_memory"].append(stream("other"))
    raw["kernels"].append(scaling("twin", "s0", "other"))
    with PipelineManager(raw) as manager:
        manager.build()
        manager.start()
        with pytest.raises(ValueError, match="name output_stream: .*'s1', 'other'"):
            manager.benchmark(0.1)


def test_errors_of_pipelines_are_of_one_family():
    from thalweg.errors import KernelExecutionError

    assert issubclass(KernelExecutionError, ShmPipelineError)
