"""What `run_benchmark.py` reports: figures from statuses, the machine, and text for people."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import thalweg
from numpy.typing import NDArray

PERCENTILES = {"p50": 50, "p90": 90, "p99": 99, "max": 100}


def skew(worker: Mapping[str, Any]) -> dict[str, int]:
    """What the matching of frame ids counted, from the start on."""
    names = ("skew_events", "skipped_generations", "timeouts")
    return {name: worker[f"frame_sync_{name}"] for name in names}


def loop(worker: Mapping[str, Any], rate_hz: float, runtime_s: float) -> dict[str, Any]:
    """How one of the small loops did, from the start on."""
    return {
        "requested_hz": rate_hz,
        "frames": worker["frames_processed"],
        "missed_inputs": worker["missed_inputs"],
        "mean_hz": worker["frames_processed"] / runtime_s,
        "latency_us": distribution_us(worker["latency"]),
    }


def percentiles(values: NDArray[np.float64]) -> dict[str, float]:
    """The `PERCENTILES` of some values; none of no values."""
    if not len(values):
        return {}
    return {name: float(np.percentile(values, share)) for name, share in PERCENTILES.items()}


def distribution_us(distribution: Mapping[str, Any]) -> dict[str, float | None]:
    """Percentiles of a distribution of times that a status reports, in us."""
    return {
        name: None if (value := distribution.get(f"{name}_ns")) is None else value / 1e3
        for name in ("p50", "p99", "max")
    }


def environment() -> dict[str, Any]:
    """On what this was measured."""
    models = {
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    }
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": platform.platform(),
        "cpu": ", ".join(sorted(models)) or platform.machine(),
        "cpus": os.cpu_count(),
        "allowed_cpus": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "thalweg": thalweg.__version__,
    }


def print_report(report: Mapping[str, Any]) -> None:
    """What a person wants to know."""
    sizes, loop = report["dimensions"], report["tomography"]
    where = report["environment"]
    print(f"{where['cpu']}, {where['allowed_cpus']} of {where['cpus']} CPUs, {where['system']}")
    print(
        f"{sizes['sensors']} cameras of {sizes['image_size']} x {sizes['image_size']}, "
        f"{sizes['slopes']} slopes, {sizes['actuators']} actuators"
    )
    print(
        f"exposures: {loop['exposures']} in {loop['duration_s']:.2f} s "
        f"({loop['written_hz']:.1f} of {loop['rate_hz']:g} Hz), "
        f"{loop['incomplete_exposures']} without an image, writer late by at most "
        f"{loop['writer_late_by_at_most_us']:.0f} us"
    )
    print(
        f"commands: {loop['commands']} ({loop['commands_hz']:.1f} Hz), "
        f"delivery ratio {loop['delivery_ratio']:.4f}"
    )
    print(
        f"skew events {loop['skew_events']}, skipped generations {loop['skipped_generations']}, "
        f"time-outs {loop['timeouts']}"
    )
    print(f"first image to commands, {loop['traced']} traced: {times(loop['latency_us'])}")
    for name, small in report["tip_tilt"].items():
        print(
            f"{name}: {small['mean_hz']:.1f} of {small['requested_hz']:g} Hz, "
            f"{small['missed_inputs']} missed, image to command {times(small['latency_us'])}"
        )
    for name, figures in report["execution_us"].items():
        print(f"{name} computes: {times(figures)}")


def times(figures: Mapping[str, float | None]) -> str:
    """Percentiles for people."""
    return ", ".join(
        f"{name} {value:.0f} us" for name, value in figures.items() if value is not None
    )
