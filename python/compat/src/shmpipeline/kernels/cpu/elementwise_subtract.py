"""The kind `cpu.elementwise_subtract`: the names of `thalweg.kernels.cpu.elementwise_subtract`."""

from thalweg.kernels.cpu.elementwise_subtract import *
from thalweg.kernels.cpu.elementwise_subtract import __all__ as __all__
