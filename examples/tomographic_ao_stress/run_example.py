"""Check the commands of all three loops against NumPy, at a size a small machine has room for.

    python examples/tomographic_ao_stress/run_example.py \\
        [--frames 50] [--image-size 32] [--actuators 64] [--seed 1]

Every fifth exposure loses the image of one camera: it must not lead to commands. Exit status 0 when
all commands agree, 1 when one deviates.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys

import numpy as np
from thalweg import PipelineConfig, PipelineManager
from tomography import (
    CAMERAS,
    DOCUMENT,
    Array,
    TipTilt,
    Tomography,
    add_size_arguments,
    calibrations,
    exposures,
    kernel,
    positive,
    publish,
    resized,
)

WATCHDOG_S = 30.0
TOLERANCE = 1e-5
LOOPS = {"slow_loop": ("slow_spot", "slow_tip_tilt"), "fast_loop": ("fast_spot", "fast_tip_tilt")}


def patient(config: PipelineConfig) -> PipelineConfig:
    """The pipeline without a limit for the time from the first to the last image of an exposure:
    here the numbers count, however slow the machine is."""
    tomography = kernel(config, "tomography")
    assert tomography.synchronization is not None
    synchronization = dataclasses.replace(tomography.synchronization, max_wait_s=None)
    without = dataclasses.replace(tomography, synchronization=synchronization)
    kernels = tuple(without if entry is tomography else entry for entry in config.kernels)
    return dataclasses.replace(config, kernels=kernels)


class Check:
    """Compares with NumPy, and remembers the largest deviation of each stream."""

    def __init__(self) -> None:
        self.largest: dict[str, float] = {}

    def __call__(self, frame: int, stream: str, found: Array, expected: Array) -> None:
        """Compare one frame.

        Raises:
            ArithmeticError: it deviates.
        """
        deviation = float(np.abs(found - expected).max())
        if not np.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE):
            raise ArithmeticError(
                f"frame {frame}, stream {stream!r}: off by {deviation:.2g} from NumPy "
                f"(tolerance {TOLERANCE})"
            )
        self.largest[stream] = max(self.largest.get(stream, 0.0), deviation)


def run_tomography(
    manager: PipelineManager, reference: Tomography, images: Array, check: Check
) -> tuple[int, int]:
    """Send exposures, a lost image in every fifth; exposures that were complete, and those not.

    Raises:
        ArithmeticError: commands deviate, or come from another exposure.
        TimeoutError: commands do not come.
    """
    streams = [manager.get_stream(camera) for camera in CAMERAS]
    commands = manager.get_stream("commands")
    complete = incomplete = 0
    # The last one is complete, so that there is something to wait for.
    for frame, exposure in enumerate(images, start=1):
        lost = frame % len(CAMERAS) if frame % 5 == 0 and frame < len(images) else None
        for camera, image in enumerate(exposure):
            if camera != lost:
                streams[camera].write(image, frame_id=frame)
        if lost is not None:
            incomplete += 1
            continue
        complete += 1
        publication = commands.read_new_publication(timeout=WATCHDOG_S)
        if publication.frame_id != frame or publication.count != complete:
            raise ArithmeticError(
                f"exposure {frame} has to give commands number {complete}, but number "
                f"{publication.count} of exposure {publication.frame_id} came"
            )
        expected = reference.commands(dict(zip(CAMERAS, exposure, strict=True)))
        check(frame, "commands", publication.payload, expected)
    return complete, incomplete


def run_tip_tilt(
    manager: PipelineManager, name: str, reference: TipTilt, frames: int, seed: int, check: Check
) -> None:
    """Send spots to one of the two loops.

    Raises:
        ArithmeticError, TimeoutError: as above.
    """
    spot, command = (manager.get_stream(stream) for stream in LOOPS[name])
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[: spot.shape[0], : spot.shape[1]]
    for frame in range(1, frames + 1):
        down, right = rng.normal(7.5, 1.0, 2)
        distance_squared = (row - down) ** 2 + (column - right) ** 2
        image = (10.0 + 200.0 * np.exp(-distance_squared / 8)).astype(np.float32)
        spot.write(image, frame_id=frame)
        found = command.read_new(timeout=WATCHDOG_S)
        check(frame, LOOPS[name][1], found, reference.command(image))


def run(frames: int, image_size: int, actuators: int, seed: int) -> int:
    """Run all three loops; the exit status."""
    config = patient(resized(PipelineConfig.from_yaml(DOCUMENT), image_size, actuators))
    arrays = calibrations(config, seed)
    check = Check()
    try:
        with PipelineManager(config) as manager:
            manager.build()
            publish(manager, arrays)
            manager.start()
            images = exposures(config, frames, seed + 1)
            complete, incomplete = run_tomography(
                manager, Tomography(config, arrays), images, check
            )
            for number, name in enumerate(LOOPS):
                reference = TipTilt(kernel(config, name).parameters, arrays)
                run_tip_tilt(manager, name, reference, frames, seed + 2 + number, check)
            manager.stop()
            workers = manager.status()["workers"]
    except ArithmeticError as problem:
        print(problem, file=sys.stderr)
        return 1
    streams = config.shared_memory_by_name
    rows, columns = streams["reconstructor"].shape
    print(
        f"{len(CAMERAS)} cameras of {image_size} x {image_size}, {columns} slopes, {rows} actuators"
    )
    print(f"{complete} complete exposures, commands agree with NumPy")
    print(
        f"{incomplete} exposures without one image: no commands, "
        f"{workers['tomography']['frame_sync_skew_events']} skew events"
    )
    for stream, deviation in check.largest.items():
        print(f"{stream:<16} largest deviation {deviation:.1e}, tolerance {TOLERANCE:.0e}")
    return 0


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description="Check the three loops against NumPy.")
    parser.add_argument("--frames", type=positive, default=50, help="frames of each loop (50)")
    add_size_arguments(parser, image_size=32, actuators=64)
    arguments = parser.parse_args()
    return run(arguments.frames, arguments.image_size, arguments.actuators, arguments.seed)


if __name__ == "__main__":
    raise SystemExit(main())
