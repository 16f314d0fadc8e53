"""The kind `cpu.raise_error`."""

from __future__ import annotations

from typing import ClassVar

from thalweg.kernels._native_kernel import NativeKernel

__all__ = ["RaiseErrorCpuKernel"]


class RaiseErrorCpuKernel(NativeKernel):
    """Fails with `message`, at every frame."""

    kind: ClassVar[str] = "cpu.raise_error"
    input_arity: ClassVar[int | None] = 1
    auxiliary_arity: ClassVar[int | None] = 0
    output_arity: ClassVar[int | None] = 1
