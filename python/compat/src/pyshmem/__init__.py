"""pyshmem's names, served by thalweg.

`import pyshmem` gives what `import thalweg` gives; the documentation of thalweg applies. Only
`__version__` is this distribution's own.
"""

from importlib.metadata import version as _version
from typing import Any

import thalweg as _thalweg
from thalweg import (
    GPU_SUPPORTED_DTYPES,
    InconsistentStreamError,
    Publication,
    SharedMemory,
    StaleStreamError,
    create,
    gpu_available,
    list_streams,
    locked_many,
    open,
    purge,
    stat,
    stream,
    unlink,
    unlink_quiet,
)

__all__ = [
    "GPU_SUPPORTED_DTYPES",
    "InconsistentStreamError",
    "Publication",
    "SharedMemory",
    "StaleStreamError",
    "__version__",
    "create",
    "gpu_available",
    "list_streams",
    "locked_many",
    "open",
    "purge",
    "stat",
    "stream",
    "unlink",
    "unlink_quiet",
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
