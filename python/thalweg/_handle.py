"""The handle of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self, final

from thalweg import _native
from thalweg._native import StaleStreamError
from thalweg._reading import Reading


@final
class SharedMemory(Reading):
    """A handle of a stream: a named array of fixed shape and dtype, published frame by frame.

    Made by `create` and `open`, never directly. One writer at a time, any number of readers, in any
    processes; the writer never waits for readers. Handles may be used from several threads.

    A handle is a context manager that closes itself at the end of the block; one that was created
    with `auto_unlink=True` unlinks the stream there. Collecting a handle closes it. The stream
    itself lives until it is unlinked. Copies of a handle, and pickles, attach to the same stream
    anew, by its name.

    Waits end by `timeout`, by Ctrl-C, when the handle is closed (RuntimeError), and when the stream
    is unlinked or replaced (StaleStreamError). `wait` says how to pass the time: `"adaptive"` looks
    again and again for as long as frames of this stream usually take, if a CPU is to spare, and
    then sleeps; `"park"` sleeps at once; `"spin"` never sleeps and keeps a CPU busy.
    `poll_interval` is accepted everywhere and has no effect: nothing here polls.
    """

    __slots__ = ()

    @classmethod
    def create_from_config(cls, config: Mapping[str, Any]) -> SharedMemory:
        """Create the stream that `config` describes, as returned by `to_config`.

        Args:
            config: the keyword arguments of `thalweg.create`, of which `name` and `shape` are
                needed.

        Raises:
            As `thalweg.create`.
        """
        from thalweg._directory import create

        return create(**config)

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

        Waits of other threads and tasks under this handle end with a RuntimeError. Arrays stay
        valid, and the lock stays with whoever took it through another handle.

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
            TimeoutError: another process keeps the stream's file locked; the message names it.
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
