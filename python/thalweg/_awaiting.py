"""Waiting in asyncio: no thread per waiter, and no polling."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

Result = TypeVar("Result", covariant=True)


class Pending(Protocol[Result]):
    """A wait under way."""

    def poll(self, woken: Callable[[], object]) -> Result | None:
        """What it came to; None if nothing yet, and then `woken` is called when to ask again."""

    def cancel(self) -> None:
        """End it."""


async def awaited(pending: Pending[Result], timeout: float | None, timed_out: str) -> Result:
    """What `pending` comes to. Cancelling the task ends the wait.

    Args:
        pending: the wait.
        timeout: seconds; None waits for ever, and no more than one look is taken for 0 and less.
        timed_out: message of the TimeoutError.

    Raises:
        ValueError: `timeout` is not a number.
    """
    if timeout is not None and math.isnan(timeout):
        raise ValueError(f"timeout must be a number of seconds or None, got {timeout}")
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            while True:
                woken = loop.create_future()
                # Called by the thread that sleeps for all waits of this process.
                outcome = pending.poll(partial(loop.call_soon_threadsafe, _wake, woken))
                if outcome is not None:
                    return outcome
                await woken
    except TimeoutError:
        raise TimeoutError(timed_out) from None
    finally:
        pending.cancel()


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
