"""The kind `cpu.leaky_integrator`: the names of `thalweg.kernels.cpu.leaky_integrator`."""

from thalweg.kernels.cpu.leaky_integrator import *
from thalweg.kernels.cpu.leaky_integrator import __all__ as __all__
