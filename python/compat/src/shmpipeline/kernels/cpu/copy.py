"""The kind `cpu.copy`: the names of `thalweg.kernels.cpu.copy`."""

from thalweg.kernels.cpu.copy import *
from thalweg.kernels.cpu.copy import __all__ as __all__
