"""The kind `cpu.elementwise_subtract`."""

from __future__ import annotations

from typing import ClassVar

from thalweg.kernels._native_kernel import NativeKernel

__all__ = ["ElementwiseSubtractCpuKernel"]


class ElementwiseSubtractCpuKernel(NativeKernel):
    """out = in - auxiliary."""

    kind: ClassVar[str] = "cpu.elementwise_subtract"
    input_arity: ClassVar[int | None] = 1
    auxiliary_arity: ClassVar[int | None] = 1
    output_arity: ClassVar[int | None] = 1
