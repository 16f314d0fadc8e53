"""Shared-memory arrays and real-time compute pipelines.

Streams: `create`, `open`, `stream`, `unlink`, `stat`, `list_streams`, `purge`, `locked_many`,
`wait_any`, and the handles they return.
Pipelines: `PipelineConfig`, `PipelineManager`. Kernels outside pipelines: the module `kernels`.
What can go wrong: the module `errors`.
"""

from importlib.metadata import version as _version

from thalweg import errors, kernels
from thalweg._directory import (
    create,
    list_streams,
    open,
    open_async,
    purge,
    stat,
    stream,
    unlink,
    unlink_quiet,
)
from thalweg._gpu import GPU_SUPPORTED_DTYPES, gpu_available
from thalweg._handle import SharedMemory
from thalweg._locks import locked_many
from thalweg._lossless import LosslessReader
from thalweg._native import Frame, InconsistentStreamError, Loan, StaleStreamError
from thalweg._pipelines import PipelineConfig, PipelineManager, PipelineState
from thalweg._publication import Publication
from thalweg._rows import PartialFrame
from thalweg._waiting import wait_any, wait_any_async

__all__ = [
    "GPU_SUPPORTED_DTYPES",
    "Frame",
    "InconsistentStreamError",
    "Loan",
    "LosslessReader",
    "PartialFrame",
    "PipelineConfig",
    "PipelineManager",
    "PipelineState",
    "Publication",
    "SharedMemory",
    "StaleStreamError",
    "__version__",
    "create",
    "errors",
    "gpu_available",
    "kernels",
    "list_streams",
    "locked_many",
    "open",
    "open_async",
    "purge",
    "stat",
    "stream",
    "unlink",
    "unlink_quiet",
    "wait_any",
    "wait_any_async",
]

__version__ = _version("thalweg")
