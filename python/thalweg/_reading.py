"""How a handle reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from thalweg._arguments import check_duration, checked_after
from thalweg._awaiting import awaited
from thalweg._lossless import LosslessReader
from thalweg._native import Frame, ReadFacts, RowProgress
from thalweg._publication import Publication, publication
from thalweg._rows import PartialFrame, check_range
from thalweg._writing import Writing

WaitPolicy: TypeAlias = Literal["adaptive", "park", "spin"]


class Reading(Writing):
    """The part of `SharedMemory` that reads, added to the part that writes."""

    __slots__ = ()

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
            InconsistentStreamError: no write of the stream was ever completed, but one was begun;
                or the newest write was given up and the stream has `on_abort="invalidate"`.
            TimeoutError: no stable write within `timeout`.
            TypeError, ValueError: `out` is no array, cannot be written, or does not fit.
            PermissionError: `safe=False` with a read-only handle.
            RuntimeError: the handle is closed, or `safe=False` without the lock.
        """
        if not safe:
            return self._peek(out)[0]
        target = np.empty(self._shape, self._dtype) if out is None else out
        # Without facts for nobody: this is the call of tight loops.
        if self._native.copy_into(target, timeout):
            return target
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
            RuntimeError: too many frames are borrowed (the message names the processes), or the
                handle is closed.
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
            The rows, an array of `stop - start` rows of the stream's shape, with the count of their
            frame.

        Raises:
            InconsistentStreamError: the frame was given up by its writer, or replaced before the
                rows were copied; what was read of it is no part of the stream.
            ValueError: the stream is not progressive, or has no such rows.
            TimeoutError, StaleStreamError, KeyboardInterrupt, RuntimeError: as for `read_after`.
        """
        check_range(start, stop)
        begun = None if more_of is None else more_of.progress
        progress = self._native.wait_rows(stop, checked_after(after), begun, timeout, wait)
        return self._rows_copied(progress, start, stop)

    async def read_rows_async(
        self,
        stop: int,
        *,
        start: int = 0,
        after: int = 0,
        more_of: PartialFrame | None = None,
        timeout: float | None = None,
    ) -> PartialFrame:
        """As `read_rows`, in asyncio; see `read_new_async`."""
        check_range(start, stop)
        after = checked_after(after)
        check_duration(timeout)
        begun = None if more_of is None else more_of.progress
        progress = await awaited(
            self._native.pending_rows(stop, after, begun),
            timeout,
            f"timed out waiting for {stop} rows of a frame of stream {self.name!r}",
        )
        return self._rows_copied(progress, start, stop)

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

    def _rows_copied(self, progress: RowProgress, start: int, stop: int) -> PartialFrame:
        payload = np.empty((stop - start, *self._shape[1:]), self._dtype)
        now = self._native.read_rows_into(progress, start, stop, payload)
        assert now is not None, "an array of the stream's own rows fits"
        return PartialFrame(payload, now.count, start, now.rows, now.is_complete, now)

    def _peek(self, out: NDArray[Any] | None) -> tuple[NDArray[Any], ReadFacts]:
        """The newest slot in place, for the thread that holds the lock."""
        self._native.check_peek()
        if out is not None:
            raise ValueError(f"stream {self.name!r}: out is for safe CPU reads, not for safe=False")
        memory, facts = self._native.peek()
        return np.asarray(memory), facts
