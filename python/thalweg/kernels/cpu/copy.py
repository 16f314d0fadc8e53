"""The kind `cpu.copy`."""

from __future__ import annotations

from typing import ClassVar

from thalweg.kernels._native_kernel import NativeKernel

__all__ = ["CopyCpuKernel"]


class CopyCpuKernel(NativeKernel):
    """out = in."""

    kind: ClassVar[str] = "cpu.copy"
    input_arity: ClassVar[int | None] = 1
    auxiliary_arity: ClassVar[int | None] = 0
    output_arity: ClassVar[int | None] = 1
