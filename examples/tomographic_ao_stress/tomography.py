"""What the scripts of this example share: sizes, calibrations, and the controllers in NumPy."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from thalweg import KernelConfig, PipelineConfig, PipelineManager, SharedMemoryConfig

SENSORS = 8
CAMERAS = tuple(f"wfs{sensor}" for sensor in range(SENSORS))
TILE_SIZE = 4
DOCUMENT = Path(__file__).with_name("pipeline_cpu.yaml")
CALIBRATIONS = (
    *(
        f"{camera}_{array}"
        for camera in CAMERAS
        for array in ("dark", "inverse_flat", "slope_offset")
    ),
    *("reconstructor", "reconstructor_bias", "command_offset", "command_low", "command_high"),
    *("tip_tilt_matrix", "tip_tilt_bias"),
)
"""The streams that hold calibrations."""

Array = NDArray[np.floating[Any]]


def resized(config: PipelineConfig, image_size: int, actuators: int) -> PipelineConfig:
    """The pipeline with other sizes, without its sources and its initial values.

    Args:
        config: what `pipeline_cpu.yaml` says.
        image_size: pixels along a side of an image, a multiple of 4.
        actuators: how many.
    """
    tiles = image_size // TILE_SIZE
    slopes = SENSORS * 2 * tiles**2

    def shape_of(stream: SharedMemoryConfig) -> tuple[int, ...]:
        name = stream.name
        if name in CAMERAS or name.endswith(("_dark", "_inverse_flat")):
            return (image_size, image_size)
        if name.endswith("_slope_offset"):
            return (tiles, tiles, 2)
        if name == "reconstructor":
            return (actuators, slopes)
        if name in ("reconstructor_bias",) or name.startswith("command"):
            return (actuators,)
        return stream.shape

    streams = tuple(
        dataclasses.replace(stream, shape=shape_of(stream), initial=None)
        for stream in config.shared_memory
    )
    return dataclasses.replace(config, shared_memory=streams, sources=())


def calibrations(config: PipelineConfig, seed: int) -> dict[str, Array]:
    """Random calibrations of the sizes a configuration has, float32, by stream.

    The reconstructor keeps the size of what it is given, and limits hold back one command in some.
    """
    rng = np.random.default_rng(seed)

    def drawn(name: str, middle: float, deviation: float) -> Array:
        array: Array = rng.standard_normal(
            config.shared_memory_by_name[name].shape, dtype=np.float32
        )
        # In place: the largest has 1 GiB.
        array *= np.float32(deviation)
        array += np.float32(middle)
        return array

    arrays = {}
    for camera in CAMERAS:
        arrays[f"{camera}_dark"] = drawn(f"{camera}_dark", 2.0, 0.2)
        arrays[f"{camera}_inverse_flat"] = drawn(f"{camera}_inverse_flat", 1.0, 0.05)
        arrays[f"{camera}_slope_offset"] = drawn(f"{camera}_slope_offset", 0.0, 0.02)
    slopes = config.shared_memory_by_name["reconstructor"].shape[1]
    arrays["reconstructor"] = drawn("reconstructor", 0.0, slopes**-0.5)
    arrays["reconstructor_bias"] = drawn("reconstructor_bias", 0.0, 0.02)
    arrays["command_offset"] = drawn("command_offset", 0.0, 0.02)
    limit = np.abs(drawn("command_low", 0.0, 0.2))
    arrays["command_low"], arrays["command_high"] = -limit, limit
    arrays["tip_tilt_matrix"] = drawn("tip_tilt_matrix", 0.0, 1.0)
    arrays["tip_tilt_bias"] = drawn("tip_tilt_bias", 0.0, 0.1)
    return arrays


def publish(manager: PipelineManager, arrays: Mapping[str, Array]) -> None:
    """Write calibrations into the streams of a pipeline that is built."""
    for name in CALIBRATIONS:
        manager.get_stream(name).write(arrays[name])


def kernel(config: PipelineConfig, name: str) -> KernelConfig:
    """The entry of a stage."""
    [found] = [kernel for kernel in config.kernels if kernel.name == name]
    return found


class Tomography:
    """The tomographic controller in NumPy, in double precision."""

    def __init__(self, config: PipelineConfig, arrays: Mapping[str, Array]) -> None:
        self._parameters = kernel(config, "tomography").parameters
        self._arrays = {name: array.astype(np.float64) for name, array in arrays.items()}
        self._state = np.zeros(arrays["command_offset"].shape)

    def commands(self, images: Mapping[str, Array]) -> Array:
        """What comes out of one exposure, given by camera."""
        arrays, parameters = self._arrays, self._parameters
        slopes = np.concatenate([self._slopes(camera, images[camera]) for camera in CAMERAS])
        reconstruction = arrays["reconstructor"] @ slopes + arrays["reconstructor_bias"]
        self._state = parameters["leak"] * self._state + parameters["control_gain"] * reconstruction
        commands = parameters["command_gain"] * self._state - arrays["command_offset"]
        limited: Array = np.clip(commands, arrays["command_low"], arrays["command_high"])
        return limited

    def _slopes(self, camera: str, image: Array) -> Array:
        arrays = self._arrays
        clean = (image - arrays[f"{camera}_dark"]) * arrays[f"{camera}_inverse_flat"]
        tiles = len(clean) // TILE_SIZE
        light = clean.reshape(tiles, TILE_SIZE, tiles, TILE_SIZE)
        pixel = np.arange(TILE_SIZE) - (TILE_SIZE - 1) / 2
        flux = light.sum(axis=(1, 3))
        down = np.einsum("rycx,y->rc", light, pixel) / flux
        right = np.einsum("rycx,x->rc", light, pixel) / flux
        centroids = self._parameters["slope_gain"] * np.stack([down, right], axis=-1)
        slopes: Array = (centroids - arrays[f"{camera}_slope_offset"]).reshape(-1)
        return slopes


class TipTilt:
    """A tip/tilt controller in NumPy, in double precision."""

    def __init__(self, parameters: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        self._parameters = parameters
        self._matrix = arrays["tip_tilt_matrix"].astype(np.float64)
        self._bias = arrays["tip_tilt_bias"].astype(np.float64)
        self._state = np.zeros(2)

    def command(self, image: Array) -> Array:
        """What comes out of one image."""
        light = image.astype(np.float64) - self._parameters["background"]
        light = np.where(light > self._parameters["threshold"], light, 0.0)
        rows, columns = (np.arange(extent) - (extent - 1) / 2 for extent in image.shape)
        centroid = np.array([light.sum(axis=1) @ rows, light.sum(axis=0) @ columns]) / light.sum()
        self._state = (
            self._parameters["leak"] * self._state + self._parameters["control_gain"] * centroid
        )
        command: Array = self._matrix @ self._state + self._bias
        return command


def exposures(config: PipelineConfig, count: int, seed: int) -> Array:
    """Images with light everywhere, float32, of shape (count, sensors, rows, columns)."""
    rows, columns = config.shared_memory_by_name[CAMERAS[0]].shape
    rng = np.random.default_rng(seed)
    images: Array = rng.standard_normal((count, SENSORS, rows, columns), dtype=np.float32)
    images *= np.float32(10.0)
    images += np.float32(100.0)
    return images


def add_size_arguments(
    parser: argparse.ArgumentParser, image_size: int = 256, actuators: int = 4096
) -> None:
    """`--image-size`, `--actuators` and `--seed`."""
    parser.add_argument(
        "--image-size",
        type=image_side,
        default=image_size,
        help=f"pixels along a side of an image, a multiple of {TILE_SIZE} ({image_size})",
    )
    parser.add_argument(
        "--actuators", type=positive, default=actuators, help=f"actuators ({actuators})"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of all arrays (1)")


def image_side(text: str) -> int:
    """The side of an image, for argparse."""
    number = positive(text)
    if number % TILE_SIZE:
        raise argparse.ArgumentTypeError(f"expected a multiple of {TILE_SIZE}, found {text}")
    return number


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text}")
    return number
