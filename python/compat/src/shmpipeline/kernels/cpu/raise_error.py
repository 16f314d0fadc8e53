"""The kind `cpu.raise_error`: the names of `thalweg.kernels.cpu.raise_error`."""

from thalweg.kernels.cpu.raise_error import *
from thalweg.kernels.cpu.raise_error import __all__ as __all__
