"""Run the observatory controller in lock-step and check every stage against NumPy.

    python examples/observatory_ao_system/run_example.py [--frames 120] [--seed 7]

Exit status 0 when all stages agree with the reference, 1 when one deviates.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from thalweg import PipelineConfig, PipelineManager

SUBAPERTURES = 32
TILE_SIZE = 8
SLOPES = 2 * SUBAPERTURES**2
ACTUATORS = 1024
LEAK = 0.985
GAIN = 0.28

# Absolute and relative tolerance of each stage, in the order of the pipeline. The integrator adds
# up the rounding of the stages before it.
TOLERANCES = {
    "centroids": 1e-5,
    "slopes": 1e-5,
    "correction": 1e-5,
    "integrated": 2e-5,
    "commands": 2e-5,
}

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Calibration:
    """What an observatory would have measured beforehand."""

    reference_slopes: Array
    reconstructor: Array
    bias: Array
    low: Array
    high: Array

    @classmethod
    def synthetic(cls, rng: np.random.Generator) -> Calibration:
        """A dense random reconstructor that keeps the size of its input."""
        reference = rng.normal(0.0, 0.1, SLOPES)
        reconstructor = rng.normal(0.0, 1.0 / np.sqrt(SLOPES), (ACTUATORS, SLOPES))
        reconstructor = reconstructor.astype(np.float32)
        limit = rng.uniform(3.5, 4.5, ACTUATORS).astype(np.float32)
        return cls(
            reference_slopes=reference,
            reconstructor=reconstructor,
            bias=(-reconstructor.astype(np.float64) @ reference).astype(np.float32),
            low=-limit,
            high=limit,
        )


def images(calibration: Calibration, frames: int, rng: np.random.Generator) -> Iterator[Array]:
    """Camera frames: spots that wander about their reference positions, plus read noise."""
    shape = (SUBAPERTURES, SUBAPERTURES, 2)
    reference = calibration.reference_slopes.reshape(shape)
    pixel = np.arange(TILE_SIZE) - (TILE_SIZE - 1) / 2
    wander = rng.normal(0.0, 0.4, shape)
    for _ in range(frames):
        # First-order autoregression: 0.4 pixels rms, correlated over some ten frames.
        wander = 0.9 * wander + np.sqrt(1 - 0.9**2) * rng.normal(0.0, 0.4, shape)
        distance = pixel - (reference + wander)[..., np.newaxis]
        profile = np.exp(-0.5 * distance**2)  # (row, column, axis, pixel)
        spots = np.einsum("rcy,rcx->rycx", profile[:, :, 0], profile[:, :, 1])
        image = 100.0 * spots.reshape(SUBAPERTURES * TILE_SIZE, -1)
        yield (image + np.abs(rng.normal(0.0, 0.1, image.shape))).astype(np.float32)


@dataclass
class Reference:
    """The five stages in NumPy, in double precision."""

    calibration: Calibration
    integrated: Array = field(default_factory=lambda: np.zeros(ACTUATORS))

    def stages(self, image: Array) -> dict[str, Array]:
        """What every stream has to hold after `image` went through."""
        tiles = image.astype(np.float64).reshape(SUBAPERTURES, TILE_SIZE, SUBAPERTURES, TILE_SIZE)
        pixel = np.arange(TILE_SIZE) - (TILE_SIZE - 1) / 2
        flux = tiles.sum(axis=(1, 3))
        down = np.einsum("rycx,y->rc", tiles, pixel) / flux
        right = np.einsum("rycx,x->rc", tiles, pixel) / flux
        centroids = np.stack([down, right], axis=-1)
        slopes = centroids.reshape(-1)
        calibration = self.calibration
        correction = calibration.reconstructor.astype(np.float64) @ slopes + calibration.bias
        self.integrated = LEAK * self.integrated + GAIN * correction
        return {
            "centroids": centroids,
            "slopes": slopes,
            "correction": correction,
            "integrated": self.integrated,
            "commands": np.clip(self.integrated, calibration.low, calibration.high),
        }


def check(frame: int, stage: str, found: Array, expected: Array) -> tuple[float, str | None]:
    """Largest deviation of a stage, and what is wrong with it, if anything."""
    tolerance = TOLERANCES[stage]
    deviation = np.abs(found - expected)
    excess = deviation - tolerance * (1 + np.abs(expected))
    if np.all(excess <= 0):  # false for NaN, too
        return float(deviation.max()), None
    worst = np.unravel_index(np.argmax(np.nan_to_num(excess, nan=np.inf)), excess.shape)
    place = ", ".join(str(index) for index in worst)
    return float(deviation.max()), (
        f"frame {frame}, stream {stage!r}, element [{place}]: "
        f"found {found[worst]!r}, NumPy says {expected[worst]!r} (tolerance {tolerance})"
    )


def run(frames: int, seed: int) -> int:
    """Run `frames` frames; the exit status."""
    rng = np.random.default_rng(seed)
    calibration = Calibration.synthetic(rng)
    reference = Reference(calibration)
    largest = dict.fromkeys(TOLERANCES, 0.0)
    squares = dict.fromkeys(TOLERANCES, 0.0)
    saturated = 0

    config = PipelineConfig.from_yaml(Path(__file__).with_name("pipeline.yaml"))
    with PipelineManager(config) as manager:
        manager.build()
        # Before the start, so that the first frame finds its calibration in place.
        manager.get_stream("reconstructor").write(calibration.reconstructor)
        manager.get_stream("reconstructor_bias").write(calibration.bias)
        manager.get_stream("command_low").write(calibration.low)
        manager.get_stream("command_high").write(calibration.high)
        manager.start()
        streams = {stage: manager.get_stream(stage) for stage in TOLERANCES}
        camera = manager.get_stream("wavefront_image")

        for frame, image in enumerate(images(calibration, frames, rng), start=1):
            camera.write(image)
            commands = streams["commands"].read_new(timeout=30.0)
            expected = reference.stages(image)
            for stage in TOLERANCES:
                # The last stage has answered, so every stream holds this frame.
                found = commands if stage == "commands" else streams[stage].read()
                deviation, problem = check(frame, stage, found, expected[stage])
                if problem is not None:
                    print(f"deviation in {problem}", file=sys.stderr)
                    return 1
                largest[stage] = max(largest[stage], deviation)
                squares[stage] += float(np.mean(np.square(found, dtype=np.float64)))
            held = (commands <= calibration.low) | (commands >= calibration.high)
            saturated += int(np.count_nonzero(held))
        manager.stop()

    print(f"{frames} frames, every stage agrees with NumPy")
    print(f"{'stage':<12}{'rms':>10}{'largest deviation':>20}{'tolerance':>12}")
    for stage, tolerance in TOLERANCES.items():
        rms = np.sqrt(squares[stage] / frames)
        print(f"{stage:<12}{rms:>10.4f}{largest[stage]:>20.2e}{tolerance:>12.0e}")
    print(f"saturated commands: {saturated / (frames * ACTUATORS):.2%}")
    return 0


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text}")
    return number


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description="Check the observatory pipeline against NumPy.")
    parser.add_argument("--frames", type=positive, default=120, help="frames to run (120)")
    parser.add_argument("--seed", type=int, default=7, help="seed of all arrays (7)")
    arguments = parser.parse_args()
    return run(arguments.frames, arguments.seed)


if __name__ == "__main__":
    raise SystemExit(main())
