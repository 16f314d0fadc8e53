"""The kind `cpu.custom_operation`: the names of `thalweg.kernels.cpu.custom_operation`."""

from thalweg.kernels.cpu.custom_operation import *
from thalweg.kernels.cpu.custom_operation import __all__ as __all__
