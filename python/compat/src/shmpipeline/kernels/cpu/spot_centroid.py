"""The kind `cpu.spot_centroid`: the names of `thalweg.kernels.cpu.spot_centroid`."""

from thalweg.kernels.cpu.spot_centroid import *
from thalweg.kernels.cpu.spot_centroid import __all__ as __all__
