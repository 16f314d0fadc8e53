"""Kernels in Python: the names of `thalweg.kernel`."""

from thalweg.kernel import *
from thalweg.kernel import __all__ as __all__
