"""The kind `cpu.elementwise_add`."""

from __future__ import annotations

from typing import ClassVar

from thalweg.kernels._native_kernel import NativeKernel

__all__ = ["ElementwiseAddCpuKernel"]


class ElementwiseAddCpuKernel(NativeKernel):
    """out = in + auxiliary."""

    kind: ClassVar[str] = "cpu.elementwise_add"
    input_arity: ClassVar[int | None] = 1
    auxiliary_arity: ClassVar[int | None] = 1
    output_arity: ClassVar[int | None] = 1
