"""The kind `cpu.scale`."""

from __future__ import annotations

from typing import ClassVar

from thalweg.kernels._native_kernel import NativeKernel

__all__ = ["ScaleCpuKernel"]


class ScaleCpuKernel(NativeKernel):
    """out = in * `factor`."""

    kind: ClassVar[str] = "cpu.scale"
    input_arity: ClassVar[int | None] = 1
    auxiliary_arity: ClassVar[int | None] = 0
    output_arity: ClassVar[int | None] = 1
