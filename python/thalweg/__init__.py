"""Shared-memory arrays and real-time compute pipelines."""

from importlib.metadata import version as _version

__version__ = _version("thalweg")
