"""The kind `cpu.tip_tilt_controller`."""

from __future__ import annotations

from typing import ClassVar

from thalweg.kernels._native_kernel import NativeKernel

__all__ = ["TipTiltControllerCpuKernel"]


class TipTiltControllerCpuKernel(NativeKernel):
    """Spot centroid, integrator and matrix in one stage."""

    kind: ClassVar[str] = "cpu.tip_tilt_controller"
    input_arity: ClassVar[int | None] = 1
    auxiliary_arity: ClassVar[int | None] = 2
    output_arity: ClassVar[int | None] = 1
