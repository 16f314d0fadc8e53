"""Holding the locks of several streams."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from thalweg._native import LockedMany


class Lockable(Protocol):
    """What `locked_many` takes beside handles."""

    @property
    def name(self) -> str:
        """The place in the order of locking."""

    def locked(
        self, *, timeout: float | None = None, poll_interval: float = 1e-3
    ) -> AbstractContextManager[object]:
        """The lock for the length of a `with` block."""


def locked_many(
    streams: Iterable[Lockable], *, timeout: float | None = None, poll_interval: float = 1e-3
) -> AbstractContextManager[tuple[Any, ...]]:
    """A `with` block that holds the locks of all `streams` and gets them as a tuple.

    They are taken in the order of their names, so that two such blocks never wait for each other,
    and given back in reverse.

    Args:
        streams: handles, or other objects with a `name` and a method `locked`.
        timeout: seconds to wait for all of them together, at least 0; None waits for ever.
        poll_interval: without effect on handles, which are woken; passed on to other objects.

    Raises (on entering the block):
        ValueError: two names are equal, `timeout` is negative or `poll_interval` not positive.
        TimeoutError: some lock was not to be had in time; the others are given back.
        PermissionError, RuntimeError: as for `SharedMemory.acquire`.
    """
    return LockedMany(list(streams), timeout, poll_interval)
