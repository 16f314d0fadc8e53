"""What can go wrong: the names of `thalweg.errors`."""

from thalweg.errors import *
from thalweg.errors import __all__ as __all__
