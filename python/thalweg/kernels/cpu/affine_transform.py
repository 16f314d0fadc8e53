"""The kind `cpu.affine_transform`."""

from __future__ import annotations

from typing import ClassVar

from thalweg.kernels._native_kernel import NativeKernel

__all__ = ["AffineTransformCpuKernel"]


class AffineTransformCpuKernel(NativeKernel):
    """out = matrix @ in + offset."""

    kind: ClassVar[str] = "cpu.affine_transform"
    input_arity: ClassVar[int | None] = 1
    auxiliary_arity: ClassVar[int | None] = 2
    output_arity: ClassVar[int | None] = 1
