"""Calibrate one image by an expression and check it against NumPy.

    python examples/custom_operations/run_example.py [--seed 1]

Exit status 0 when the result agrees, 1 when it deviates.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from thalweg import PipelineConfig, PipelineManager

TOLERANCE = 1e-6

Array = NDArray[np.floating]


def calibrated(raw: Array, dark: Array, flat: Array) -> Array:
    """The reference, in double precision."""
    return (raw.astype(np.float64) - dark.astype(np.float64)) / flat.astype(np.float64)


def run(seed: int) -> int:
    """Send one image; the exit status."""
    rng = np.random.default_rng(seed)
    raw = rng.uniform(100.0, 1000.0, (4, 4)).astype(np.float32)
    dark = rng.uniform(5.0, 15.0, (4, 4)).astype(np.float32)
    flat = rng.uniform(0.8, 1.2, (4, 4)).astype(np.float32)

    config = PipelineConfig.from_yaml(Path(__file__).with_name("pipeline.yaml"))
    with PipelineManager(config) as manager:
        manager.build()
        manager.get_stream("dark_image").write(dark)
        manager.get_stream("flat_image").write(flat)
        manager.start()
        manager.get_stream("raw_image").write(raw)
        clean = manager.get_stream("clean_image").read_new(timeout=30.0)
        manager.stop()

    expected = calibrated(raw, dark, flat)
    if not np.allclose(clean, expected, rtol=TOLERANCE, atol=TOLERANCE):
        print(f"found\n{clean}\nNumPy says\n{expected} (tolerance {TOLERANCE})", file=sys.stderr)
        return 1
    print("(raw - dark) / flat, as NumPy has it:")
    print(clean)
    return 0


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description="Check (input - dark) / flat against NumPy.")
    parser.add_argument("--seed", type=int, default=1, help="seed of all arrays (1)")
    return run(parser.parse_args().seed)


if __name__ == "__main__":
    raise SystemExit(main())
