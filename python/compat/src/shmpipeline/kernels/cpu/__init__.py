"""The built-in kinds as classes: the names of `thalweg.kernels.cpu`."""

from thalweg.kernels.cpu import *
from thalweg.kernels.cpu import __all__ as __all__
