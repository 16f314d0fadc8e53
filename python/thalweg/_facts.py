"""What a handle tells about itself and its stream."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from thalweg import _native

DEFAULT_SLOTS: Final = 4


class Facts:
    """The part of `SharedMemory` that only looks."""

    __slots__ = ("__weakref__", "_auto_unlink", "_dtype", "_native", "_shape")

    def __init__(self, native: _native.Stream, *, auto_unlink: bool = False) -> None:
        if not isinstance(native, _native.Stream):
            raise TypeError("use thalweg.create(name, ...) or thalweg.open(name) to get a handle")
        self._native = native
        self._auto_unlink = auto_unlink
        self._shape: tuple[int, ...] = native.shape
        self._dtype: np.dtype[Any] = np.dtype(native.dtype)

    # What the handle is: also known once it is closed.

    @property
    def name(self) -> str:
        """The stream's name."""
        return self._native.name

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of every frame."""
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of every frame."""
        return self._dtype

    @property
    def size(self) -> int:
        """Bytes of every frame."""
        return math.prod(self._shape) * self._dtype.itemsize

    @property
    def slots(self) -> int:
        """Frames the stream holds at once; all but two can be borrowed at a time."""
        return self._native.slots

    @property
    def gpu_device(self) -> str | None:
        """CUDA device this handle is attached to: None, as in this build streams are on the CPU."""
        return None

    @property
    def gpu_enabled(self) -> bool:
        """Whether the stream was created on a GPU."""
        return False

    @property
    def cpu_mirror(self) -> bool:
        """Whether the frames can be read from the CPU."""
        return True

    @property
    def owner(self) -> bool:
        """Whether this handle created the stream."""
        return self._native.is_owner

    @property
    def readonly(self) -> bool:
        """Whether this handle cannot write."""
        return self._native.is_readonly

    @property
    def notify(self) -> bool:
        """Whether the stream was created with `notify=True`. All streams wake their waiters."""
        return self._native.has_notify

    @property
    def instance_id(self) -> str:
        """Identity of this life of the name: 32 hexadecimal digits, new with every `create`."""
        return self._native.instance_id

    # What the stream says now. On a closed handle: RuntimeError.

    @property
    def count(self) -> int:
        """Number of completed writes."""
        return self._native.count()

    @property
    def write_sequence(self) -> int:
        """Twice `count` at rest, odd while a frame is being written, negative while reads raise
        InconsistentStreamError."""
        return self._native.write_sequence()

    @property
    def write_time(self) -> float:
        """When the newest frame was written, in seconds since 1970; 0.0 before the first."""
        return self._native.write_time()

    @property
    def frame_id(self) -> int:
        """Id stamped on the newest frame, 0 to 2**64 - 1; 0 when nobody stamped one."""
        return self._native.frame_id()

    @property
    def age(self) -> float:
        """Seconds since the newest frame was written, by the monotonic clock; `inf` before it."""
        return self._native.age()

    @property
    def creator_pid(self) -> int:
        """Pid of the process that created the stream, in its own pid namespace."""
        return self._native.creator_pid()

    @property
    def last_read_count(self) -> int:
        """Count of the newest frame this handle returned; to begin with, the count it found."""
        return self._native.last_read_count()

    @property
    def missed_writes(self) -> int:
        """Frames between the last two reads of this handle that no read returned."""
        return self._native.missed()

    @property
    def total_missed_writes(self) -> int:
        """Sum of `missed_writes` over all reads of this handle."""
        return self._native.total_missed()

    def producer_alive(self) -> bool:
        """Whether the process that created the stream still runs.

        Raises:
            RuntimeError: the handle is closed.
        """
        return self._native.is_creator_alive()

    def is_stale(self, max_age: float) -> bool:
        """Whether the newest frame is older than `max_age` seconds, or there is none yet.

        Raises:
            ValueError: `max_age` is not positive.
            RuntimeError: the handle is closed.
        """
        if not max_age > 0:
            raise ValueError(f"max_age must be positive, got {max_age}")
        return self.age > max_age

    def describe(self) -> str:
        """Facts about handle and stream, one `label: value` a line."""
        age = self.age
        facts: dict[str, object] = {
            "name": self.name,
            "shape": self.shape,
            "dtype": self._dtype.name,
            "size": f"{self.size} bytes",
            "gpu_enabled": self.gpu_enabled,
            "gpu_device": self.gpu_device,
            "cpu_mirror": self.cpu_mirror,
            "count": self.count,
            "write_time": self.write_time,
            "write_seq": self.write_sequence,
            "owner": self.owner,
            "readonly": self.readonly,
            "creator_pid": self.creator_pid,
            "producer": "alive" if self.producer_alive() else "dead",
            "age": "never written" if math.isinf(age) else f"{age:.6f} s",
            "notify": self.notify,
        }
        return "\n".join(f"{label + ':':<14}{value}" for label, value in facts.items())

    def to_config(self) -> dict[str, Any]:
        """What `create_from_config` needs to make such a stream again.

        Raises:
            RuntimeError: the handle is closed.
        """
        self._native.check_open()
        config: dict[str, Any] = {
            "name": self.name,
            "shape": list(self._shape),
            "dtype": self._dtype.name,
            "gpu_device": self.gpu_device,
            "cpu_mirror": self.cpu_mirror,
            "notify": self.notify,
        }
        if self.slots != DEFAULT_SLOTS:
            config["slots"] = self.slots
        if self._native.is_strict:
            config["on_abort"] = "invalidate"
        if self._native.is_progressive:
            config["progressive"] = True
        return config
