"""The kind `cpu.elementwise_add`: the names of `thalweg.kernels.cpu.elementwise_add`."""

from thalweg.kernels.cpu.elementwise_add import *
from thalweg.kernels.cpu.elementwise_add import __all__ as __all__
