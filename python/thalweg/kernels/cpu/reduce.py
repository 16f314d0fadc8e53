"""The kind `cpu.reduce`."""

from __future__ import annotations

from typing import ClassVar

from thalweg.kernels._native_kernel import NativeKernel

__all__ = ["ReduceCpuKernel"]


class ReduceCpuKernel(NativeKernel):
    """Sum, mean, largest or smallest element."""

    kind: ClassVar[str] = "cpu.reduce"
    input_arity: ClassVar[int | None] = 1
    auxiliary_arity: ClassVar[int | None] = 0
    output_arity: ClassVar[int | None] = 1
