"""The kind `cpu.scale_offset`."""

from __future__ import annotations

from typing import ClassVar

from thalweg.kernels._native_kernel import NativeKernel

__all__ = ["ScaleOffsetCpuKernel"]


class ScaleOffsetCpuKernel(NativeKernel):
    """out = `gain` * in - auxiliary."""

    kind: ClassVar[str] = "cpu.scale_offset"
    input_arity: ClassVar[int | None] = 1
    auxiliary_arity: ClassVar[int | None] = 1
    output_arity: ClassVar[int | None] = 1
