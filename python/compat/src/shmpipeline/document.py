"""Configurations as plain documents: the names of `thalweg.document`."""

from thalweg.document import *
from thalweg.document import __all__ as __all__
