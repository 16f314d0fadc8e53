"""The kind `cpu.tomographic_controller`."""

from __future__ import annotations

from typing import ClassVar

from thalweg.kernels._native_kernel import NativeKernel

__all__ = ["TomographicControllerCpuKernel"]


class TomographicControllerCpuKernel(NativeKernel):
    """Eight wavefront sensors to one command, in one stage."""

    kind: ClassVar[str] = "cpu.tomographic_controller"
    input_arity: ClassVar[int | None] = None
    auxiliary_arity: ClassVar[int | None] = None
    output_arity: ClassVar[int | None] = 1
