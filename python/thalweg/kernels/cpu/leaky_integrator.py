"""The kind `cpu.leaky_integrator`."""

from __future__ import annotations

from typing import ClassVar

from thalweg.kernels._native_kernel import NativeKernel

__all__ = ["LeakyIntegratorCpuKernel"]


class LeakyIntegratorCpuKernel(NativeKernel):
    """state = `leak` * state + `gain` * in."""

    kind: ClassVar[str] = "cpu.leaky_integrator"
    input_arity: ClassVar[int | None] = 1
    auxiliary_arity: ClassVar[int | None] = None
    output_arity: ClassVar[int | None] = 1
