"""Seeing what pipelines log: the names of `thalweg.logging_utils`."""

from thalweg.logging_utils import *
from thalweg.logging_utils import __all__ as __all__
