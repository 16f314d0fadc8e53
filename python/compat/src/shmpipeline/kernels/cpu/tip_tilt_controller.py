"""The kind `cpu.tip_tilt_controller`: the names of `thalweg.kernels.cpu.tip_tilt_controller`."""

from thalweg.kernels.cpu.tip_tilt_controller import *
from thalweg.kernels.cpu.tip_tilt_controller import __all__ as __all__
