"""What is published beside a payload."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from thalweg._native import ReadFacts


@dataclass(frozen=True, slots=True)
class Publication:
    """One frame with everything that was published with it. All of it belongs to the same write."""

    payload: NDArray[Any]
    """The frame: a copy of one's own, or the array passed as `out`."""
    count: int
    """Number of the frame, from 1; 0 before the first."""
    frame_id: int
    """Id its writer stamped, 0 to 2**64 - 1; 0 when nobody did."""
    write_time: float
    """When it was written, in seconds since 1970; 0.0 before the first."""
    missed_publications: int
    """Frames between this read of the handle and the one before that no read returned."""
    publish_ns: int = 0
    """When it was written, in ns of the monotonic clock (`time.monotonic_ns`)."""
    origin_ns: int = 0
    """When its data entered the system, in ns of the monotonic clock; a pipeline stage hands the
    time of its input on, so that `publish_ns - origin_ns` is the true latency up to here."""


def publication(payload: NDArray[Any], facts: ReadFacts) -> Publication:
    """The publication of one read."""
    return Publication(
        payload,
        facts.count,
        facts.frame_id,
        facts.write_time,
        facts.missed,
        facts.publish_ns,
        facts.origin_ns,
    )
