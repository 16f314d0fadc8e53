"""Kernels outside pipelines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg import _json, _native

__all__ = ["kinds", "run"]

_DTYPES = {"bool", "float16", "float32", "float64", "complex64", "complex128"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}


def kinds() -> list[str]:
    """Names of all kernel kinds, sorted."""
    return _native.kernel_kinds()


def run(
    kind: str,
    inputs: NDArray[Any] | Sequence[NDArray[Any]],
    parameters: Mapping[str, Any] | None = None,
    *,
    auxiliary: Mapping[str, NDArray[Any]] | None = None,
    operation: str | None = None,
) -> NDArray[Any] | tuple[NDArray[Any], ...]:
    """Compute one frame of a fresh kernel on arrays, exactly as a pipeline would.

    ```python
    thalweg.kernels.run("cpu.scale", image, {"factor": 0.5})
    thalweg.kernels.run(
        "cpu.custom_operation",
        image,
        auxiliary={"dark": dark, "flat": flat},
        operation="(input - dark) / flat",
    )
    ```

    Args:
        kind: a kernel kind, such as `cpu.scale`; see `kinds`.
        inputs: the trigger array, or a list or tuple of several. Arrays have at least one axis and
            a dtype that streams can have; byte order and memory layout do not matter.
        parameters: what the configuration would have under `parameters`. Numbers and arrays of
            NumPy are accepted.
        auxiliary: the auxiliary arrays by alias, in the order the kind expects them.
        operation: the expression of `cpu.custom_operation`.

    Returns:
        The output, a new array whose shape and dtype follow from the inputs; a tuple if the kind
        has several outputs. A kernel with a state starts from its initial one.

    Raises:
        ValueError: unknown kind, or arrays, parameters and operation do not fit it; the message
            lists everything.
        TypeError: an argument is no array, or not of a supported dtype.
        MemoryError: the outputs do not fit into memory.
        RuntimeError: the kernel failed on these arrays.
    """
    triggers = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    arrays = _native.run_kernel(
        kind,
        [_plain(f"inputs[{index}]", trigger) for index, trigger in enumerate(triggers)],
        [
            (alias, _plain(f"auxiliary[{alias!r}]", array))
            for alias, array in (auxiliary or {}).items()
        ],
        _json.dumps(dict(parameters or {})),
        operation,
    )
    return arrays[0] if len(arrays) == 1 else tuple(arrays)


def _plain(argument: str, value: Any) -> NDArray[Any]:
    """`value` in C order, aligned, in native byte order, or a complaint about `argument`."""
    array = np.asarray(value)
    if array.ndim == 0:
        raise TypeError(f"{argument} must be an array with at least one axis, got {value!r}")
    if array.dtype.name not in _DTYPES:
        raise TypeError(f"{argument} has dtype {array.dtype}, which streams do not carry")
    return np.require(array, dtype=array.dtype.newbyteorder("="), requirements=("C", "A"))
