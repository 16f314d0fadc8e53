"""Plugins of thalweg: a simulated camera and a sink that writes frames to files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg import Sink, SinkConfig, SinkContext, Source, SourceConfig, SourceContext
from thalweg.config import SharedMemoryConfig
from thalweg.errors import ConfigValidationError

__all__ = ["NpyFrameSink", "SimulatedCamera", "image"]


def image(number: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The image number `number` (from 1): a spot that moves over a dark ground.

    The first pixel holds the number, so that whoever gets the image knows which one it is.

    Args:
        number: the number.
        shape: rows and columns.

    Returns:
        An array of float32, in counts.
    """
    rows, columns = np.indices(shape, np.float32)
    centre_row = shape[0] / 2 + shape[0] / 4 * np.sin(number / 8)
    centre_column = shape[1] / 2 + shape[1] / 4 * np.cos(number / 8)
    distance2 = (rows - centre_row) ** 2 + (columns - centre_column) ** 2
    spot: NDArray[np.float32] = (100 + 1000 * np.exp(-distance2 / 18)).astype(np.float32)
    spot[0, 0] = number
    return spot


def _positive(who: str, parameters: Mapping[str, Any], key: str, default: float) -> float:
    value = parameters.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
        raise ConfigValidationError(f"{who}: '{key}' has to be a positive number, got {value!r}")
    return float(value)


class SimulatedCamera(Source):
    """A camera that sees a moving spot.

    Parameters: `rate_hz`, images per second (20).
    """

    kind = "example.simulated_camera"
    storage = "cpu"

    @classmethod
    def validate_config(
        cls, config: SourceConfig, shared_memory: Mapping[str, SharedMemoryConfig]
    ) -> None:
        """Check the rate, and that the stream holds images of float32."""
        super().validate_config(config, shared_memory)
        who = f"source {config.name!r}"
        _positive(who, config.parameters, "rate_hz", 20.0)
        stream = shared_memory[config.stream]
        if len(stream.shape) != 2 or stream.dtype != np.float32:
            raise ConfigValidationError(
                f"{who}: stream {stream.name!r} has to be 2-D of float32, found {stream.dtype} of "
                f"shape {stream.shape}"
            )

    def __init__(self, context: SourceContext) -> None:
        super().__init__(context)
        rate_hz = _positive("camera", context.config.parameters, "rate_hz", 20.0)
        self._period_s = 1 / rate_hz
        self._number = 0

    def read(self) -> NDArray[np.float32] | None:
        """The next image, one period after the last; None at the stop."""
        if self.wait(self._period_s):
            return None
        self._number += 1
        return image(self._number, self.context.stream_spec.shape)

    def plugin_metrics(self) -> dict[str, Any]:
        """How many images were taken."""
        return {"images": self._number}


class NpyFrameSink(Sink):
    """Writes every frame to a file of its own, `frame_000001.npy` and so on.

    Parameters: `output_dir`, the folder, made if it is not there; a relative one starts where the
    configuration lies. `limit`, the number of files after which it writes no more (1000).
    """

    kind = "example.npy_frame_sink"
    storage = "cpu"

    @classmethod
    def validate_config(
        cls, config: SinkConfig, shared_memory: Mapping[str, SharedMemoryConfig]
    ) -> None:
        """Check that there is a folder to write to."""
        super().validate_config(config, shared_memory)
        who = f"sink {config.name!r}"
        folder = config.parameters.get("output_dir")
        if not isinstance(folder, str) or not folder:
            raise ConfigValidationError(f"{who}: 'output_dir' has to name a folder")
        _positive(who, config.parameters, "limit", 1000)

    def __init__(self, context: SinkContext) -> None:
        super().__init__(context)
        base = context.config_base_dir or Path.cwd()
        self._folder = base / context.config.parameters["output_dir"]
        self._limit = int(context.config.parameters.get("limit", 1000))
        self._written = 0

    def open(self) -> None:
        """Make the folder."""
        self._folder.mkdir(parents=True, exist_ok=True)

    def consume(self, value: NDArray[Any]) -> None:
        """Write one frame, under another name first: whoever sees a file sees all of it."""
        if self._written >= self._limit:
            return
        self._written += 1
        unfinished = self._folder / ".unfinished.npy"
        np.save(unfinished, value)
        unfinished.replace(self._folder / f"frame_{self._written:06d}.npy")

    def plugin_metrics(self) -> dict[str, Any]:
        """How many files were written."""
        return {"files": self._written}
