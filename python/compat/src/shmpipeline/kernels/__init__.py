"""Kernels outside pipelines: the names of `thalweg.kernels`."""

from thalweg.kernels import *
from thalweg.kernels import __all__ as __all__
