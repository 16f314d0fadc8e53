"""Shared-memory arrays and real-time compute pipelines.

Streams: `create`, `open`, `stream`, `unlink`, `stat`, `list_streams`, `purge`, `locked_many`,
`wait_any`, and the handles they return. Pipelines: `PipelineConfig`, `PipelineGraph`,
`PipelineManager`; stages in Python: `Kernel`, `Source`, `Sink` and the registry of kinds. Kernels
outside pipelines: the module `kernels`. What can go wrong: the module `errors`.
"""

from importlib import import_module as _import_module
from importlib.metadata import version as _version
from types import ModuleType as _ModuleType

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
from thalweg._publication import Publication
from thalweg._rows import PartialFrame
from thalweg._waiting import wait_any, wait_any_async
from thalweg.config import (
    KernelConfig,
    PipelineConfig,
    SharedMemoryConfig,
    SinkConfig,
    SourceConfig,
)
from thalweg.graph import PipelineGraph
from thalweg.kernel import Kernel, KernelContext
from thalweg.manager import PipelineManager
from thalweg.registry import KernelRegistry, get_default_registry
from thalweg.sink import Sink, SinkContext
from thalweg.source import Source, SourceContext
from thalweg.state import PipelineState
from thalweg.synthetic import SyntheticInputConfig

__all__ = [
    "GPU_SUPPORTED_DTYPES",
    "Frame",
    "InconsistentStreamError",
    "Kernel",
    "KernelConfig",
    "KernelContext",
    "KernelRegistry",
    "Loan",
    "LosslessReader",
    "PartialFrame",
    "PipelineConfig",
    "PipelineGraph",
    "PipelineManager",
    "PipelineState",
    "Publication",
    "SharedMemory",
    "SharedMemoryConfig",
    "Sink",
    "SinkConfig",
    "SinkContext",
    "Source",
    "SourceConfig",
    "SourceContext",
    "StaleStreamError",
    "SyntheticInputConfig",
    "__version__",
    "create",
    "errors",
    "get_default_registry",
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

_MODULES = ("cli", "document", "logging_utils", "scheduling", "sinks", "sources")


def __getattr__(name: str) -> _ModuleType:
    """Modules that are loaded when they are first used."""
    if name in _MODULES:
        return _import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
