"""Documents of Python objects, on their way to Rust."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np


def dumps(document: Any) -> str:
    """`document` as JSON. Numbers and arrays of NumPy and paths are welcome.

    Raises:
        ValueError: a number is not finite, or the document contains itself.
        TypeError: an object of some other type.
    """
    return json.dumps(document, allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, complex):
        return {"real": value.real, "imag": value.imag}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(
        f"expected numbers, texts, lists and mappings, got {value!r} of type {type(value).__name__}"
    )
