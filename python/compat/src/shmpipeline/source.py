"""Sources in Python: the names of `thalweg.source`."""

from thalweg.source import *
from thalweg.source import __all__ as __all__
