"""The kind `cpu.add_constant`."""

from __future__ import annotations

from typing import ClassVar

from thalweg.kernels._native_kernel import NativeKernel

__all__ = ["AddConstantCpuKernel"]


class AddConstantCpuKernel(NativeKernel):
    """out = in + `constant`."""

    kind: ClassVar[str] = "cpu.add_constant"
    input_arity: ClassVar[int | None] = 1
    auxiliary_arity: ClassVar[int | None] = 0
    output_arity: ClassVar[int | None] = 1
