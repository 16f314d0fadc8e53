"""Rows of frames that may still be written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from thalweg._native import RowProgress


@dataclass(frozen=True, slots=True)
class PartialFrame:
    """Rows of one writing of one frame of a progressive stream."""

    payload: NDArray[Any]
    """The rows that were asked for: a copy of one's own."""
    count: int
    """Number of the frame, which it has if it is published."""
    start: int
    """First row of `payload` in the frame."""
    rows: int
    """Rows of the frame that could be read when these were copied."""
    is_complete: bool
    """Whether the frame was published by then."""
    progress: RowProgress
    """The writing they belong to, to wait for more of it."""


def check_range(start: int, stop: int) -> None:
    """Refuse rows that are no range.

    Raises:
        ValueError: `start` is negative, or above `stop`.
    """
    if not 0 <= start <= stop:
        raise ValueError(f"rows {start} to {stop} are no range")
