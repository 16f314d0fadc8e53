"""Whether the reconstructor keeps up with a camera that does not wait for it.

    python examples/observatory_ao_system/benchmark_affine_reconstructor.py \\
        [--rate-hz 500] [--warmup 1] [--duration 4] [--json FILE]

Frames that were made beforehand are written at a steady rate for `--warmup` seconds that do not
count and `--duration` seconds that do. Exit status 1 if the reconstruction of the last frame is
not that of NumPy, or a stage failed. The figures decide nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from run_example import Array, Calibration, Reference, check, images
from thalweg import PipelineConfig, PipelineManager

FRAMES = 64
WATCHDOG_S = 30.0
PERCENTILES = {"p50": 50, "p99": 99, "p99_9": 99.9, "max": 100}


@dataclass(frozen=True)
class Pacing:
    """What became of one stretch of frames written at a rate."""

    first: int
    """Number of its first frame; frames count from 1 and carry their number as id."""
    lateness_us: NDArray[np.float64]
    """How long after its time each write began."""
    write_us: NDArray[np.float64]
    """How long each write took."""
    elapsed_s: float

    @property
    def frames(self) -> int:
        """Frames that were written."""
        return len(self.lateness_us)


class Camera:
    """Writes the frames over and over, each at its time.

    Args:
        manager: a pipeline that runs.
        frames: what to write, of shape (frames, rows, columns).
        rate_hz: how many a second.
    """

    def __init__(self, manager: PipelineManager, frames: Array, rate_hz: float) -> None:
        self._stream = manager.get_stream("wavefront_image")
        self._frames = frames
        self._period_s = 1 / rate_hz
        self.written = 0

    def write_for(self, duration_s: float) -> Pacing:
        """Write at the rate for `duration_s` seconds, at least one frame."""
        count = max(1, round(duration_s / self._period_s))
        lateness_us, write_us = np.empty(count), np.empty(count)
        first = self.written + 1
        began = time.perf_counter()
        for index in range(count):
            # Times are absolute: a late frame does not delay those after it.
            due = began + index * self._period_s
            sleep_until(due)
            at = time.perf_counter()
            self._stream.write(
                self._frames[self.written % len(self._frames)], frame_id=self.written + 1
            )
            self.written += 1
            lateness_us[index] = (at - due) * 1e6
            write_us[index] = (time.perf_counter() - at) * 1e6
        # Until the next one would be due, so that stretches join.
        sleep_until(began + count * self._period_s)
        return Pacing(first, lateness_us, write_us, time.perf_counter() - began)


def sleep_until(due: float) -> None:
    """Return at a time of `time.perf_counter`, or a little later."""
    while (left := due - time.perf_counter()) > 0:
        time.sleep(left)


def percentiles(values: NDArray[np.float64]) -> dict[str, float]:
    """The `PERCENTILES` of some values."""
    return {name: float(np.percentile(values, share)) for name, share in PERCENTILES.items()}


def distribution_us(distribution: dict[str, Any]) -> dict[str, float | None]:
    """The same of a distribution in ns that a status reports; None where nothing was counted."""
    return {
        name: None if (value := distribution.get(f"{name}_ns")) is None else value / 1e3
        for name in PERCENTILES
    }


def await_last(manager: PipelineManager, frame_id: int) -> None:
    """Wait until the commands of the last frame are there.

    Raises:
        WorkerProcessError: a stage failed.
        TimeoutError: they do not come.
    """
    commands = manager.get_stream("commands")
    publication = commands.read_publication()
    while publication.frame_id != frame_id:
        manager.raise_if_failed()
        publication = commands.read_after_publication(publication.count, timeout=WATCHDOG_S)


def stages_of(manager: PipelineManager) -> dict[str, Any]:
    """Frames, missed inputs, computing times and latencies of every stage."""
    return {
        name: {
            "frames": worker["frames_processed"],
            "missed_inputs": worker["missed_inputs"],
            "execution_us": distribution_us(worker["execution"]),
            "latency_us": distribution_us(worker["latency"]),
        }
        for name, worker in manager.status()["workers"].items()
    }


def measure(rate_hz: float, warmup_s: float, duration_s: float, seed: int = 7) -> dict[str, Any]:
    """Write for `warmup_s` + `duration_s` seconds; what came out in the latter.

    Raises:
        WorkerProcessError, TimeoutError: as `await_last`.
        ArithmeticError: the reconstruction of the last frame deviates from NumPy's.
    """
    rng = np.random.default_rng(seed)
    calibration = Calibration.synthetic(rng)
    frames = np.stack(list(images(calibration, FRAMES, rng)))
    config = PipelineConfig.from_yaml(Path(__file__).with_name("pipeline.yaml"))
    with PipelineManager(config) as manager:
        manager.build()
        manager.get_stream("reconstructor").write(calibration.reconstructor)
        manager.get_stream("reconstructor_bias").write(calibration.bias)
        manager.get_stream("command_low").write(calibration.low)
        manager.get_stream("command_high").write(calibration.high)
        manager.start()
        camera = Camera(manager, frames, rate_hz)
        commands = manager.get_stream("commands")
        if warmup_s > 0:
            await_last(manager, camera.write_for(warmup_s).frames)
        emitted_before = commands.count
        pacing = camera.write_for(duration_s)
        await_last(manager, camera.written)
        # The commands are behind it, so this is the last one, too.
        correction = manager.get_stream("correction").read()
        emitted = commands.count - emitted_before
        manager.stop()  # Now every stage has counted its last frame.
        stages = stages_of(manager)

    last = frames[(camera.written - 1) % FRAMES]
    expected = Reference(calibration).stages(last)["correction"]
    deviation, problem = check(camera.written, "correction", correction, expected)
    if problem is not None:
        raise ArithmeticError(f"deviation in {problem}")
    return {
        "rate_hz": rate_hz,
        "duration_s": pacing.elapsed_s,
        "written": pacing.frames,
        "emitted": emitted,
        "written_hz": pacing.frames / pacing.elapsed_s,
        "emitted_hz": emitted / pacing.elapsed_s,
        "lateness_us": percentiles(pacing.lateness_us),
        "write_us": percentiles(pacing.write_us),
        "stages": stages,
        "largest_deviation": deviation,
    }


def row(name: str, figures: dict[str, float | None]) -> str:
    """One line of a table of percentiles."""
    cells = ["" if value is None else f"{value:.1f}" for value in figures.values()]
    return f"{name:<28}" + "".join(f"{cell:>12}" for cell in cells)


def print_report(report: dict[str, Any]) -> None:
    """What a person wants to know."""
    written, emitted = report["written"], report["emitted"]
    print(f"asked for {report['rate_hz']:g} frames/s, for {report['duration_s']:.2f} s")
    print(f"written {written} ({report['written_hz']:.1f}/s)")
    print(f"emitted {emitted} ({report['emitted_hz']:.1f}/s), {emitted / written:.2%} of written")
    print()
    print(f"{'us':<28}" + "".join(f"{name:>12}" for name in PERCENTILES))
    print(row("writer late by", report["lateness_us"]))
    print(row("write takes", report["write_us"]))
    for name, stage in report["stages"].items():
        print(row(f"{name} computes", stage["execution_us"]))
    for name, stage in report["stages"].items():
        print(row(f"image to end of {name}", stage["latency_us"]))
    missed = {name: stage["missed_inputs"] for name, stage in report["stages"].items()}
    print("missed inputs: " + ", ".join(f"{name} {count}" for name, count in missed.items()))
    print(
        f"the last reconstruction agrees with NumPy (deviation {report['largest_deviation']:.1e})"
    )


def positive(text: str) -> float:
    """A positive number, for argparse."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number, found {text}")
    return number


def not_negative(text: str) -> float:
    """A number of at least 0, for argparse."""
    return 0.0 if float(text) == 0 else positive(text)


def main() -> int:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description="Drive the reconstructor at a steady rate.")
    parser.add_argument("--rate-hz", type=positive, default=500.0, help="frames per second (500)")
    parser.add_argument("--warmup", type=not_negative, default=1.0, help="seconds before (1)")
    parser.add_argument("--duration", type=positive, default=4.0, help="seconds measured (4)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    arguments = parser.parse_args()
    try:
        report = measure(arguments.rate_hz, arguments.warmup, arguments.duration)
    except ArithmeticError as deviation:
        print(deviation, file=sys.stderr)
        return 1
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    print_report(report)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
