"""Write the calibrations of the three loops into files, for `run_benchmark.py --calibrations`.

    python examples/tomographic_ao_stress/generate_calibrations.py FOLDER \\
        [--image-size 256] [--actuators 4096] [--seed 1]

Writes one `.npy` file for each calibration, 1.1 GB in all at full size, and
`expected_dimensions.json` with shape, dtype and bytes of every stream of the pipeline.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from thalweg import PipelineConfig
from tomography import DOCUMENT, add_size_arguments, calibrations, resized

DIMENSIONS = "expected_dimensions.json"


def generate(folder: Path, image_size: int, actuators: int, seed: int) -> int:
    """Write everything; the bytes of all arrays."""
    config = resized(PipelineConfig.from_yaml(DOCUMENT), image_size, actuators)
    folder.mkdir(parents=True, exist_ok=True)
    total = 0
    for name, array in calibrations(config, seed).items():
        np.save(folder / f"{name}.npy", array)
        total += array.nbytes
    dimensions = {
        stream.name: {
            "shape": list(stream.shape),
            "dtype": stream.dtype.name,
            "bytes": int(np.prod(stream.shape)) * stream.dtype.itemsize,
        }
        for stream in config.shared_memory
    }
    (folder / DIMENSIONS).write_text(json.dumps(dimensions, indent=2) + "\n")
    return total


def main() -> int:
    """Parse the command line and write."""
    parser = argparse.ArgumentParser(description="Write calibrations into files.")
    parser.add_argument("folder", type=Path, help="where to; is made if it does not exist")
    add_size_arguments(parser)
    arguments = parser.parse_args()
    total = generate(arguments.folder, arguments.image_size, arguments.actuators, arguments.seed)
    print(f"{total / 1e6:.1f} MB of calibrations in {arguments.folder}")
    print(f"shapes and dtypes of all streams in {arguments.folder / DIMENSIONS}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
