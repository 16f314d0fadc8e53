"""The kind `cpu.concatenate`: the names of `thalweg.kernels.cpu.concatenate`."""

from thalweg.kernels.cpu.concatenate import *
from thalweg.kernels.cpu.concatenate import __all__ as __all__
