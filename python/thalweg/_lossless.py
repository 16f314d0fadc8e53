"""Reading every frame of a stream."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, final

import numpy as np
from numpy.typing import NDArray

from thalweg import _native
from thalweg._awaiting import awaited
from thalweg._publication import Publication, publication

if TYPE_CHECKING:
    from thalweg._reading import WaitPolicy


@final
class LosslessReader:
    """A reader that gets every frame published since it subscribed, in order, exactly once.

    Made by `SharedMemory.subscribe`. The writer waits before it begins a frame that would leave
    this reader more than `budget` frames behind, so whoever subscribes has to read, or `close`. A
    reader whose process dies holds the writer up for at most 20 ms.

    An iterator, also in asyncio, that waits for each next frame without a time limit:
    `for frame in reader:` and `async for frame in reader:` get a `Publication` each time, until the
    stream is unlinked or replaced (StaleStreamError) or the handle closed (RuntimeError). A context
    manager that closes itself.
    """

    __slots__ = ("_dtype", "_name", "_native", "_shape")

    def __init__(
        self,
        native: _native.LosslessReader,
        name: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> None:
        self._native = native
        self._name = name
        self._shape = shape
        self._dtype = dtype

    @property
    def budget(self) -> int:
        """Frames the writer may be ahead."""
        return self._native.budget

    @property
    def position(self) -> int:
        """Count of the newest frame this reader returned, or of the one before its first."""
        return self._native.position()

    @property
    def lag(self) -> int:
        """Published frames this reader has not returned yet."""
        return self._native.lag()

    def read_next(
        self,
        *,
        timeout: float | None = None,
        out: NDArray[Any] | None = None,
        wait: WaitPolicy = "adaptive",
    ) -> Publication:
        """Wait for the next frame, copy it, and give its slot back to the writer.

        Args:
            timeout: seconds to wait, at least 0; None waits for ever.
            out: an array of the stream's shape and dtype to copy into; None makes a new one.
            wait: how to pass the time, see `SharedMemory`.

        Raises:
            TimeoutError: it did not come; nothing is lost.
            ValueError: `out` does not fit, or `timeout` is negative.
            StaleStreamError, KeyboardInterrupt, RuntimeError: as for `SharedMemory.read_new`; also
                when the reader is closed, or in use by another thread.
        """
        payload = np.empty(self._shape, self._dtype) if out is None else out
        facts = self._native.read_next_into(payload, timeout, wait)
        if facts is None:
            raise ValueError(
                f"stream {self._name!r}: out: expected a writable C-contiguous array of shape "
                f"{self._shape} and dtype {self._dtype}"
            )
        return publication(payload, facts)

    async def read_next_async(self, *, timeout: float | None = None) -> Publication:
        """As `read_next`, in asyncio: no thread sleeps for this wait alone."""
        await awaited(
            self._native.pending(),
            timeout,
            f"timed out waiting for the next frame of stream {self._name!r}",
        )
        return self.read_next(timeout=0)

    def close(self) -> None:
        """End the subscription: the writer waits no more. Closing twice is no error."""
        self._native.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Publication:
        return self.read_next()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Publication:
        return await self.read_next_async()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"LosslessReader(stream={self._name!r}, budget={self.budget})"
