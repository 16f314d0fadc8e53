"""The kind `cpu.custom_operation`."""

from __future__ import annotations

from typing import ClassVar

from thalweg.kernels._native_kernel import NativeKernel

__all__ = ["CustomOperationCpuKernel"]


class CustomOperationCpuKernel(NativeKernel):
    """An arithmetic expression, `operation`."""

    kind: ClassVar[str] = "cpu.custom_operation"
    input_arity: ClassVar[int | None] = 1
    auxiliary_arity: ClassVar[int | None] = None
    output_arity: ClassVar[int | None] = 1
