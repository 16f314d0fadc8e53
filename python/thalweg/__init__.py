"""Shared-memory arrays and real-time compute pipelines.

Streams: `create`, `open`, `stream`, `unlink`, `list_streams`, `purge`, and the handles they return.
Kernels outside pipelines: the module `kernels`.
"""

from importlib.metadata import version as _version

from thalweg import kernels
from thalweg._native import Frame, InconsistentStreamError, StaleStreamError
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
    "SharedMemory",
    "StaleStreamError",
    "__version__",
    "create",
    "kernels",
    "list_streams",
    "open",
    "purge",
    "stream",
    "unlink",
]

__version__ = _version("thalweg")
