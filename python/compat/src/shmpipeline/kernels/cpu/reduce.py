"""The kind `cpu.reduce`: the names of `thalweg.kernels.cpu.reduce`."""

from thalweg.kernels.cpu.reduce import *
from thalweg.kernels.cpu.reduce import __all__ as __all__
