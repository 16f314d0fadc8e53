"""Run all three loops at their rates, and tell how they do.

    python examples/tomographic_ao_stress/run_benchmark.py [--image-size 256] [--actuators 4096]
        [--rate-hz 500] [--warmup 1] [--duration 5] [--drop-probability 0] [--json FILE]
        [--calibrations FOLDER]

The sources of the document are left out: this program writes the eight cameras itself, so that it
knows when each exposure entered. Exit status 1 if a stage failed or nothing came out. The figures
decide nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from report import distribution_us, environment, loop, percentiles, print_report, skew
from thalweg import PipelineConfig, PipelineManager, SyntheticInputConfig
from thalweg.errors import WorkerProcessError
from tomography import (
    CALIBRATIONS,
    CAMERAS,
    DOCUMENT,
    Array,
    add_size_arguments,
    calibrations,
    exposures,
    publish,
    resized,
)

EXPOSURES = 8
TIP_TILT_RATES_HZ = {"slow_spot": 100.0, "fast_spot": 1000.0}
# How long commands of the last exposure may take before it counts as lost.
SETTLE_S = 5.0


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    image_size: int
    actuators: int
    seed: int
    rate_hz: float
    warmup_s: float
    duration_s: float
    drop_probability: float
    calibrations: Path | None


class Cameras:
    """Writes exposures at a rate; the number of an exposure is the frame id of its images."""

    def __init__(self, manager: PipelineManager, images: Array, settings: Settings) -> None:
        self._streams = [manager.get_stream(camera) for camera in CAMERAS]
        self._images = images
        self._period_s = 1 / settings.rate_hz
        self._drop_probability = settings.drop_probability
        self._rng = np.random.default_rng(settings.seed)
        self.written_ns: list[int] = []
        """When each exposure was about to be written, in ns of the monotonic clock; the first has
        number 1."""
        self.incomplete = 0
        self.latest_us = 0.0

    def write_for(self, duration_s: float) -> None:
        """Write for a time. What cannot be written in time is late, and never left out."""
        began = time.monotonic()
        for index in range(max(1, round(duration_s / self._period_s))):
            due = began + index * self._period_s
            while (left := due - time.monotonic()) > 0:
                time.sleep(left)
            self.latest_us = max(self.latest_us, -left * 1e6)
            self._write()

    def _write(self) -> None:
        exposure = self._images[len(self.written_ns) % len(self._images)]
        lost = self._rng.random(len(CAMERAS)) < self._drop_probability
        self.written_ns.append(time.monotonic_ns())
        self.incomplete += bool(lost.any())
        for stream, image, is_lost in zip(self._streams, exposure, lost, strict=True):
            if not is_lost:
                stream.write(image, frame_id=len(self.written_ns))


class Trace:
    """Notes which commands come out and when, from a thread of its own.

    Times are those of publication, so that it does not matter when this thread gets to run; what
    it misses altogether is in the count of the stream.
    """

    def __init__(self, manager: PipelineManager) -> None:
        self._stream = manager.get_stream("commands")
        self._end = threading.Event()
        self.published_ns: dict[int, int] = {}
        """By frame id."""
        self._thread = threading.Thread(target=self._run, name="trace")
        self._thread.start()

    def _run(self) -> None:
        out = np.empty(self._stream.shape, self._stream.dtype)
        count = self._stream.count
        while not self._end.is_set():
            try:
                publication = self._stream.read_after_publication(
                    count, timeout=0.1, out=out, wait="park"
                )
            except TimeoutError:
                continue
            count = publication.count
            self.published_ns[publication.frame_id] = publication.publish_ns

    def end(self) -> None:
        """Stop noting."""
        self._end.set()
        self._thread.join()


def loaded(config: PipelineConfig, folder: Path) -> dict[str, Array]:
    """The calibrations in a folder.

    Raises:
        ValueError: they are of other sizes than the pipeline.
        OSError: a file is not there.
    """
    arrays = {}
    for name in CALIBRATIONS:
        arrays[name] = np.load(folder / f"{name}.npy", mmap_mode="r")
        expected = config.shared_memory_by_name[name].shape
        if arrays[name].shape != expected:
            raise ValueError(
                f"{folder / name}.npy has shape {arrays[name].shape}, the pipeline needs "
                f"{expected}; generate it with the same --image-size and --actuators"
            )
    return arrays


def measure(settings: Settings) -> dict[str, Any]:
    """Run the loops; the report.

    Raises:
        WorkerProcessError: a stage failed.
        RuntimeError: no commands came out.
        ValueError, OSError: as `loaded`.
    """
    config = PipelineConfig.from_yaml(DOCUMENT)
    config = resized(config, settings.image_size, settings.actuators)
    images = exposures(config, EXPOSURES, settings.seed + 1)
    with PipelineManager(config, worker_start_timeout=60.0) as manager:
        manager.build()
        if settings.calibrations is None:
            publish(manager, calibrations(config, settings.seed))
        else:
            publish(manager, loaded(config, settings.calibrations))
        manager.start()
        for stream, rate_hz in TIP_TILT_RATES_HZ.items():
            manager.start_synthetic_input(
                SyntheticInputConfig(stream, offset=100.0, amplitude=10.0, rate_hz=rate_hz)
            )
        cameras = Cameras(manager, images, settings)
        if settings.warmup_s > 0:
            cameras.write_for(settings.warmup_s)
            settle(manager)
        first = len(cameras.written_ns) + 1
        incomplete, commands = cameras.incomplete, manager.get_stream("commands")
        count = commands.count
        cameras.latest_us = 0.0
        trace = Trace(manager)
        began = time.monotonic()
        try:
            cameras.write_for(settings.duration_s)
            elapsed_s = time.monotonic() - began
            settle(manager)
        finally:
            trace.end()
        manager.stop_all_synthetic_inputs()
        manager.stop()  # Now every stage has counted its last frame.
        status = manager.status()
        emitted = commands.count - count
    written = len(cameras.written_ns) - first + 1
    latencies_us = np.array(
        [
            (at_ns - cameras.written_ns[number - 1]) / 1e3
            for number, at_ns in trace.published_ns.items()
            if number >= first
        ]
    )
    if emitted == 0:
        raise RuntimeError(f"{written} exposures were written and no commands came out")
    return {
        "environment": environment(),
        "dimensions": {
            "image_size": settings.image_size,
            "sensors": len(CAMERAS),
            "slopes": config.shared_memory_by_name["reconstructor"].shape[1],
            "actuators": settings.actuators,
        },
        "tomography": {
            "rate_hz": settings.rate_hz,
            "duration_s": elapsed_s,
            "exposures": written,
            "incomplete_exposures": cameras.incomplete - incomplete,
            "commands": emitted,
            "delivery_ratio": emitted / written,
            "written_hz": written / elapsed_s,
            "commands_hz": emitted / elapsed_s,
            "writer_late_by_at_most_us": cameras.latest_us,
            "traced": len(latencies_us),
            "latency_us": percentiles(latencies_us),
            **skew(status["workers"]["tomography"]),
        },
        "tip_tilt": {
            name: loop(status["workers"][name], rate_hz, status["runtime_s"])
            for name, rate_hz in zip(
                ("slow_loop", "fast_loop"), TIP_TILT_RATES_HZ.values(), strict=True
            )
        },
        "execution_us": {
            name: distribution_us(worker["execution"]) for name, worker in status["workers"].items()
        },
    }


def settle(manager: PipelineManager) -> None:
    """Wait until no commands have come for a while: all that will come have come.

    Raises:
        WorkerProcessError: a stage failed.
    """
    commands = manager.get_stream("commands")
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        manager.raise_if_failed()
        try:
            commands.wait_for_count(after=commands.count, timeout=0.5)
        except TimeoutError:
            return


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Run the three loops at their rates.")
    add_size_arguments(parser)
    parser.add_argument("--rate-hz", type=positive, default=500.0, help="of the cameras (500)")
    parser.add_argument("--warmup", type=not_negative, default=1.0, help="seconds before (1)")
    parser.add_argument("--duration", type=positive, default=5.0, help="seconds measured (5)")
    parser.add_argument(
        "--drop-probability",
        type=probability,
        default=0.0,
        help="how often a camera loses an image, from 0 to 1 (0)",
    )
    parser.add_argument(
        "--calibrations", type=Path, metavar="FOLDER", help="what generate_calibrations.py wrote"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the report there")
    return parser


def positive(text: str) -> float:
    """A positive number, for argparse."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number, found {text}")
    return number


def not_negative(text: str) -> float:
    """A number of at least 0, for argparse."""
    return 0.0 if float(text) == 0 else positive(text)


def probability(text: str) -> float:
    """A number from 0 to 1, for argparse."""
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, found {text}")
    return number


def main() -> int:
    """Parse the command line, measure and print."""
    arguments = parser().parse_args()
    settings = Settings(
        image_size=arguments.image_size,
        actuators=arguments.actuators,
        seed=arguments.seed,
        rate_hz=arguments.rate_hz,
        warmup_s=arguments.warmup,
        duration_s=arguments.duration,
        drop_probability=arguments.drop_probability,
        calibrations=arguments.calibrations,
    )
    try:
        report = measure(settings)
    except (WorkerProcessError, RuntimeError, ValueError, OSError) as problem:
        print(problem, file=sys.stderr)
        return 1
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    print_report(report)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
