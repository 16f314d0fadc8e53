"""Configurations: the names of `thalweg.config`."""

from thalweg.config import *
from thalweg.config import __all__ as __all__
