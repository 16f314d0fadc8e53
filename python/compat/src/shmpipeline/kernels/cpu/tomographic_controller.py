"""The names of `thalweg.kernels.cpu.tomographic_controller`."""

from thalweg.kernels.cpu.tomographic_controller import *
from thalweg.kernels.cpu.tomographic_controller import __all__ as __all__
