"""The kind `cpu.scale_offset`: the names of `thalweg.kernels.cpu.scale_offset`."""

from thalweg.kernels.cpu.scale_offset import *
from thalweg.kernels.cpu.scale_offset import __all__ as __all__
