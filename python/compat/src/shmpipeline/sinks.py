"""The built-in sinks as classes: the names of `thalweg.sinks`."""

from thalweg.sinks import *
from thalweg.sinks import __all__ as __all__
