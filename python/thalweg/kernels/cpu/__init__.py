"""The built-in kinds for streams on the CPU, a class for each."""

from __future__ import annotations

from thalweg.kernels.cpu.add_constant import AddConstantCpuKernel
from thalweg.kernels.cpu.affine_transform import AffineTransformCpuKernel
from thalweg.kernels.cpu.centroid import CentroidCpuKernel
from thalweg.kernels.cpu.concatenate import ConcatenateCpuKernel
from thalweg.kernels.cpu.copy import CopyCpuKernel
from thalweg.kernels.cpu.custom_operation import CustomOperationCpuKernel
from thalweg.kernels.cpu.elementwise_add import ElementwiseAddCpuKernel
from thalweg.kernels.cpu.elementwise_divide import ElementwiseDivideCpuKernel
from thalweg.kernels.cpu.elementwise_multiply import ElementwiseMultiplyCpuKernel
from thalweg.kernels.cpu.elementwise_subtract import ElementwiseSubtractCpuKernel
from thalweg.kernels.cpu.flatten import FlattenCpuKernel
from thalweg.kernels.cpu.leaky_integrator import LeakyIntegratorCpuKernel
from thalweg.kernels.cpu.raise_error import RaiseErrorCpuKernel
from thalweg.kernels.cpu.reduce import ReduceCpuKernel
from thalweg.kernels.cpu.scale import ScaleCpuKernel
from thalweg.kernels.cpu.scale_offset import ScaleOffsetCpuKernel
from thalweg.kernels.cpu.shack_hartmann_centroid import ShackHartmannCentroidCpuKernel
from thalweg.kernels.cpu.spot_centroid import SpotCentroidCpuKernel
from thalweg.kernels.cpu.tip_tilt_controller import TipTiltControllerCpuKernel
from thalweg.kernels.cpu.tomographic_controller import TomographicControllerCpuKernel

__all__ = [
    "AddConstantCpuKernel",
    "AffineTransformCpuKernel",
    "CentroidCpuKernel",
    "ConcatenateCpuKernel",
    "CopyCpuKernel",
    "CustomOperationCpuKernel",
    "ElementwiseAddCpuKernel",
    "ElementwiseDivideCpuKernel",
    "ElementwiseMultiplyCpuKernel",
    "ElementwiseSubtractCpuKernel",
    "FlattenCpuKernel",
    "LeakyIntegratorCpuKernel",
    "RaiseErrorCpuKernel",
    "ReduceCpuKernel",
    "ScaleCpuKernel",
    "ScaleOffsetCpuKernel",
    "ShackHartmannCentroidCpuKernel",
    "SpotCentroidCpuKernel",
    "TipTiltControllerCpuKernel",
    "TomographicControllerCpuKernel",
]
