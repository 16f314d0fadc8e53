"""Checking what callers pass, with errors that say what was expected."""

from __future__ import annotations

import grp
import operator
import sys
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike

FRAME_ID_MASK: Final = (1 << 64) - 1
_CASTING_RULES: Final = ("no", "equiv", "safe", "same_kind", "unsafe")


def checked_name(name: object) -> str:
    """`name` if it is a text; what kind of text is checked with the stream."""
    if not isinstance(name, str):
        raise ValueError(f"stream name must be a non-empty string, got {name!r}")
    return name


def checked_shape(shape: Iterable[int] | None) -> tuple[int, ...]:
    """The extents, each a positive integer."""
    if shape is None or (isinstance(shape, int) and not shape):
        raise ValueError(f"shape needs at least one dimension, got {shape!r}")
    if isinstance(shape, (str, bytes)) or not isinstance(shape, Iterable):
        raise TypeError(f"shape must be a sequence of integers, got {shape!r}")
    extents = tuple(_extent(extent) for extent in shape)
    if not extents:
        raise ValueError("shape needs at least one dimension, got ()")
    if any(extent <= 0 for extent in extents):
        raise ValueError(f"shape {extents} is not valid: every dimension must be positive")
    if max(extents) > sys.maxsize:
        raise ValueError(f"shape {extents} is too large for any memory")
    return extents


def _extent(extent: Any) -> int:
    try:
        return operator.index(extent)
    except TypeError:
        # A float that is a whole number says what it means.
        if isinstance(extent, (float, np.floating)) and extent.is_integer():
            return int(extent)
        raise TypeError(
            f"shape must be a sequence of integers, got the extent {extent!r}"
        ) from None


def checked_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """The dtype, in native byte order. Whether frames can have it is checked with the stream."""
    element = np.dtype(dtype)
    if not element.isnative:
        raise ValueError(f"unsupported dtype {element.str!r}: the byte order is not native")
    return element


def check_size(size: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """An error if a frame does not have `size` bytes."""
    frame_bytes = dtype.itemsize
    for extent in shape:
        frame_bytes *= extent
    if int(size) != frame_bytes:
        raise ValueError(
            f"size does not match: {size} bytes given, a frame of shape {shape} and dtype {dtype} "
            f"has {frame_bytes}"
        )


def checked_frame_id(frame_id: Any) -> int | None:
    """The id, modulo 2**64."""
    return None if frame_id is None else int(frame_id) & FRAME_ID_MASK


def checked_after(after: Any) -> int:
    """A count to wait to see passed."""
    try:
        count = int(after)
    except (TypeError, ValueError, OverflowError) as problem:
        raise ValueError(f"after must be an integer, got {after!r}") from problem
    if count < 0:
        raise ValueError(f"after must not be negative, got {after}")
    # No stream ever counts that far, so waiting for more is the same.
    return min(count, FRAME_ID_MASK)


def check_duration(timeout: float | None) -> None:
    """An error if `timeout` is negative."""
    if timeout is not None and timeout < 0:
        raise ValueError(f"timeout must not be negative, got {timeout} s")


def check_casting(casting: str) -> None:
    """An error if NumPy has no such rule, also where nothing is to be converted."""
    if casting not in _CASTING_RULES:
        raise ValueError(f"casting must be one of {', '.join(_CASTING_RULES)}, got {casting!r}")


def checked_unsigned(value: Any, what: str) -> int:
    """`value` if it is an integer and not negative; `what` says what it is."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{what} must be an integer, got {value!r}") from None
    if number < 0:
        raise ValueError(f"{what} must not be negative, got {value}")
    return number


def checked_group(group: str | int | None) -> int | None:
    """Number of the group."""
    if group is None:
        return None
    if not isinstance(group, str):
        return checked_unsigned(group, "group")
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ValueError(f"there is no group {group!r} on this system") from None
