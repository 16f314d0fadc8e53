"""The kind `cpu.affine_transform`: the names of `thalweg.kernels.cpu.affine_transform`."""

from thalweg.kernels.cpu.affine_transform import *
from thalweg.kernels.cpu.affine_transform import __all__ as __all__
