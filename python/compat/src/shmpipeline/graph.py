"""Who feeds whom: the names of `thalweg.graph`."""

from thalweg.graph import *
from thalweg.graph import __all__ as __all__
