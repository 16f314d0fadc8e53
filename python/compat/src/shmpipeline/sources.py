"""The built-in sources as classes: the names of `thalweg.sources`."""

from thalweg.sources import *
from thalweg.sources import __all__ as __all__
