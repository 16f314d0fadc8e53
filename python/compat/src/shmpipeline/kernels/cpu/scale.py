"""The kind `cpu.scale`: the names of `thalweg.kernels.cpu.scale`."""

from thalweg.kernels.cpu.scale import *
from thalweg.kernels.cpu.scale import __all__ as __all__
