"""Sinks in Python: the names of `thalweg.sink`."""

from thalweg.sink import *
from thalweg.sink import __all__ as __all__
