"""What both scripts of this example share: calibration, images and the five stages in NumPy."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from thalweg import PipelineConfig, PipelineManager

CENTROID_GAIN = 1.75
LEAK = 0.92
INTEGRATOR_GAIN = 0.35
STAGES = ("centroids", "corrected_centroids", "slopes", "reconstruction", "commands")
"""The streams behind the stages, in the order of the pipeline."""

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Calibration:
    """What is measured before a loop is closed."""

    centroid_offset: Array
    reconstructor: Array
    reconstructor_bias: Array

    @classmethod
    def synthetic(cls, config: PipelineConfig, rng: np.random.Generator) -> Calibration:
        """Random arrays of the shapes that a configuration has; the matrix keeps the size of what
        it is given."""
        streams = config.shared_memory_by_name
        matrix = rng.normal(size=streams["reconstructor"].shape) / np.sqrt(
            streams["reconstructor"].shape[1]
        )
        return cls(
            rng.normal(0.0, 0.1, streams["centroid_offset"].shape).astype(np.float32),
            matrix.astype(np.float32),
            rng.normal(0.0, 0.1, streams["reconstructor_bias"].shape).astype(np.float32),
        )

    def publish(self, manager: PipelineManager) -> None:
        """Write it into the streams of a pipeline that is built."""
        for name in ("centroid_offset", "reconstructor", "reconstructor_bias"):
            manager.get_stream(name).write(getattr(self, name))


def images(config: PipelineConfig, frames: int, rng: np.random.Generator) -> Array:
    """Camera frames of random light, never dark, of shape (frames, rows, columns)."""
    shape = config.shared_memory_by_name["wavefront_image"].shape
    return rng.uniform(0.5, 10.0, (frames, *shape)).astype(np.float32)


@dataclass
class Reference:
    """The five stages in NumPy, in double precision."""

    calibration: Calibration
    tile_size: int
    commands: Array = field(init=False)

    def __post_init__(self) -> None:
        self.commands = np.zeros(self.calibration.reconstructor_bias.shape)

    def stages(self, image: Array) -> dict[str, Array]:
        """What every stream of `STAGES` has to hold after `image` went through."""
        size = self.tile_size
        rows, columns = (extent // size for extent in image.shape)
        tiles = image.astype(np.float64).reshape(rows, size, columns, size)
        pixel = np.arange(size) - (size - 1) / 2
        flux = tiles.sum(axis=(1, 3))
        down = np.einsum("rycx,y->rc", tiles, pixel) / flux
        right = np.einsum("rycx,x->rc", tiles, pixel) / flux
        centroids = np.stack([down, right], axis=-1)
        corrected = CENTROID_GAIN * centroids - self.calibration.centroid_offset
        slopes = corrected.reshape(-1)
        matrix = self.calibration.reconstructor.astype(np.float64)
        reconstruction = matrix @ slopes + self.calibration.reconstructor_bias
        self.commands = LEAK * self.commands + INTEGRATOR_GAIN * reconstruction
        return dict(
            zip(STAGES, (centroids, corrected, slopes, reconstruction, self.commands), strict=True)
        )


def tile_size_of(config: PipelineConfig) -> int:
    """Pixels along a side of a tile."""
    [centroid] = [kernel for kernel in config.kernels if kernel.name == "centroid"]
    return int(centroid.parameters["tile_size"])


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text}")
    return number
