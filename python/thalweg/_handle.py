"""The handle of a stream."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Literal, NoReturn, Self, TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg import _native
from thalweg._arguments import (
    check_casting,
    check_duration,
    checked_after,
    checked_frame_id,
)
from thalweg._awaiting import awaited
from thalweg._lossless import LosslessReader
from thalweg._native import Frame, Loan, ReadFacts, StaleStreamError
from thalweg._publication import Publication, publication
from thalweg._rows import PartialFrame

WaitPolicy: TypeAlias = Literal["adaptive", "park", "spin"]
Casting: TypeAlias = Literal["no", "equiv", "safe", "same_kind", "unsafe"]

_DEFAULT_SLOTS = 4


@final
class SharedMemory:
    """A handle of a stream: a named array of fixed shape and dtype, published frame by frame.

    Made by `create` and `open`, never directly. One writer at a time, any number of readers, in any
    processes; the writer never waits for readers. Handles may be used from several threads.

    A handle is a context manager that closes itself at the end of the block; one that was created
    with `auto_unlink=True` unlinks the stream there. Collecting a handle closes it. The stream
    itself lives until it is unlinked. Copies of a handle, and pickles, attach to the same stream
    anew, by its name.

    Waits end by `timeout`, by Ctrl-C, when the handle is closed (RuntimeError), and when the stream is
    unlinked or replaced (StaleStreamError). `wait` says how to pass the time: `"adaptive"` looks
    again and again for as long as frames of this stream usually take, if a CPU is to spare, and then
    sleeps; `"park"` sleeps at once; `"spin"` never sleeps and keeps a CPU busy. `poll_interval` is
    accepted everywhere and has no effect: nothing here polls.
    """

    __slots__ = ("__weakref__", "_auto_unlink", "_dtype", "_native", "_shape")

    def __init__(self, native: _native.Stream, *, auto_unlink: bool = False) -> None:
        if not isinstance(native, _native.Stream):
            raise TypeError("use thalweg.create(name, ...) or thalweg.open(name) to get a handle")
        self._native = native
        self._auto_unlink = auto_unlink
        self._shape: tuple[int, ...] = native.shape
        self._dtype: np.dtype[Any] = np.dtype(native.dtype)

    @classmethod
    def create_from_config(cls, config: Mapping[str, Any]) -> SharedMemory:
        """Create the stream that `config` describes, as returned by `to_config`.

        Args:
            config: the keyword arguments of `thalweg.create`, of which `name` and `shape` are needed.

        Raises:
            As `thalweg.create`.
        """
        from thalweg._directory import create

        return create(**config)

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
        """Seconds since the newest frame was written, by a clock nobody sets; `inf` before the first."""
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
        if self.slots != _DEFAULT_SLOTS:
            config["slots"] = self.slots
        if self._native.is_strict:
            config["on_abort"] = "invalidate"
        if self._native.is_progressive:
            config["progressive"] = True
        return config

    # Writing.

    def write(
        self,
        value: ArrayLike,
        *,
        frame_id: int | None = None,
        casting: Casting = "unsafe",
        timeout: float | None = None,
    ) -> None:
        """Publish `value` as the newest frame.

        Args:
            value: an array of exactly the stream's shape.
            frame_id: an integer to stamp on the frame, taken modulo 2**64; None repeats that of
                the frame before.
            casting: which conversions to the stream's dtype are allowed, in NumPy's words. The
                default converts as `numpy.asarray` does, without regard to loss.
            timeout: seconds to wait for other writers and for lossless readers; None waits for ever.

        Raises:
            ValueError: the shape differs. Nothing was written.
            TimeoutError: another writer held the shared memory lock, or a lossless reader did not
                read, for `timeout` seconds; the message names its process. Nothing was written.
            TypeError: `casting` does not allow the conversion. Nothing was written.
            PermissionError: the handle is read-only.
            RuntimeError: the handle is closed, or this thread has a frame of the stream on loan.
        """
        if frame_id is not None:
            frame_id = checked_frame_id(frame_id)
        if casting != "unsafe":
            check_casting(casting)
        if not self._native.write(value, frame_id, timeout):
            self._native.write(self._converted(value, casting), frame_id, timeout)

    def write_locked(
        self,
        value: ArrayLike,
        *,
        frame_id: int | None = None,
        casting: Casting = "unsafe",
        timeout: float | None = None,
    ) -> None:
        """As `write`, by the thread that holds the lock.

        Raises:
            RuntimeError: it does not.
            As `write`.
        """
        frame_id = checked_frame_id(frame_id)
        if casting != "unsafe":
            check_casting(casting)
        if not self._native.write(value, frame_id, timeout, "write_locked"):
            converted = self._converted(value, casting)
            self._native.write(converted, frame_id, timeout, "write_locked")

    def clear(self) -> None:
        """Publish a frame of zeros, with the id of the frame before.

        Raises:
            PermissionError, RuntimeError: as for `write`.
        """
        self._native.clear()

    def loan(
        self, *, timeout: float | None = None, frame_id: int | None = None
    ) -> AbstractContextManager[NDArray[Any]]:
        """Write the next frame in place, without a copy.

        `with stream.loan() as array:` lends a writable array with undefined contents; fill all of
        it. It is published when the block ends, and given up when the block raises; readers see the
        last published frame until then. Other writers of the stream wait meanwhile.

        The lent array becomes read-only when the block ends. Arrays made of it (slices, reshapes,
        tensors of other libraries) that are still alive then become private copies: they keep what
        they show, and cannot change what was published. That costs a copy of the frame.

        Args:
            timeout: seconds to wait for other writers; None waits for ever.
            frame_id: as for `write`.

        Raises (on entering the block):
            TimeoutError: another writer held the shared memory lock for `timeout` seconds.
            PermissionError: the handle is read-only.
            RuntimeError: the handle is closed, or this thread has a frame on loan already.
        """
        return self._native.write_scope("undefined", timeout, checked_frame_id(frame_id))

    def write_view(
        self, *, timeout: float | None = None, frame_id: int | None = None
    ) -> AbstractContextManager[NDArray[Any]]:
        """Change the newest frame in place: as `loan`, but the array begins as a copy of it.

        Before the first frame it begins as zeros.
        """
        return self._native.write_scope("last frame", timeout, checked_frame_id(frame_id))

    def write_view_locked(
        self, *, frame_id: int | None = None
    ) -> AbstractContextManager[NDArray[Any]]:
        """As `write_view`, by the thread that holds the lock.

        Raises (on entering the block):
            RuntimeError: it does not.
        """
        return self._native.write_scope(
            "last frame", None, checked_frame_id(frame_id), "write_view_locked"
        )

    def write_rows(self, *, timeout: float | None = None, frame_id: int | None = None) -> Loan:
        """Write the next frame of a progressive stream row by row.

        `with stream.write_rows() as frame:` lends `frame.array`, as `loan` does. After each part of it,
        `frame.announce(rows)` tells readers how many rows, from the first, are as they will be
        published; see `read_rows`. The whole frame is published when the block ends.

        Raises (on entering the block):
            As `loan`.
        Raises (by `announce`):
            RuntimeError: the stream was not created with `progressive=True`, or the number of rows is
                smaller than before or larger than the stream has.
        """
        return self._native.write_scope("rows", timeout, checked_frame_id(frame_id))

    def pinned_buffer(self) -> NoReturn:
        """A page-locked buffer for uploads to a GPU: not for streams on the CPU.

        Raises:
            RuntimeError: the stream is on the CPU, or the handle is closed.
            PermissionError: the handle is read-only.
        """
        self._native.check_open()
        if self.readonly:
            raise PermissionError(f"stream {self.name!r} is read-only for this handle")
        raise RuntimeError(
            f"stream {self.name!r}: pinned_buffer() is for streams on a GPU; write() a NumPy array"
        )

    def _converted(self, value: ArrayLike, casting: Casting) -> NDArray[Any]:
        """`value` as an array that can be copied byte by byte."""
        if casting != "unsafe":
            source = np.asarray(value)
            if not np.can_cast(source.dtype, self._dtype, casting):
                raise TypeError(
                    f"stream {self.name!r}: cannot cast {source.dtype} to {self._dtype} according to "
                    f"the rule {casting!r}"
                )
            value = source
        array = np.asarray(value, dtype=self._dtype)
        if array.shape != self._shape:
            raise ValueError(
                f"stream {self.name!r}: expected shape {self._shape}, got {array.shape}"
            )
        return np.require(array, requirements=("C", "A"))

    # Reading.

    def read(
        self,
        *,
        safe: bool = True,
        poll_interval: float = 1e-6,
        out: NDArray[Any] | None = None,
        timeout: float | None = None,
    ) -> NDArray[Any]:
        """Copy the newest frame; zeros before the first write.

        Args:
            safe: False does not copy: the result is a read-only view of the newest frame's memory,
                which stays as it is while the calling thread holds the lock, as it has to, and
                writes no more than one frame itself. To change a frame in place use `write_view`;
                to look at one without the lock, `borrow`.
            out: an array of the stream's shape to copy into. Another dtype is converted as
                `numpy.copyto` does by default, refusing to lose more than precision. When the call
                fails, its contents are undefined.
            timeout: seconds to go on trying while frames are replaced faster than they can be
                copied; None never gives up.

        Returns:
            A new array of the stream's shape and dtype, or `out` itself.

        Raises:
            InconsistentStreamError: no write of the stream was ever completed, but one was begun; or
                the newest write was given up and the stream has `on_abort="invalidate"`.
            TimeoutError: no stable write within `timeout`.
            TypeError, ValueError: `out` is no array, cannot be written, or does not fit.
            PermissionError: `safe=False` with a read-only handle.
            RuntimeError: the handle is closed, or `safe=False` without the lock.
        """
        if not safe:
            return self._peek(out)[0]
        return self._received(self._native.read_into, out, timeout)[0]

    def read_publication(
        self,
        *,
        safe: bool = True,
        poll_interval: float = 1e-6,
        out: NDArray[Any] | None = None,
        timeout: float | None = None,
    ) -> Publication:
        """As `read`, with everything that was published beside the frame."""
        if not safe:
            return publication(*self._peek(out))
        return publication(*self._received(self._native.read_into, out, timeout))

    def read_new(
        self,
        *,
        timeout: float | None = None,
        safe: bool = True,
        poll_interval: float = 1e-5,
        out: NDArray[Any] | None = None,
        wait: WaitPolicy = "adaptive",
    ) -> NDArray[Any]:
        """Wait for a new write, then copy the newest frame.

        New is what is written after the call began. With handles that come from
        `PipelineManager.get_stream`, new is every frame the handle has not returned yet: an answer
        that was faster than the call is not missed.

        Args:
            timeout: seconds to wait; None waits for ever, 0 not at all.
            safe: as for `read`.
            out: as for `read`.
            wait: how to pass the time, see the class.

        Returns:
            A new array of the stream's shape and dtype, or `out` itself.

        Raises:
            TimeoutError: there was no new write.
            StaleStreamError: there will be none, the stream was unlinked or replaced.
            KeyboardInterrupt: Ctrl-C.
            RuntimeError: the handle is closed, or was closed meanwhile.
        """
        return self._read_new(timeout, safe, out, wait)[0]

    def read_new_publication(
        self,
        *,
        timeout: float | None = None,
        safe: bool = True,
        poll_interval: float = 1e-5,
        out: NDArray[Any] | None = None,
        wait: WaitPolicy = "adaptive",
    ) -> Publication:
        """As `read_new`, with everything that was published beside the frame."""
        return publication(*self._read_new(timeout, safe, out, wait))

    def read_after(
        self,
        after: int,
        *,
        timeout: float | None = None,
        safe: bool = True,
        poll_interval: float = 1e-5,
        out: NDArray[Any] | None = None,
        wait: WaitPolicy = "adaptive",
    ) -> NDArray[Any]:
        """Wait until the stream's count is above `after`, then copy the newest frame.

        Frames that were written before the call count, so nothing is missed between two calls.

        Args:
            after: a count, at least 0.
            timeout: seconds to wait, at least 0; None waits for ever.
            safe: as for `read`.
            out: as for `read`.
            wait: how to pass the time, see the class.

        Returns:
            A new array of the stream's shape and dtype, or `out` itself.

        Raises:
            ValueError: `after` is no integer or negative, or `timeout` is negative.
            TimeoutError: the count stayed where it was.
            StaleStreamError, KeyboardInterrupt, RuntimeError: as for `read_new`.
        """
        return self._read_after(checked_after(after), timeout, safe, out, wait)[0]

    def read_after_publication(
        self,
        after: int,
        *,
        timeout: float | None = None,
        safe: bool = True,
        poll_interval: float = 1e-5,
        out: NDArray[Any] | None = None,
        wait: WaitPolicy = "adaptive",
    ) -> Publication:
        """As `read_after`, with everything that was published beside the frame."""
        return publication(*self._read_after(checked_after(after), timeout, safe, out, wait))

    def wait_for_count(
        self,
        *,
        after: int,
        timeout: float | None = None,
        poll_interval: float = 1e-5,
        wait: WaitPolicy = "adaptive",
    ) -> int:
        """Wait until the stream's count is above `after`; returns the newest count.

        Args, Raises:
            As for `read_after`. No frame counts as read.
        """
        return self._native.wait_for_count(checked_after(after), timeout, wait)

    async def read_new_async(
        self,
        *,
        timeout: float | None = None,
        safe: bool = True,
        poll_interval: float = 1e-5,
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """As `read_new`, in asyncio: no thread sleeps for this wait alone, and nothing polls.

        Cancelling the task ends the wait. The frame is copied by the event loop's thread.
        """
        await self._new_awaited(timeout, safe)
        return self.read(safe=safe, out=out, timeout=timeout)

    async def read_new_publication_async(
        self,
        *,
        timeout: float | None = None,
        safe: bool = True,
        poll_interval: float = 1e-5,
        out: NDArray[Any] | None = None,
    ) -> Publication:
        """As `read_new_async`, with everything that was published beside the frame."""
        await self._new_awaited(timeout, safe)
        return self.read_publication(safe=safe, out=out, timeout=timeout)

    async def read_after_async(
        self,
        after: int,
        *,
        timeout: float | None = None,
        safe: bool = True,
        poll_interval: float = 1e-5,
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """As `read_after`, in asyncio; see `read_new_async`."""
        await self._count_awaited(after, timeout, safe)
        return self.read(safe=safe, out=out, timeout=timeout)

    async def read_after_publication_async(
        self,
        after: int,
        *,
        timeout: float | None = None,
        safe: bool = True,
        poll_interval: float = 1e-5,
        out: NDArray[Any] | None = None,
    ) -> Publication:
        """As `read_after_async`, with everything that was published beside the frame."""
        await self._count_awaited(after, timeout, safe)
        return self.read_publication(safe=safe, out=out, timeout=timeout)

    async def wait_for_count_async(
        self, *, after: int, timeout: float | None = None, poll_interval: float = 1e-5
    ) -> int:
        """As `wait_for_count`, in asyncio; see `read_new_async`."""
        return await self._count_awaited(after, timeout, True)

    def history(self, frames: int, *, timeout: float | None = None) -> list[Publication]:
        """Copy the last frames, as far as they are still held, oldest first.

        A stream holds its last `slots` frames, one of which may be just being replaced. Counts that
        are missing were overwritten. No frame counts as read.

        Args:
            frames: how many to look back, at least 1.
            timeout: seconds to go on trying while frames are replaced faster than they can be
                copied; None never gives up.

        Raises:
            ValueError: `frames` is not positive.
            InconsistentStreamError, TimeoutError, RuntimeError: as for `read`.
        """
        if frames < 1:
            raise ValueError(f"frames must be at least 1, got {frames}")
        payloads = np.empty((min(frames, self.slots), *self._shape), self._dtype)
        held = self._native.history_into(payloads, frames, timeout)
        assert held is not None, "an array of the stream's own frames fits"
        return [publication(*frame) for frame in zip(payloads, held, strict=False)]

    def subscribe(self, budget: int = 2) -> LosslessReader:
        """Read every frame from now on, in order: the writer waits for this reader.

        Args:
            budget: frames the writer may be ahead, 1 to `slots`. Up to 2 cost nothing; each further
                one takes one of the frames that can be borrowed.

        Raises:
            ValueError: the stream can never grant `budget`.
            PermissionError: the mode of the stream allows this user only to read.
            RuntimeError: too many frames are borrowed (the message names the processes), or the handle
                is closed.
        """
        return LosslessReader(self._native.subscribe(budget), self.name, self._shape, self._dtype)

    def read_rows(
        self,
        stop: int,
        *,
        start: int = 0,
        after: int = 0,
        more_of: PartialFrame | None = None,
        timeout: float | None = None,
        wait: WaitPolicy = "adaptive",
    ) -> PartialFrame:
        """Copy rows of a frame of a progressive stream, as soon as they are announced.

        Args:
            stop: one past the last row, at most `shape[0]`.
            start: first row.
            after: only of frames with a count above this.
            more_of: rows read before: waits for further rows of the same writing of the same frame.
            timeout: seconds to wait, at least 0; None waits for ever.
            wait: how to pass the time, see the class.

        Returns:
            The rows, an array of shape `(stop - start, *shape[1:])`, with the count of their frame.

        Raises:
            InconsistentStreamError: the frame was given up by its writer, or replaced before the rows
                were copied; what was read of it is no part of the stream.
            ValueError: the stream is not progressive, or has no such rows.
            TimeoutError, StaleStreamError, KeyboardInterrupt, RuntimeError: as for `read_after`.
        """
        if not 0 <= start <= stop:
            raise ValueError(f"rows {start} to {stop} are no range")
        begun = None if more_of is None else more_of.progress
        progress = self._native.wait_rows(stop, checked_after(after), begun, timeout, wait)
        payload = np.empty((stop - start, *self._shape[1:]), self._dtype)
        now = self._native.read_rows_into(progress, start, stop, payload)
        assert now is not None, "an array of the stream's own rows fits"
        return PartialFrame(payload, now.count, start, now.rows, now.is_complete, now)

    def borrow(self) -> Frame:
        """Borrow the newest frame: look at it in place, without a copy.

        The writer leaves a borrowed frame alone and goes on with other slots. A stream can have
        `slots - 2` different frames borrowed at a time, over all processes.

        Returns:
            The frame, as a context manager: `with stream.borrow() as frame: use(frame.array)`.

        Raises:
            RuntimeError: there is no frame yet, all that can be borrowed are (the message names the
                processes), the stream has only two slots, or the handle is closed.
            PermissionError: the mode of the stream allows this user only to read.
        """
        return self._native.borrow()

    def borrow_after(
        self, after: int, *, timeout: float | None = None, wait: WaitPolicy = "adaptive"
    ) -> Frame:
        """Wait until the stream's count is above `after`, then borrow the newest frame.

        Args, Raises:
            As for `read_after` and `borrow`.
        """
        self._native.wait_for_count(checked_after(after), timeout, wait)
        return self._native.borrow()

    def __dlpack_device__(self) -> tuple[int, int]:
        """The CPU, in the numbers of DLPack."""
        return (1, 0)

    def __dlpack__(self, *, stream: object = None, **arguments: Any) -> Any:
        """A copy of the newest frame, in the form in which array libraries hand over arrays.

        Args:
            stream: None, as there is no device to synchronise with.
            arguments: passed on to NumPy: `max_version`, `dl_device`, `copy`.

        Raises:
            As `read`.
        """
        return self.read().__dlpack__(stream=stream, **arguments)

    def _received(
        self, read: Callable[..., ReadFacts | None], out: NDArray[Any] | None, *arguments: object
    ) -> tuple[NDArray[Any], ReadFacts]:
        """What `read` copies into `out`, or into a new array, and the facts about it."""
        if out is None:
            out = np.empty(self._shape, self._dtype)
            facts = read(out, *arguments)
        else:
            facts = read(out, *arguments)
            if facts is None:
                between = self._between(out)
                facts = read(between, *arguments)
                np.copyto(out, between)
        assert facts is not None, "an array of the stream's own shape and dtype fits"
        return out, facts

    def _between(self, out: NDArray[Any]) -> NDArray[Any]:
        """An array to read into before converting to `out`, which is checked first."""
        if not isinstance(out, np.ndarray):
            raise TypeError(f"out must be a numpy array, got {type(out).__name__}")
        if out.shape != self._shape:
            raise ValueError(
                f"stream {self.name!r}: out: expected shape {self._shape}, got {out.shape}"
            )
        if not out.flags.writeable:
            raise ValueError("out is read-only")
        if not np.can_cast(self._dtype, out.dtype, "same_kind"):
            raise TypeError(
                f"stream {self.name!r}: out: cannot cast {self._dtype} to {out.dtype} without loss "
                "of more than precision"
            )
        return np.empty(self._shape, self._dtype)

    def _read_new(
        self, timeout: float | None, safe: bool, out: NDArray[Any] | None, wait: WaitPolicy
    ) -> tuple[NDArray[Any], ReadFacts]:
        if safe:
            return self._received(self._native.read_new_into, out, timeout, wait)
        self._native.check_peek()
        self._native.wait_for_new(timeout, wait)
        return self._peek(out)

    def _read_after(
        self,
        after: int,
        timeout: float | None,
        safe: bool,
        out: NDArray[Any] | None,
        wait: WaitPolicy,
    ) -> tuple[NDArray[Any], ReadFacts]:
        if safe:
            return self._received(self._native.read_after_into, out, after, timeout, wait)
        self._native.check_peek()
        self._native.wait_for_count(after, timeout, wait)
        return self._peek(out)

    async def _new_awaited(self, timeout: float | None, safe: bool) -> int:
        if not safe:
            self._native.check_peek()
        pending = self._native.pending(self._native.baseline_count())
        return await awaited(
            pending, timeout, f"timed out waiting for a new write of stream {self.name!r}"
        )

    async def _count_awaited(self, after: int, timeout: float | None, safe: bool) -> int:
        after = checked_after(after)
        check_duration(timeout)
        if not safe:
            self._native.check_peek()
        return await awaited(
            self._native.pending(after),
            timeout,
            f"timed out waiting for stream {self.name!r} to pass count {after}",
        )

    def _peek(self, out: NDArray[Any] | None) -> tuple[NDArray[Any], ReadFacts]:
        """The newest slot in place, for the thread that holds the lock."""
        self._native.check_peek()
        if out is not None:
            raise ValueError(f"stream {self.name!r}: out is for safe CPU reads, not for safe=False")
        memory, facts = self._native.peek()
        return np.asarray(memory), facts

    # The lock.

    def acquire(self, *, timeout: float | None = None, poll_interval: float = 1e-3) -> None:
        """Take the stream's writer lock, shared by all processes, for this thread.

        A thread that has it may take it again, and write. A process that dies gives it back.

        Args:
            timeout: seconds to wait; None waits for ever, 0 tries once.

        Raises:
            TimeoutError: somebody else held the shared memory lock; the message names the process.
            PermissionError: the handle is read-only.
            RuntimeError: the handle is closed.
        """
        self._native.acquire(timeout)

    def release(self) -> None:
        """Give one `acquire` of this handle back.

        Raises:
            RuntimeError: the lock is unlocked, or another thread has it.
        """
        self._native.release()

    def locked(
        self, *, timeout: float | None = None, poll_interval: float = 1e-3
    ) -> AbstractContextManager[SharedMemory]:
        """`acquire` for the length of a `with` block, which gets this handle.

        Whatever interrupts the block, or the way in or out of it, the lock is given back.
        """
        return self._native.lock_scope(self, timeout)

    # The end.

    def close(self, *, timeout: float | None = 5.0) -> None:
        """Detach this handle; the stream and other handles go on. Closing twice is no error.

        Waits of other threads and tasks under this handle end with a RuntimeError. Arrays stay valid,
        and the lock stays with whoever took it through another handle.

        Args:
            timeout: without effect: nothing has to be waited for, as calls under way keep what they
                need.

        Raises:
            RuntimeError: another thread owns the stream's lock through this handle.
        """
        self._native.close()

    def unlink(self) -> None:
        """Close this handle and remove the stream's name; processes attached to it are told.

        Also works on a closed handle, and if the stream is gone already.

        Raises:
            StaleStreamError: the name leads to a newer generation, which is left alone.
            PermissionError: the handle is read-only.
            RuntimeError: as for `close`.
        """
        self._native.unlink()

    def delete(self) -> None:
        """The same as `unlink`."""
        self.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._auto_unlink:
            self.unlink()
        else:
            self.close()

    def __repr__(self) -> str:
        return (
            f"SharedMemory(name={self.name!r}, shape={self._shape}, "
            f"dtype={self._dtype.name!r}, gpu_device=None)"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        self._native.check_open()
        return _reattached, (self.name, self.instance_id, self.readonly)


def _reattached(name: str, instance_id: str, readonly: bool) -> SharedMemory:
    """A handle of the stream that was pickled, if it is still there."""
    handle = SharedMemory(_native.open(name, readonly, None))
    if handle.instance_id != instance_id:
        raise StaleStreamError(
            f"stream {name!r} was replaced by a newer generation since this handle was pickled; "
            f"thalweg.open({name!r}) attaches to that"
        )
    return handle
