"""Shared-memory arrays and real-time compute pipelines.

Streams: `create`, `open`, `stream`, `unlink`, `list_streams`, `purge`, and the handles they return.
Pipelines: `PipelineConfig`, `PipelineManager`. Kernels outside pipelines: the module `kernels`.
What can go wrong: the module `errors`.
"""

from importlib.metadata import version as _version

from thalweg import errors, kernels
from thalweg._native import Frame, InconsistentStreamError, StaleStreamError
from thalweg._pipelines import PipelineConfig, PipelineManager, PipelineState
from thalweg._streams import (
    Loan,
    SharedMemory,
    create,
    list_streams,
    open,
    purge,
    stream,
    unlink,
)

__all__ = [
    "Frame",
    "InconsistentStreamError",
    "Loan",
    "PipelineConfig",
    "PipelineManager",
    "PipelineState",
    "SharedMemory",
    "StaleStreamError",
    "__version__",
    "create",
    "errors",
    "kernels",
    "list_streams",
    "open",
    "purge",
    "stream",
    "unlink",
]

__version__ = _version("thalweg")
