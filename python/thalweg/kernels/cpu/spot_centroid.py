"""The kind `cpu.spot_centroid`."""

from __future__ import annotations

from typing import ClassVar

from thalweg.kernels._native_kernel import NativeKernel

__all__ = ["SpotCentroidCpuKernel"]


class SpotCentroidCpuKernel(NativeKernel):
    """Where the light of one spot is, from the middle."""

    kind: ClassVar[str] = "cpu.spot_centroid"
    input_arity: ClassVar[int | None] = 1
    auxiliary_arity: ClassVar[int | None] = 0
    output_arity: ClassVar[int | None] = 1
