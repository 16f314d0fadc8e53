"""The kind `cpu.shack_hartmann_centroid`."""

from __future__ import annotations

from typing import ClassVar

from thalweg.kernels._native_kernel import NativeKernel

__all__ = ["ShackHartmannCentroidCpuKernel"]


class ShackHartmannCentroidCpuKernel(NativeKernel):
    """Where the light is in each tile, from its middle."""

    kind: ClassVar[str] = "cpu.shack_hartmann_centroid"
    input_arity: ClassVar[int | None] = 1
    auxiliary_arity: ClassVar[int | None] = 0
    output_arity: ClassVar[int | None] = 1
