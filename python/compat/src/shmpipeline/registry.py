"""Kinds and classes: the names of `thalweg.registry`."""

from thalweg.registry import *
from thalweg.registry import __all__ as __all__
