"""On which CPUs workers run: the names of `thalweg.scheduling`."""

from thalweg.scheduling import *
from thalweg.scheduling import __all__ as __all__
