"""The state of a pipeline: the names of `thalweg.state`."""

from thalweg.state import *
from thalweg.state import __all__ as __all__
