"""The kind `cpu.elementwise_divide`: the names of `thalweg.kernels.cpu.elementwise_divide`."""

from thalweg.kernels.cpu.elementwise_divide import *
from thalweg.kernels.cpu.elementwise_divide import __all__ as __all__
