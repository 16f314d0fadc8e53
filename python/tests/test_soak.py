"""Random kills of native workers and of interpreters: a pipeline that may resume does, every time."""

import os
import random
import signal
import time

import numpy as np
import pytest

import thalweg
from thalweg import Kernel, PipelineManager, get_default_registry

pytestmark = pytest.mark.cpu

#: `THALWEG_SOAK_KILLS` asks for another number.
KILLS = 20
RESTART = {"policy": "on-failure", "backoff_s": 0.001, "backoff_max_s": 0.01}
WATCHDOG_S = 60


class Bias(Kernel):
    """Adds a number."""

    kind = "soak.bias"

    def compute_into(self, trigger_input, output, auxiliary_inputs):
        np.add(trigger_input, self.context.config.parameters["bias"], out=output)


def configuration():
    def kernel(number, kind, **parameters):
        return {
            "name": f"stage{number}",
            "kind": kind,
            "input": f"soak{number}",
            "output": f"soak{number + 1}",
            "parameters": parameters,
            "restart": RESTART,
        }

    return {
        "shared_memory": [
            {"name": f"soak{number}", "shape": [4], "dtype": "float32"} for number in range(4)
        ],
        "sources": [
            {
                "name": "pattern",
                "kind": "synthetic.array",
                "stream": "soak0",
                "parameters": {"pattern": "constant", "constant": 3, "rate_hz": 1000},
                "restart": RESTART,
            }
        ],
        "kernels": [
            kernel(0, "soak.bias", bias=1.0),
            kernel(1, "cpu.scale", factor=2.0),
            kernel(2, "soak.bias", bias=2.0),
        ],
    }


def wait_for_frames(manager, output):
    """Until frames come out that cannot have been on their way before."""
    wanted = output.count + 6
    end = time.monotonic() + WATCHDOG_S
    while output.count < wanted:
        assert time.monotonic() < end, manager.status()
        time.sleep(0.001)


def test_whatever_is_killed_the_pipeline_resumes():
    kills = int(os.environ.get("THALWEG_SOAK_KILLS", KILLS))
    chance = random.Random(20261129)
    registry = get_default_registry().extended(Bias)
    with PipelineManager(configuration(), registry=registry) as manager:
        manager.build()
        manager.start()
        output = manager.get_stream("soak3")
        wait_for_frames(manager, output)
        done = 0
        while done < kills:
            status = manager.status()
            assert status["state"] == "running", status["failures"]
            workers = [worker["pid"] for worker in status["workers"].values() if worker["pid"]]
            sources = [source.get("pid") for source in status["sources"].values()]
            victim = chance.choice(workers + [pid for pid in sources if pid])
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue  # between two lives
            done += 1
            wait_for_frames(manager, output)
            np.testing.assert_array_equal(output.read(), np.full(4, 10, np.float32))
        assert sum(worker["restarts"] for worker in manager.status()["workers"].values()) > 0
    assert thalweg.list_streams() == []
