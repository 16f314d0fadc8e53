"""How a handle writes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Literal, NoReturn, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg._arguments import check_casting, checked_frame_id
from thalweg._facts import Facts
from thalweg._native import Loan

Casting: TypeAlias = Literal["no", "equiv", "safe", "same_kind", "unsafe"]


class Writing(Facts):
    """The part of `SharedMemory` that writes."""

    __slots__ = ()

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
            timeout: seconds to wait for other writers and for lossless readers; None waits for
                ever.

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

        `with stream.write_rows() as frame:` lends `frame.array`, as `loan` does. After each part of
        it, `frame.announce(rows)` tells readers how many rows, from the first, are as they will be
        published; see `read_rows`. The whole frame is published when the block ends.

        Raises (on entering the block):
            As `loan`.
        Raises (by `announce`):
            RuntimeError: the stream was not created with `progressive=True`, or the number of rows
                is smaller than before or larger than the stream has.
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
                    f"stream {self.name!r}: cannot cast {source.dtype} to {self._dtype} "
                    f"according to the rule {casting!r}"
                )
            value = source
        array = np.asarray(value, dtype=self._dtype)
        if array.shape != self._shape:
            raise ValueError(
                f"stream {self.name!r}: expected shape {self._shape}, got {array.shape}"
            )
        return np.require(array, requirements=("C", "A"))
