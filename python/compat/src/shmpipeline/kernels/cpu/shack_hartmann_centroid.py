"""The names of `thalweg.kernels.cpu.shack_hartmann_centroid`."""

from thalweg.kernels.cpu.shack_hartmann_centroid import *
from thalweg.kernels.cpu.shack_hartmann_centroid import __all__ as __all__
