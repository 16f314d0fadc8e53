"""Run the pipeline of this folder and check the files it writes.

Exit status 0 if at least eight files appeared in time and every one holds half of an image of the
camera, 1 otherwise.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import thalweg
from thalweg.errors import ConfigValidationError

WANTED = 8


def main() -> int:
    """Run it; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output-dir", type=Path, help="where to write the files")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds to wait for the files")
    parser.add_argument(
        "--process",
        choices=("manager", "own"),
        default="manager",
        help="run camera and sink on threads of this program, or each in a process of its own",
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.output_dir or Path(temporary)
        return run(folder.absolute(), arguments.timeout, arguments.process)


def run(folder: Path, timeout_s: float, process: str) -> int:
    """Run the pipeline until there are enough files in `folder`, then check them."""
    config = thalweg.PipelineConfig.from_yaml(Path(__file__).with_name("pipeline.yaml"))
    (camera,), (sink,) = config.sources, config.sinks
    parameters = {**sink.parameters, "output_dir": str(folder)}
    config = dataclasses.replace(
        config,
        sources=(dataclasses.replace(camera, process=process),),
        sinks=(dataclasses.replace(sink, process=process, parameters=parameters),),
    )
    try:
        with thalweg.PipelineManager(config) as manager:
            manager.build()
            manager.start()
            deadline = time.monotonic() + timeout_s
            while len(files(folder)) < WANTED and time.monotonic() < deadline:
                manager.raise_if_failed()
                time.sleep(0.02)
            manager.stop()
            manager.raise_if_failed()
    except ConfigValidationError as problem:
        print(f"{problem}\nThe plugins have to be installed: see README.md", file=sys.stderr)
        return 1
    written = files(folder)
    if len(written) < WANTED:
        print(f"{len(written)} files after {timeout_s:g} s, expected {WANTED}", file=sys.stderr)
        return 1
    numbers = [check(path) for path in written]
    if None in numbers:
        return 1
    images = f"images {numbers[0]} to {numbers[-1]}"
    print(f"{len(written)} files, {images}, every one half of the camera's")
    return 0


def files(folder: Path) -> list[Path]:
    """The finished files."""
    return sorted(folder.glob("frame_*.npy"))


def check(path: Path) -> int | None:
    """Compare a file with the image it has to come from; that image's number."""
    from example_plugins import image

    found = np.load(path)
    if found.shape != (64, 64) or found.dtype != np.float32:
        print(f"{path}: {found.dtype} of shape {found.shape}", file=sys.stderr)
        return None
    number = round(2 * float(found[0, 0]))
    if not np.array_equal(found, 0.5 * image(number, (64, 64))):
        print(f"{path}: is not half of image {number}", file=sys.stderr)
        return None
    return number


if __name__ == "__main__":
    sys.exit(main())
