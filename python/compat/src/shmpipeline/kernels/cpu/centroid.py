"""The kind `cpu.centroid`: the names of `thalweg.kernels.cpu.centroid`."""

from thalweg.kernels.cpu.centroid import *
from thalweg.kernels.cpu.centroid import __all__ as __all__
