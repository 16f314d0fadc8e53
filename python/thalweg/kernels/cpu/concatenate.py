"""The kind `cpu.concatenate`."""

from __future__ import annotations

from typing import ClassVar

from thalweg.kernels._native_kernel import NativeKernel

__all__ = ["ConcatenateCpuKernel"]


class ConcatenateCpuKernel(NativeKernel):
    """Several inputs, one behind the other along `axis`."""

    kind: ClassVar[str] = "cpu.concatenate"
    input_arity: ClassVar[int | None] = None
    auxiliary_arity: ClassVar[int | None] = 0
    output_arity: ClassVar[int | None] = 1
