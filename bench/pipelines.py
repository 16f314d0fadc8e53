"""Pipelines from Python: `python bench/pipelines.py LIBRARY`, where LIBRARY is thalweg or its peer.

Libraries get the same configurations, the same frames, and are used through the same calls.
Requests:

    open NAME              build and start a pipeline: copy_64, copy_120x120, scale_120x120,
                           scale5_120x120, group_120x120, alone, fan_out, shared_calibration,
                           observatory, observatory_half
    lock_step COUNT        write a frame, wait for its result: the time between the two
    in_flight SECONDS      two frames in the pipeline at any time: results per second
    flat_out SECONDS       a process writes as fast as it can, frames are skipped: results per second
    watched COUNT          as lock_step, while another process looks at the pipeline ten times a
                           second
    paced RATE_HZ SECONDS  write frames at that rate: the share of them that comes out, at the end
                           that gets the fewest
    memory                 proportional size of the workers, each
    close                  shut down
    start_up STAGES        build and start that many copies in a row, wait for the first result
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import numpy as np
from numpy.typing import NDArray
from party import Answer, Party, in_us, load, serve, times_ns

TIMEOUT_S = 20.0
SEED = 7
EXAMPLE = Path(__file__).parent.parent / "examples" / "observatory_ao_system"
Array = NDArray[Any]


def chain(kind: str, shape: tuple[int, ...], stages: int, **parameters: float) -> dict[str, Any]:
    """The configuration of `stages` kernels of one kind, one after the other."""
    names = [f"bench-{os.getpid()}-{stage}" for stage in range(stages + 1)]
    return {
        "shared_memory": [
            {"name": name, "shape": list(shape), "dtype": "float32", "storage": "cpu"}
            for name in names
        ],
        "kernels": [
            {
                "name": f"stage-{stage}",
                "kind": kind,
                "input": before,
                "output": after,
                "parameters": parameters,
                "propagate_frame_id": True,
            }
            for stage, (before, after) in enumerate(itertools.pairwise(names))
        ],
    }


def example() -> Any:
    """The module of the observatory example: its calibration and its camera frames."""
    specification = importlib.util.spec_from_file_location("example", EXAMPLE / "run_example.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["example"] = module  # where its dataclasses look themselves up
    specification.loader.exec_module(module)
    return module


def frames_of(shape: tuple[int, ...]) -> list[Array]:
    """A few frames to send in turns."""
    rng = np.random.default_rng(SEED)
    if shape == (256, 256):
        module = example()
        calibration = module.Calibration.synthetic(rng)
        return list(module.images(calibration, 8, rng))
    return [rng.random(shape, np.float32) for _ in range(8)]


def branches(count: int, shared_input: bool) -> dict[str, Any]:
    """The configuration of `count` kernels side by side that all use one calibration, with one
    input for all of them or one each."""
    prefix = f"bench-{os.getpid()}"
    inputs = [f"{prefix}-in-{0 if shared_input else branch}" for branch in range(count)]
    outputs = [f"{prefix}-out-{branch}" for branch in range(count)]
    names = [*dict.fromkeys(inputs), *outputs, f"{prefix}-calibration"]
    return {
        "shared_memory": [
            {"name": name, "shape": [512, 512], "dtype": "float32", "storage": "cpu"}
            for name in names
        ],
        "kernels": [
            {
                "name": f"branch-{branch}",
                "kind": "cpu.elementwise_multiply",
                "input": source,
                "output": target,
                "auxiliary": {"calibration": names[-1]},
            }
            for branch, (source, target) in enumerate(zip(inputs, outputs, strict=True))
        ],
    }


BRANCHES = {"alone": (1, True), "fan_out": (2, True), "shared_calibration": (2, False)}


class Pipeline:
    """One pipeline of a library, running."""

    def __init__(self, library: Any, name: str) -> None:
        config, first, second, last = self._configuration(library, name)
        self._manager = library.PipelineManager(config, worker_start_timeout=TIMEOUT_S)
        began = perf_counter()
        self._manager.build()
        if name.startswith("observatory"):
            self._calibrate()
        self._ends = [kernel.output for kernel in self._manager.config.kernels]
        if name in BRANCHES:
            streams = self._manager.config.shared_memory
            self._manager.get_stream(streams[-1].name).write(np.ones((512, 512), np.float32))
            self._starts = [kernel.input for kernel in self._manager.config.kernels]
        built = perf_counter()
        self._manager.start()
        self.build_ms = (built - began) * 1e3
        self.start_ms = (perf_counter() - built) * 1e3
        self._input = self._manager.get_stream(first)
        self._second = self._manager.get_stream(second)
        self._output = self._manager.get_stream(last)
        self._frames = itertools.cycle(frames_of(self._input.shape))
        self._result = np.empty(self._output.shape, np.float32)
        self._sent = 0
        # Whatever is compiled or mapped only now is no part of any figure.
        for _ in range(20):
            self.exchange()

    @staticmethod
    def _configuration(library: Any, name: str) -> tuple[Any, str, str, str]:
        """The configuration, and its first, second and last stream."""
        if name.startswith("observatory"):
            config = library.PipelineConfig.from_yaml(EXAMPLE / "pipeline.yaml")
            if name == "observatory_half":
                raw = config.to_dict()
                raw["namespace"] += "-half"  # both may run at the same time
                (transform,) = (
                    kernel for kernel in raw["kernels"] if kernel["kind"] == "cpu.affine_transform"
                )
                transform["parameters"] = {"matrix_storage": "float16"}
                config = library.PipelineConfig.from_dict(raw)
            return config, "wavefront_image", "centroids", "commands"
        if name in BRANCHES:
            raw = branches(*BRANCHES[name])
            kernel = raw["kernels"][0]
            config = library.PipelineConfig.from_dict(raw)
            return config, kernel["input"], kernel["output"], kernel["output"]
        kind, _, size = name.partition("_")
        shape = tuple(int(extent) for extent in size.split("x"))
        if kind == "copy":
            raw = chain("cpu.copy", shape, 1)
        else:
            raw = chain("cpu.scale", shape, 5 if kind == "scale5" else 3, factor=1.5)
        if kind == "group":
            for kernel in raw["kernels"]:
                kernel["group"] = "all"
        names = [stream["name"] for stream in raw["shared_memory"]]
        return library.PipelineConfig.from_dict(raw), names[0], names[1], names[-1]

    def _calibrate(self) -> None:
        calibration = example().Calibration.synthetic(np.random.default_rng(SEED))
        for stream, array in {
            "reconstructor": calibration.reconstructor,
            "reconstructor_bias": calibration.bias,
            "command_low": calibration.low,
            "command_high": calibration.high,
        }.items():
            self._manager.get_stream(stream).write(array)

    def _send(self) -> None:
        self._sent += 1
        self._input.write(next(self._frames), frame_id=self._sent)

    def exchange(self) -> None:
        """One frame in, its result out."""
        seen = self._output.count
        self._send()
        self._output.read_after(seen, timeout=TIMEOUT_S, out=self._result)

    def in_flight(self, seconds: float) -> Answer:
        """Two frames under way: the next is written once the one before has left the first stage,
        so that it replaces nothing, and at most one other has not come out yet."""
        began, before = perf_counter(), self._output.count
        while perf_counter() < began + seconds:
            passed, done = self._second.count, self._output.count
            if self._second.frame_id < self._sent:
                self._second.read_after(passed, timeout=TIMEOUT_S)
            elif self._output.frame_id < self._sent - 1:
                self._output.read_after(done, timeout=TIMEOUT_S, out=self._result)
            else:
                self._send()
        elapsed_s = perf_counter() - began
        results = self._output.count - before
        while self._output.frame_id < self._sent:
            done = self._output.count
            if self._output.frame_id < self._sent:
                self._output.read_after(done, timeout=TIMEOUT_S, out=self._result)
        return {"results_per_s": round(results / elapsed_s, 1)}

    def paced(self, rate_hz: float, seconds: float) -> Answer:
        """Frames at a rate, into every input."""
        starts = [self._manager.get_stream(name) for name in dict.fromkeys(self._starts)]
        ends = [self._manager.get_stream(name) for name in self._ends]
        frame = next(self._frames)
        before = [end.count for end in ends]
        frames = int(rate_hz * seconds)
        due = perf_counter()
        for _ in range(frames):
            due += 1 / rate_hz
            if (left := due - perf_counter()) > 0:
                sleep(left)
            for start in starts:
                start.write(frame)
        sleep(0.2)
        shares = [(end.count - seen) / frames for end, seen in zip(ends, before, strict=True)]
        return {"share": round(min(shares), 4)}

    def memory(self) -> Answer:
        """Proportional set sizes, as the system tells them."""
        workers = self._manager.status()["workers"].values()
        sizes_kib = []
        for worker in workers:
            text = Path(f"/proc/{worker['pid']}/smaps_rollup").read_text(encoding="ascii")
            (line,) = (line for line in text.splitlines() if line.startswith("Pss:"))
            sizes_kib.append(int(line.split()[1]))
        return {"mib_each": round(sum(sizes_kib) / len(sizes_kib) / 1024, 3)}

    def flat_out(self, library: str, seconds: float) -> Answer:
        """A producer that waits for nobody."""
        producer = Party(library, self._input.name)
        try:
            producer.ask("prepare")
            producer.begin(f"produce {seconds + 0.3}")
            sleep(0.1)
            # Sleeping through it, because whoever looks on takes a processor from the stages.
            began, before = perf_counter(), self._output.count
            sleep(seconds)
            results, elapsed_s = self._output.count - before, perf_counter() - began
            return {"results_per_s": round(results / elapsed_s, 1), **producer.end()}
        finally:
            producer.close()

    def close(self) -> None:
        """End the workers and remove the streams."""
        self._manager.shutdown()


class Pipelines:
    """Answers requests with at most one pipeline at a time."""

    def __init__(self, library: str) -> None:
        self._library = library
        self._module = load(library)
        self._pipeline: Pipeline | None = None

    def open(self, name: str) -> Answer:
        """Start one."""
        self.close()
        self._pipeline = Pipeline(self._module, name)
        return {"build_ms": self._pipeline.build_ms, "start_ms": self._pipeline.start_ms}

    def lock_step(self, count: str) -> Answer:
        """See the module."""
        exchange = self._running().exchange
        # A pipeline that was idle may have to get used to work again.
        for _ in range(100):
            exchange()
        return in_us(times_ns(exchange, int(count)))

    def watched(self, count: str) -> Answer:
        """See the module."""
        thalweg = str(Path(sys.executable).with_name("thalweg"))
        command = [thalweg, "top", "--json", "--interval", "0.1"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as observer:
            try:
                return self.lock_step(count)
            finally:
                observer.terminate()

    def paced(self, rate_hz: str, seconds: str) -> Answer:
        """See the module."""
        return self._running().paced(float(rate_hz), float(seconds))

    def memory(self) -> Answer:
        """See the module."""
        return self._running().memory()

    def in_flight(self, seconds: str) -> Answer:
        """See the module."""
        return self._running().in_flight(float(seconds))

    def flat_out(self, seconds: str) -> Answer:
        """See the module."""
        return self._running().flat_out(self._library, float(seconds))

    def close(self) -> Answer:
        """End the one that runs, if any."""
        if self._pipeline is not None:
            self._pipeline.close()
            self._pipeline = None
        return {}

    def start_up(self, stages: str) -> Answer:
        """See the module."""
        raw = chain("cpu.copy", (64,), int(stages))
        names = [stream["name"] for stream in raw["shared_memory"]]
        config = self._module.PipelineConfig.from_dict(raw)
        manager = self._module.PipelineManager(config, worker_start_timeout=60.0)
        try:
            began = perf_counter()
            manager.build()
            manager.start()
            started = perf_counter()
            output = manager.get_stream(names[-1])
            seen = output.count
            manager.get_stream(names[0]).write(np.ones(64, np.float32))
            output.read_after(seen, timeout=TIMEOUT_S)
            answered = perf_counter()
        finally:
            manager.shutdown()
        ended = perf_counter()
        return {
            "start_ms": round((started - began) * 1e3, 3),
            "first_result_ms": round((answered - started) * 1e3, 3),
            "shutdown_ms": round((ended - answered) * 1e3, 3),
        }

    def _running(self) -> Pipeline:
        if self._pipeline is None:
            raise RuntimeError("no pipeline is open")
        return self._pipeline


class Producer:
    """Writes frames as fast as it can."""

    def __init__(self, library: str, stream: str) -> None:
        streams = {"shmpipeline": "pyshmem"}.get(library, library)
        self._stream = load(streams).open(stream)
        self._frames: list[Array] = []

    def prepare(self) -> Answer:
        """Make the frames."""
        self._frames = frames_of(self._stream.shape)
        return {}

    def produce(self, seconds: str) -> Answer:
        """Write for that long."""
        written = 0
        began = perf_counter()
        while perf_counter() < began + float(seconds):
            for frame in self._frames:
                self._stream.write(frame)
            written += len(self._frames)
        return {"written_per_s": round(written / (perf_counter() - began), 1)}


def main(library: str, stream: str | None = None) -> None:
    """Own pipelines, or produce for one."""
    if stream is not None:
        producer = Producer(library, stream)
        serve({"prepare": producer.prepare, "produce": producer.produce})
        return
    pipelines = Pipelines(library)
    try:
        serve(
            {
                "open": pipelines.open,
                "lock_step": pipelines.lock_step,
                "in_flight": pipelines.in_flight,
                "flat_out": pipelines.flat_out,
                "watched": pipelines.watched,
                "paced": pipelines.paced,
                "memory": pipelines.memory,
                "close": pipelines.close,
                "start_up": pipelines.start_up,
            }
        )
    finally:
        pipelines.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
