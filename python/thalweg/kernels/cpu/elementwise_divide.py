"""The kind `cpu.elementwise_divide`."""

from __future__ import annotations

from typing import ClassVar

from thalweg.kernels._native_kernel import NativeKernel

__all__ = ["ElementwiseDivideCpuKernel"]


class ElementwiseDivideCpuKernel(NativeKernel):
    """out = in / auxiliary."""

    kind: ClassVar[str] = "cpu.elementwise_divide"
    input_arity: ClassVar[int | None] = 1
    auxiliary_arity: ClassVar[int | None] = 1
    output_arity: ClassVar[int | None] = 1
