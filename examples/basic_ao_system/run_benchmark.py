"""How fast the five stages are at 120 x 120 pixels, one frame at a time.

    python examples/basic_ao_system/run_benchmark.py [--warmup 200] [--frames 2000] [--json FILE]

The rate is compared with a target, which is printed and decides nothing. Exit status 1 if the
commands of the last frame are not those of NumPy.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from basic_ao import Calibration, Reference, images, positive, tile_size_of
from thalweg import PipelineConfig, PipelineManager

TARGET_HZ = 2000.0
PICTURES = 16
# The integrator adds up rounding, over some 1 / (1 - leak) frames.
TOLERANCE = 1e-4


def measure(warmup: int, frames: int, seed: int) -> dict[str, Any]:
    """Run `warmup` + `frames` frames; times of the latter and the deviation of the last commands.

    Raises:
        AssertionError: the last commands deviate from NumPy's.
    """
    rng = np.random.default_rng(seed)
    config = PipelineConfig.from_yaml(Path(__file__).with_name("benchmark_120x120.yaml"))
    calibration = Calibration.synthetic(config, rng)
    reference = Reference(calibration, tile_size_of(config))
    pictures = images(config, PICTURES, rng)
    round_trip_us = np.empty(frames)

    with PipelineManager(config) as manager:
        manager.build()
        calibration.publish(manager)
        manager.start()
        camera, commands = manager.get_stream("wavefront_image"), manager.get_stream("commands")
        found = np.empty(commands.shape, commands.dtype)
        began = time.perf_counter()
        for number in range(warmup + frames):
            if number == warmup:
                began = time.perf_counter()
            written = time.perf_counter()
            camera.write(pictures[number % PICTURES])
            commands.read_new(timeout=30.0, out=found)
            if number >= warmup:
                round_trip_us[number - warmup] = (time.perf_counter() - written) * 1e6
        elapsed_s = time.perf_counter() - began
        workers = manager.status()["workers"]
        manager.stop()

    for number in range(warmup + frames):
        expected = reference.stages(pictures[number % PICTURES])["commands"]
    np.testing.assert_allclose(
        found, expected, rtol=TOLERANCE, atol=TOLERANCE, err_msg="commands of the last frame"
    )
    return {
        "frames": frames,
        "rate_hz": frames / elapsed_s,
        "target_hz": TARGET_HZ,
        "round_trip_us": {
            name: float(np.percentile(round_trip_us, share))
            for name, share in (("p50", 50), ("p90", 90), ("p99", 99))
        },
        "execution_us": {name: worker["avg_exec_us"] for name, worker in workers.items()},
        "largest_deviation": float(np.abs(found - expected).max()),
    }


def main() -> int:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description="Measure the loop at 120 x 120 pixels.")
    parser.add_argument("--warmup", type=positive, default=200, help="frames not measured (200)")
    parser.add_argument("--frames", type=positive, default=2000, help="frames measured (2000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of all arrays (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    arguments = parser.parse_args()
    try:
        report = measure(arguments.warmup, arguments.frames, arguments.seed)
    except AssertionError as deviation:
        print(deviation, file=sys.stderr)
        return 1
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    reached = "reached" if report["rate_hz"] >= TARGET_HZ else "missed"
    print(f"{report['frames']} frames, one at a time: {report['rate_hz']:.0f} frames/s")
    print(f"target of {TARGET_HZ:.0f} frames/s: {reached}")
    times = report["round_trip_us"]
    print("image to commands: " + ", ".join(f"{name} {times[name]:.0f} us" for name in times))
    for name, mean_us in report["execution_us"].items():
        print(f"  {name:<12}{mean_us:>8.1f} us/frame")
    print(f"last commands agree with NumPy (deviation {report['largest_deviation']:.1e})")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
