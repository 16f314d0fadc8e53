"""Waiting for several streams at once."""

from __future__ import annotations

from collections.abc import Iterable

from thalweg import _native
from thalweg._arguments import check_duration, checked_after
from thalweg._awaiting import awaited
from thalweg._handle import SharedMemory


def wait_any(
    streams: Iterable[tuple[SharedMemory, int]], *, timeout: float | None = None
) -> int:
    """Wait until one of several streams has a count above the one given with it.

    Sleeps on all of them with one system call.

    Args:
        streams: up to 128 pairs of a handle and a count, at least 0.
        timeout: seconds to wait, at least 0; None waits for ever.

    Returns:
        The position of the first pair whose count was passed.

    Raises:
        ValueError: there are no pairs, or a count or `timeout` is negative.
        TimeoutError, StaleStreamError, KeyboardInterrupt, RuntimeError: as for
            `SharedMemory.wait_for_count`.
    """
    return _native.wait_any(_checked(streams), timeout)


async def wait_any_async(
    streams: Iterable[tuple[SharedMemory, int]], *, timeout: float | None = None
) -> int:
    """As `wait_any`, in asyncio, for any number of streams."""
    pairs = _checked(streams)
    check_duration(timeout)
    names = ", ".join(repr(native.name) for native, _ in pairs)
    return await awaited(
        _native.any_pending(pairs), timeout, f"timed out waiting for any of the streams {names}"
    )


def _checked(streams: Iterable[tuple[SharedMemory, int]]) -> list[tuple[_native.Stream, int]]:
    pairs = [(handle._native, checked_after(after)) for handle, after in streams]
    if not pairs:
        raise ValueError("there is nothing to wait for: streams is empty")
    return pairs
