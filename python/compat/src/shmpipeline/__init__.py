"""shmpipeline's names, served by thalweg.

`import shmpipeline` gives what `import thalweg` gives; the documentation of thalweg applies. Only
`__version__` is this distribution's own.
"""

from importlib.metadata import version as _version
from typing import Any

import thalweg as _thalweg
from thalweg import (
    Kernel,
    KernelConfig,
    KernelContext,
    KernelRegistry,
    PipelineConfig,
    PipelineGraph,
    PipelineManager,
    PipelineState,
    SharedMemoryConfig,
    Sink,
    SinkConfig,
    SinkContext,
    Source,
    SourceConfig,
    SourceContext,
    SyntheticInputConfig,
    get_default_registry,
)

__all__ = [
    "Kernel",
    "KernelConfig",
    "KernelContext",
    "KernelRegistry",
    "PipelineConfig",
    "PipelineGraph",
    "PipelineManager",
    "PipelineState",
    "SharedMemoryConfig",
    "Sink",
    "SinkConfig",
    "SinkContext",
    "Source",
    "SourceConfig",
    "SourceContext",
    "SyntheticInputConfig",
    "__version__",
    "get_default_registry",
]

__version__ = _version("thalweg-compat")


def __getattr__(name: str) -> Any:
    """Everything else that thalweg has."""
    try:
        return getattr(_thalweg, name)
    except AttributeError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(_thalweg)})
