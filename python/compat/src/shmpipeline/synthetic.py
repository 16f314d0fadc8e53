"""Test patterns: the names of `thalweg.synthetic`."""

from thalweg.synthetic import *
from thalweg.synthetic import __all__ as __all__
