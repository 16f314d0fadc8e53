"""Test patterns that a manager writes into streams, for trials without a camera."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from thalweg import _json, _native
from thalweg._handle import SharedMemory
from thalweg._node_spec import check_native
from thalweg.config import SharedMemoryConfig, SourceConfig
from thalweg.errors import ConfigValidationError

__all__ = ["PATTERNS", "SyntheticInputConfig"]

PATTERNS = ("constant", "random", "ramp", "sine", "impulse", "checkerboard")
"""The patterns there are."""


@dataclass(frozen=True)
class SyntheticInputConfig:
    """What to write into one stream.

    With n the number of a frame from 0, i the index of an element in C order:

    - `constant`: offset + constant
    - `random`: offset + amplitude * z, with the numbers of NumPy's
      `default_rng(seed).standard_normal`, frame after frame
    - `ramp`: offset + amplitude * ((i + n) mod period) / max(period - 1, 1)
    - `sine`: offset + amplitude * sin(2 pi (i + n) / period)
    - `impulse`: offset; in every `impulse_interval`-th frame one element, the next each time, is
      offset + amplitude
    - `checkerboard`: fields of `period` elements along each axis, moving by one with every frame,
      offset and offset + amplitude in turn

    Raises:
        ConfigValidationError: an unknown pattern, or a number out of its range.
    """

    stream_name: str
    """The stream, by its name in the configuration."""
    pattern: str = "random"
    """One of `PATTERNS`."""
    rate_hz: float | None = None
    """Frames per second; None is as fast as possible."""
    seed: int = 0
    """Of `random`."""
    amplitude: float = 1.0
    """Scale of every pattern but `constant`."""
    offset: float = 0.0
    """Added to every pattern."""
    period: float = 64.0
    """Elements, of ramp and sine; side of a field, of checkerboard."""
    constant: float = 0.0
    """Value of `constant`."""
    impulse_interval: int = 64
    """Frames from one impulse to the next."""

    def __post_init__(self) -> None:
        name = self.pattern.strip().lower() if isinstance(self.pattern, str) else self.pattern
        if name not in PATTERNS:
            raise ConfigValidationError(
                f"'pattern' must be one of {', '.join(PATTERNS)}, got {self.pattern!r}"
            )
        object.__setattr__(self, "pattern", name)
        if not isinstance(self.stream_name, str) or not self.stream_name.strip():
            raise ConfigValidationError(
                f"'stream_name' must be a non-empty text, got {self.stream_name!r}"
            )
        object.__setattr__(self, "stream_name", self.stream_name.strip())
        if self.rate_hz is not None:
            self._check_number("rate_hz", is_positive=True)
        self._check_number("period", is_positive=True)
        for name in ("amplitude", "offset", "constant"):
            self._check_number(name, is_positive=False)
        self._check_integer("seed", 0)
        self._check_integer("impulse_interval", 1)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Read it from a mapping of its fields.

        Raises:
            ConfigValidationError: also for fields that do not exist.
        """
        if not isinstance(raw, Mapping):
            raise ConfigValidationError(f"a synthetic input must be a mapping, got {raw!r}")
        unknown = sorted(set(raw) - {item.name for item in fields(cls)})
        if unknown:
            raise ConfigValidationError(
                f"synthetic input contains unsupported fields: {', '.join(map(repr, unknown))}"
            )
        if "stream_name" not in raw:
            raise ConfigValidationError("a synthetic input must define 'stream_name'")
        return cls(**raw)

    def _check_number(self, name: str, *, is_positive: bool) -> None:
        value = getattr(self, name)
        expected = "a positive number" if is_positive else "a number"
        try:
            number = math.nan if isinstance(value, (str, bool)) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number) or (is_positive and number <= 0):
            raise ConfigValidationError(f"{name!r} must be {expected}, got {value!r}")
        object.__setattr__(self, name, number)

    def _check_integer(self, name: str, least: int) -> None:
        value = getattr(self, name)
        try:
            number = -1 if isinstance(value, bool) else value.__index__()
        except AttributeError:
            number = -1
        if number < least:
            raise ConfigValidationError(
                f"{name!r} must be an integer of at least {least}, got {value!r}"
            )
        object.__setattr__(self, name, number)


class SyntheticInput:
    """One pattern on its way into a stream, from a thread without an interpreter."""

    def __init__(
        self, config: SyntheticInputConfig, stream: SharedMemory, spec: SharedMemoryConfig
    ) -> None:
        if spec.dtype.kind != "f" and config.pattern in ("random", "sine", "ramp"):
            warnings.warn(
                f"the pattern {config.pattern!r} loses its fractions in stream "
                f"{config.stream_name!r}, whose dtype is {spec.dtype}",
                UserWarning,
                stacklevel=3,
            )
        parameters = asdict(config)
        for name in ("stream_name", "rate_hz"):
            del parameters[name]
        source = SourceConfig(
            f"synthetic:{config.stream_name}",
            "synthetic.array",
            config.stream_name,
            parameters=parameters,
        )
        shared_memory = {config.stream_name: spec}
        check_native(source, shared_memory)
        self.config = config
        node = {
            "name": source.name,
            "kind": source.kind,
            "inputs": [],
            "auxiliary": [],
            "outputs": [
                {"name": spec.name, "dtype": spec.dtype.name, "shape": list(spec.shape)},
            ],
            "operation": None,
            "parameters": parameters,
            "base_dir": str(Path.cwd()),
        }
        self._native = _native.SyntheticInput(_json.dumps(node), stream._native, config.rate_hz)

    def stop(self, timeout: float) -> bool:
        """End it; whether it ended in time."""
        return self._native.stop(timeout)

    def status(self) -> dict[str, Any]:
        """Its settings and what came of them."""
        native = self._native.status()
        now_ns, now = time.monotonic_ns(), time.time()

        def wall(at_ns: int) -> float | None:
            return now - (now_ns - at_ns) * 1e-9 if at_ns else None

        running_s = max((now_ns - native["started_ns"]) * 1e-9, 1e-9)
        frames = native["frames_written"]
        return {
            **asdict(self.config),
            "requested_rate_hz": self.config.rate_hz,
            "frames_written": frames,
            "alive": native["alive"],
            "effective_rate_hz": frames / running_s,
            "started_at": wall(native["started_ns"]),
            "last_write_time": wall(native["last_write_ns"]),
            "last_write_duration_ms": (native["last_write_duration_ns"] * 1e-6 if frames else None),
            "last_error": native["last_error"],
        }
