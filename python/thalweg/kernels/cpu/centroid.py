"""The kind `cpu.centroid`, another name of `cpu.shack_hartmann_centroid`."""

from __future__ import annotations

from typing import ClassVar

from thalweg.kernels.cpu.shack_hartmann_centroid import ShackHartmannCentroidCpuKernel

__all__ = ["CentroidCpuKernel", "ShackHartmannCentroidCpuKernel"]


class CentroidCpuKernel(ShackHartmannCentroidCpuKernel):
    """Where the light is in each tile, from its middle."""

    kind: ClassVar[str] = "cpu.centroid"
