"""The kind `cpu.flatten`: the names of `thalweg.kernels.cpu.flatten`."""

from thalweg.kernels.cpu.flatten import *
from thalweg.kernels.cpu.flatten import __all__ as __all__
