"""The state of a pipeline as a whole."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["PipelineState"]


class PipelineState(StrEnum):
    """The state of a pipeline as a whole. Each compares equal to its own name in lower case."""

    INITIALIZED = "initialized"
    """Nothing was made yet."""
    BUILT = "built"
    """The streams exist, nobody is at work."""
    RUNNING = "running"
    """Everybody is at work."""
    PAUSED = "paused"
    """Everybody waits for `resume`."""
    FAILED = "failed"
    """A kernel, source or sink has failed; the others go on."""
    STOPPED = "stopped"
    """Everything was taken down."""
