"""Pipelines that run: the names of `thalweg.manager`."""

from thalweg.manager import *
from thalweg.manager import __all__ as __all__
