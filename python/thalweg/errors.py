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
    "ShmPipelineError",
    "StaleStreamError",
    "StateTransitionError",
    "WorkerProcessError",
]
