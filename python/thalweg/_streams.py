"""Named streams of arrays in shared memory."""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self, final

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from thalweg import _native
from thalweg._native import Frame

_DEFAULT_SLOTS: Final = 4
_FRAME_ID_BITS: Final = (1 << 64) - 1


@final
class SharedMemory:
    """A handle of a stream: a named array of fixed shape and dtype, published frame by frame.

    Made by `create` and `open`, never directly. One writer at a time, any number of readers, in any
    processes; the writer never waits for readers. Handles may be used from several threads.

    A handle is a context manager that closes itself at the end of the block; one that was created
    with `auto_unlink=True` unlinks the stream there. Collecting a handle closes it. The stream
    itself lives until it is unlinked.
    """

    __slots__ = ("__weakref__", "_auto_unlink", "_dtype", "_native", "_shape")

    def __init__(self, native: _native.Stream, *, auto_unlink: bool = False) -> None:
        if not isinstance(native, _native.Stream):
            raise TypeError("use thalweg.create(name, ...) or thalweg.open(name) to get a handle")
        self._native = native
        self._auto_unlink = auto_unlink
        self._shape: tuple[int, ...] = native.shape
        self._dtype: np.dtype[Any] = np.dtype(native.dtype)

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
    def count(self) -> int:
        """Number of completed writes."""
        return self._native.count()

    @property
    def frame_id(self) -> int:
        """Id stamped on the newest frame, 0 to 2**64 - 1; 0 when nobody stamped one."""
        return self._native.frame_id()

    @property
    def write_time(self) -> float:
        """When the newest frame was written, in seconds since 1970; 0.0 before the first."""
        return self._native.write_time()

    def write(self, value: ArrayLike, *, frame_id: int | None = None) -> None:
        """Publish `value` as the newest frame.

        Args:
            value: an array of exactly the stream's shape. Another dtype is converted as
                `numpy.asarray` does, without regard to loss.
            frame_id: an integer to stamp on the frame, taken modulo 2**64; None repeats that of
                the frame before.

        Raises:
            ValueError: the shape differs. Nothing was written.
            PermissionError: this process may only read the stream.
            RuntimeError: the handle is closed, or this thread has a frame of the stream on loan.
        """
        if frame_id is not None:
            frame_id = int(frame_id) & _FRAME_ID_BITS
        if not self._native.write(value, frame_id):
            array = np.asarray(value, dtype=self._dtype)
            if array.shape != self._shape:
                raise ValueError(
                    f"stream {self.name!r}: expected shape {self._shape}, got {array.shape}"
                )
            # Aligned and in C order: what is copied byte by byte.
            self._native.write(np.require(array, requirements=("C", "A")), frame_id)

    def read(
        self, *, out: NDArray[Any] | None = None, timeout: float | None = None
    ) -> NDArray[Any]:
        """Copy the newest frame; zeros before the first write.

        Args:
            out: an array of the stream's shape to copy into. Another dtype is converted as
                `numpy.copyto` does by default, refusing to lose more than precision. When the call
                fails, its contents are undefined.
            timeout: seconds to go on trying while frames are replaced faster than they can be
                copied; None never gives up.

        Returns:
            A new array of the stream's shape and dtype, or `out` itself.

        Raises:
            InconsistentStreamError: no write of the stream was ever completed, but one was begun.
            TimeoutError: no stable write within `timeout`.
            TypeError, ValueError: `out` is no array, cannot be written, or does not fit.
            RuntimeError: the handle is closed.
        """
        if out is None:
            out = np.empty(self._shape, self._dtype)
            self._native.read_into(out, timeout)
        elif not self._native.read_into(out, timeout):
            converted = self._converted(out)
            self._native.read_into(converted, timeout)
            np.copyto(out, converted)
        return out

    def read_new(
        self, *, timeout: float | None = None, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Wait for a new write, then copy the newest frame.

        New is what is written after the call began. With handles that come from
        `PipelineManager.get_stream`, new is every frame the handle has not returned yet: an answer
        that was faster than the call is not missed.

        Args:
            timeout: seconds to wait; None waits for ever, 0 not at all.
            out: as for `read`.

        Returns:
            A new array of the stream's shape and dtype, or `out` itself.

        Raises:
            TimeoutError: there was no new write.
            StaleStreamError: there will be none, the stream was unlinked or replaced.
            KeyboardInterrupt: Ctrl-C.
            RuntimeError: the handle is closed, or was closed meanwhile.
        """
        if out is None:
            out = np.empty(self._shape, self._dtype)
            self._native.read_new_into(out, timeout)
        elif not self._native.read_new_into(out, timeout):
            converted = self._converted(out)
            self._native.read_new_into(converted, timeout)
            np.copyto(out, converted)
        return out

    def read_after(
        self, after: int, *, timeout: float | None = None, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Wait until the stream's count is above `after`, then copy the newest frame.

        Frames that were written before the call count, so nothing is missed between two calls.

        Args:
            after: a count, at least 0.
            timeout: seconds to wait, at least 0; None waits for ever.
            out: as for `read`.

        Returns:
            A new array of the stream's shape and dtype, or `out` itself.

        Raises:
            ValueError: `after` is no integer or negative, or `timeout` is negative.
            TimeoutError: the count stayed where it was.
            StaleStreamError, KeyboardInterrupt, RuntimeError: as for `read_new`.
        """
        try:
            after = int(after)
        except (TypeError, ValueError) as problem:
            raise ValueError(f"after must be an integer, got {after!r}") from problem
        if after < 0:
            raise ValueError(f"after must not be negative, got {after}")
        if out is None:
            out = np.empty(self._shape, self._dtype)
            self._native.read_after_into(out, after, timeout)
        elif not self._native.read_after_into(out, after, timeout):
            converted = self._converted(out)
            self._native.read_after_into(converted, after, timeout)
            np.copyto(out, converted)
        return out

    def _converted(self, out: NDArray[Any]) -> NDArray[Any]:
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

    def borrow(self) -> Frame:
        """Borrow the newest frame: look at it in place, without a copy.

        The writer leaves a borrowed frame alone and goes on with other slots. A stream can have
        `slots - 2` different frames borrowed at a time, over all processes.

        Returns:
            The frame, as a context manager: `with stream.borrow() as frame: use(frame.array)`.

        Raises:
            RuntimeError: there is no frame yet, all that can be borrowed are (the message names the
                processes), the stream has only two slots, or the handle is closed.
            PermissionError: this process may only read the stream.
        """
        return self._native.borrow()

    def loan(self, *, timeout: float | None = None, frame_id: int | None = None) -> Loan:
        """Write the next frame in place, without a copy.

        `with stream.loan() as array:` lends a writable array with undefined contents; fill all of
        it. It is published when the block ends, and given up when the block raises; readers see the
        last published frame until then. Other writers of the stream wait meanwhile.

        The lent array becomes read-only when the block ends. Arrays made of it (slices, reshapes)
        could still change a published frame: if one is alive when the block ends, the frame is
        given up with a `BufferError`. The same is up to you for views that NumPy does not know
        of, such as a memoryview or a tensor of another library.

        Args:
            timeout: seconds to wait for other writers; None waits for ever.
            frame_id: as for `write`.

        Raises (on entering the block):
            TimeoutError: another writer held the shared memory lock for `timeout` seconds.
            PermissionError: this process may only read the stream.
            RuntimeError: the handle is closed, or this thread has a frame on loan already.
        """
        if frame_id is not None:
            frame_id = int(frame_id) & _FRAME_ID_BITS
        return Loan(self, timeout, frame_id)

    def acquire(self, *, timeout: float | None = None) -> None:
        """Take the stream's writer lock, shared by all processes, for this thread.

        A thread that has it may take it again, and write. A process that dies gives it back.

        Args:
            timeout: seconds to wait; None waits for ever, 0 tries once.

        Raises:
            TimeoutError: somebody else held the shared memory lock; the message names the process.
            PermissionError: this process may only read the stream.
            RuntimeError: the handle is closed.
        """
        self._native.acquire(timeout)

    def release(self) -> None:
        """Give one `acquire` of this handle back.

        Raises:
            RuntimeError: the lock is unlocked, or another thread has it.
        """
        self._native.release()

    @contextmanager
    def locked(self, *, timeout: float | None = None) -> Iterator[Self]:
        """`acquire` for the length of a `with` block."""
        self._native.acquire(timeout)
        try:
            yield self
        finally:
            # A handle that was closed inside the block has given its locks back already.
            if not self._native.is_closed:
                self._native.release()

    def close(self) -> None:
        """Detach this handle; the stream and other handles go on. Closing twice is no error.

        Waits of other threads under this handle end with a RuntimeError. Arrays stay valid.

        Raises:
            RuntimeError: another thread owns the stream's lock through this handle.
        """
        self._native.close()

    def unlink(self) -> None:
        """Close this handle and remove the stream's name; processes attached to it are told.

        Also works on a closed handle, and if the stream is gone already.

        Raises:
            StaleStreamError: the name leads to a newer generation, which is left alone.
            RuntimeError: as for `close`.
        """
        self._native.unlink()

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


@final
class Loan:
    """The `with` block of `SharedMemory.loan`. May be entered again after it ended."""

    # The lent array is a view of a second one, and NumPy hangs every array made of it on the
    # second one, too. So the second one's references tell how many of them are alive.
    __slots__ = ("_frame_id", "_lent", "_native", "_references", "_root", "_stream", "_timeout")

    _native: _native.Loan
    _root: NDArray[Any]
    _lent: NDArray[Any]

    def __init__(self, stream: SharedMemory, timeout: float | None, frame_id: int | None) -> None:
        self._stream = stream
        self._timeout = timeout
        self._frame_id = frame_id

    def __enter__(self) -> NDArray[Any]:
        stream = self._stream
        self._native = stream._native.loan(self._timeout)
        buffer: Any = self._native
        self._root = np.ndarray(stream.shape, stream.dtype, buffer=buffer)
        self._lent = self._root[...]
        self._references = sys.getrefcount(self._root)
        return self._lent

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        survivors = sys.getrefcount(self._root) - self._references
        # First the root: an array over a read-only one cannot be made writable again.
        self._root.setflags(write=False)
        self._lent.setflags(write=False)
        native = self._native
        del self._native, self._root, self._lent
        if kind is None:
            native.publish(self._frame_id, survivors)
        else:
            native.abort()


def create(
    name: str,
    *,
    shape: Iterable[int],
    dtype: DTypeLike = np.float32,
    size: int | None = None,
    auto_unlink: bool = False,
    slots: int = _DEFAULT_SLOTS,
    mode: int = 0o600,
) -> SharedMemory:
    """Create the stream `name`. It outlives this process until somebody unlinks it.

    Args:
        name: any text of 1 to 256 UTF-8 bytes.
        shape: extent of each axis, at least one axis, each positive.
        dtype: bool, float16 to float64, complex64, complex128, or a signed or unsigned integer of 8
            to 64 bits, in native byte order.
        size: bytes of a frame, only to be checked against shape and dtype.
        auto_unlink: unlink the stream at the end of this handle's `with` block.
        slots: frames held at once, 2 to 127; all but two of them can be borrowed.
        mode: permission bits of the stream's file. Who may not write it reads only.

    Returns:
        A handle for writing and reading. Until the first write it reads zeros.

    Raises:
        FileExistsError: the name is taken.
        ValueError: name, shape, dtype, slots or size are not possible, or contradict each other.
        OSError: there is no room, or no permission; the message tells the bytes needed and free.
    """
    extents = tuple(operator.index(extent) for extent in shape)
    if any(extent <= 0 for extent in extents):
        raise ValueError(f"shape {extents} is not valid: every dimension must be positive")
    element = np.dtype(dtype)
    if not element.isnative:
        raise ValueError(f"unsupported dtype {element.str!r}: the byte order is not native")
    if size is not None:
        frame_bytes = element.itemsize
        for extent in extents:
            frame_bytes *= extent
        if int(size) != frame_bytes:
            raise ValueError(
                f"size does not match: {size} bytes given, a frame of shape {extents} and dtype "
                f"{element} has {frame_bytes}"
            )
    native = _native.create(_checked(name), extents, element.name, slots, mode)
    return SharedMemory(native, auto_unlink=auto_unlink)


def open(name: str) -> SharedMemory:
    """Attach to the stream `name`; shape and dtype are those it was created with.

    Raises:
        FileNotFoundError: there is no such stream.
        ValueError: the name is not possible, or its file is no stream.
        PermissionError: this user may not read it.
    """
    return SharedMemory(_native.open(_checked(name)))


@contextmanager
def stream(
    name: str,
    *,
    shape: Iterable[int],
    dtype: DTypeLike = np.float32,
    size: int | None = None,
    slots: int = _DEFAULT_SLOTS,
    mode: int = 0o600,
) -> Iterator[SharedMemory]:
    """Create the stream `name` for the length of a `with` block; arguments as for `create`."""
    handle = create(name, shape=shape, dtype=dtype, size=size, slots=slots, mode=mode)
    try:
        yield handle
    finally:
        handle.unlink()


def unlink(name: str) -> None:
    """Remove the stream `name`; no error if there is none. Handles and arrays stay usable.

    Raises:
        ValueError: the name is not possible.
        RuntimeError: the stream belongs to a running pipeline; the message names its process.
        OSError: this user may not remove it.
    """
    _native.unlink(_checked(name))


def list_streams() -> list[str]:
    """Names of all streams this user can read, sorted."""
    return _native.list_streams()


def purge(*, prefix: str = "", dry_run: bool = False) -> list[str]:
    """Remove all streams, and whatever processes that died have left of others.

    Streams of pipelines that are running are kept.

    Args:
        prefix: only streams whose names begin with it.
        dry_run: remove nothing, only tell.

    Returns:
        The names of the removed streams, sorted.

    Raises:
        OSError: some could not be removed; the message tells which and why. All others are gone.
    """
    removed, failures = _native.purge(prefix, dry_run)
    if failures:
        raise OSError("; ".join(failures))
    return removed


def _checked(name: str) -> str:
    if not isinstance(name, str):
        raise ValueError(f"stream name must be a non-empty string, got {name!r}")
    return name
