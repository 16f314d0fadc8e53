"""What can go wrong, for `except` clauses."""

from thalweg._native import (
    ConfigValidationError,
    InconsistentStreamError,
    ShmPipelineError,
    StaleStreamError,
    StateTransitionError,
    WorkerProcessError,
)

__all__ = [
    "ConfigValidationError",
    "InconsistentStreamError",
    "KernelExecutionError",
    "ShmPipelineError",
    "StaleStreamError",
    "StateTransitionError",
    "WorkerProcessError",
]


class KernelExecutionError(ShmPipelineError):
    """A kernel that a program calls itself could not compute a frame."""
