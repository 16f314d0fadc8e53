"""The kind `cpu.add_constant`: the names of `thalweg.kernels.cpu.add_constant`."""

from thalweg.kernels.cpu.add_constant import *
from thalweg.kernels.cpu.add_constant import __all__ as __all__
