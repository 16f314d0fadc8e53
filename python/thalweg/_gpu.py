"""CUDA tensors: what there is to say about them in a build without GPU streams."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, Final, NoReturn

import numpy as np

GPU_SUPPORTED_DTYPES: Final[frozenset[np.dtype[Any]]] = frozenset(
    np.dtype(name)
    for name in ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8")
)
"""Dtypes that a stream on a GPU can have: those that NumPy and every PyTorch know."""


def gpu_available() -> bool:
    """Whether streams of CUDA tensors can be created: not in this build."""
    return False


def refuse_gpu_stream(name: str, device: object, dtype: np.dtype[Any]) -> NoReturn:
    """Say why the stream `name` cannot be created on `device`.

    Raises:
        ValueError: `device` is no CUDA device, or tensors of `dtype` do not exist.
        RuntimeError: there is no PyTorch, no CUDA, or no support for them in this build.
    """
    kind, index = _parts(device)
    if kind != "cuda" or index < 0:
        raise ValueError(
            f"stream {name!r}: gpu_device must be a CUDA device such as 'cuda:0', got {device!r}"
        )
    if dtype not in GPU_SUPPORTED_DTYPES:
        supported = ", ".join(sorted(supported.name for supported in GPU_SUPPORTED_DTYPES))
        raise ValueError(
            f"stream {name!r}: dtype {dtype} is not supported on a GPU; supported are {supported}"
        )
    if importlib.util.find_spec("torch") is None:
        raise RuntimeError(
            f"stream {name!r}: gpu_device={device!r} needs PyTorch with CUDA: not installed"
        )
    torch: Any = importlib.import_module("torch")
    if not torch.cuda.is_available():
        raise RuntimeError(f"stream {name!r}: gpu_device={device!r}: CUDA is not available")
    raise RuntimeError(
        f"stream {name!r}: gpu_device={device!r}: this build has no GPU streams; leave it out"
    )


def _parts(device: Any) -> tuple[str, int]:
    """Kind and index of a device given as text, number or torch device."""
    if isinstance(device, int) and not isinstance(device, bool):
        return "cuda", device
    kind, _, index = str(device).partition(":")
    if not index:
        return kind, 0
    return (kind, int(index)) if index.isdigit() else ("", -1)
