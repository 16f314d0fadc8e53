"""The kind `cpu.flatten`."""

from __future__ import annotations

from typing import ClassVar

from thalweg.kernels._native_kernel import NativeKernel

__all__ = ["FlattenCpuKernel"]


class FlattenCpuKernel(NativeKernel):
    """A copy with one axis, in C order."""

    kind: ClassVar[str] = "cpu.flatten"
    input_arity: ClassVar[int | None] = 1
    auxiliary_arity: ClassVar[int | None] = 0
    output_arity: ClassVar[int | None] = 1
