"""The kind `cpu.elementwise_multiply`: the names of `thalweg.kernels.cpu.elementwise_multiply`."""

from thalweg.kernels.cpu.elementwise_multiply import *
from thalweg.kernels.cpu.elementwise_multiply import __all__ as __all__
