"""Streams by name."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from thalweg import _native
from thalweg._arguments import (
    check_size,
    checked_dtype,
    checked_group,
    checked_name,
    checked_shape,
    checked_unsigned,
)
from thalweg._awaiting import awaited
from thalweg._facts import DEFAULT_SLOTS
from thalweg._gpu import refuse_gpu_stream
from thalweg._handle import SharedMemory

_log = logging.getLogger("thalweg.streams")

OnAbort: TypeAlias = Literal["keep", "invalidate"]


def create(
    name: str,
    *,
    shape: Iterable[int],
    dtype: DTypeLike = np.float32,
    size: int | None = None,
    gpu_device: object = None,
    cpu_mirror: bool | None = None,
    auto_unlink: bool = False,
    notify: bool = False,
    slots: int | None = None,
    mode: int = 0o600,
    group: str | int | None = None,
    on_abort: OnAbort = "keep",
    progressive: bool = False,
    replace: bool = False,
) -> SharedMemory:
    """Create the stream `name`. It outlives this process until somebody unlinks it.

    Args:
        name: any text of 1 to 256 UTF-8 bytes.
        shape: extent of each axis, at least one axis, each positive.
        dtype: bool, float16 to float64, complex64, complex128, or a signed or unsigned integer of 8
            to 64 bits, in native byte order.
        size: bytes of a frame, only to be checked against shape and dtype.
        gpu_device: None. This build has no streams on a GPU and says so.
        cpu_mirror: without effect: streams on the CPU are read on the CPU.
        auto_unlink: unlink the stream at the end of this handle's `with` block.
        notify: remembered, and otherwise without effect: every stream wakes those who wait for it.
        slots: frames held at once, 2 to 127; all but two of them can be borrowed. By default 4; and
            frames of 1 MiB and more then go back to the slots used last, which keeps them in cache
            and only the last two of them for `history`.
        mode: permission bits of the stream's file. Who may not write it reads only.
        group: name or number of the group the file belongs to; None leaves it to the system.
        on_abort: what readers find after a write was given up, by an exception or by its process's
            death: with `"keep"` the last complete frame, with `"invalidate"`
            InconsistentStreamError until the next complete one.
        progressive: let readers have rows of a frame while the others are still written; see
            `SharedMemory.write_rows` and `read_rows`.
        replace: put the new stream in the place of what has the name, if anything does. Whoever
            opens the name finds the old or the new one; handles of the old one stay usable, and
            their waits end with StaleStreamError.

    Returns:
        A handle for writing and reading. Until the first write it reads zeros.

    Raises:
        FileExistsError: the name is taken.
        ValueError, TypeError: some argument is not possible, or contradicts another.
        RuntimeError: `gpu_device` was given.
        OSError: there is no room, or no permission; the message tells the bytes needed and free.
    """
    extents = checked_shape(shape)
    element = checked_dtype(dtype)
    if size is not None:
        check_size(size, extents, element)
    if gpu_device is not None:
        refuse_gpu_stream(name, gpu_device, element)
    if on_abort not in ("keep", "invalidate"):
        raise ValueError(f"on_abort must be 'keep' or 'invalidate', got {on_abort!r}")
    native = _native.create(
        checked_name(name),
        {
            "shape": extents,
            "dtype": element.name,
            "slots": DEFAULT_SLOTS if slots is None else checked_unsigned(slots, "slots"),
            "mode": checked_unsigned(mode, "mode"),
            "group": checked_group(group),
            "strict": on_abort == "invalidate",
            "notify": bool(notify),
            # Who names the number of slots wants their history.
            "reuse_slots": None if slots is None else False,
            "progressive": bool(progressive),
            "replace": bool(replace),
        },
    )
    _log.debug("created stream %r, shape %s, dtype %s", name, extents, element.name)
    return SharedMemory(native, auto_unlink=auto_unlink)


def open(
    name: str,
    *,
    gpu_device: object = None,
    readonly: bool = False,
    wait: float | None = None,
) -> SharedMemory:
    """Attach to the stream `name`; shape and dtype are those it was created with.

    Args:
        name: the stream's name.
        gpu_device: without effect: the stream is on the CPU.
        readonly: the handle can neither write nor lock nor unlink.
        wait: seconds to wait until somebody creates the stream; `math.inf` waits for ever, None not
            at all.

    Raises:
        FileNotFoundError: there is no such stream.
        TimeoutError: nobody created it within `wait` seconds.
        ValueError: the name is not possible, or its file has no supported metadata block.
        PermissionError: this user may not read it.
    """
    return SharedMemory(_native.open(checked_name(name), readonly, wait))


async def open_async(
    name: str, *, gpu_device: object = None, readonly: bool = False, wait: float | None = None
) -> SharedMemory:
    """As `open`, in asyncio: the event loop goes on while nobody has created the stream.

    Raises:
        As `open`.
    """
    if wait is None:
        return open(name, readonly=readonly)
    pending = _native.PendingOpen(checked_name(name), readonly)
    timed_out = f"stream {name!r} was not created within {wait} s"
    return SharedMemory(await awaited(pending, None if math.isinf(wait) else wait, timed_out))


@contextmanager
def stream(
    name: str,
    *,
    shape: Iterable[int],
    dtype: DTypeLike = np.float32,
    size: int | None = None,
    gpu_device: object = None,
    cpu_mirror: bool | None = None,
    **options: Any,
) -> Iterator[SharedMemory]:
    """Create the stream `name` for the length of a `with` block; arguments as for `create`.

    Raises (on leaving the block):
        StaleStreamError: the name leads to a newer stream by then, which is left alone.
    """
    handle = create(
        name,
        shape=shape,
        dtype=dtype,
        size=size,
        gpu_device=gpu_device,
        cpu_mirror=cpu_mirror,
        **options,
    )
    try:
        yield handle
    finally:
        handle.unlink()


def stat(name: str) -> dict[str, Any]:
    """Facts about the stream `name`, without its payload.

    Returns:
        `name`, `shape` (list), `dtype` (str), `size` (bytes of a frame), `gpu_enabled`,
        `gpu_device`, `cpu_mirror`, `notify`, `instance_id` (32 hexadecimal digits), `creator_pid`,
        `creator_alive`, `count`, `write_sequence`, `write_time` (seconds since 1970).

    Raises:
        As `open`.
    """
    return _native.stat(checked_name(name))


def unlink(name: str) -> None:
    """Remove the stream `name`; no error if there is none. Handles and arrays stay usable.

    Also removes a file of that name that is no stream, so that no name is ever stuck.

    Raises:
        ValueError: the name is not possible.
        RuntimeError: the stream belongs to a running pipeline; the message names its process.
        TimeoutError: a process keeps the stream's file locked; the message names it.
        OSError: this user may not remove it.
    """
    if _native.unlink(checked_name(name)):
        _log.debug("unlinked stream %r", name)


def unlink_quiet(name: str) -> None:
    """The same as `unlink`."""
    unlink(name)


def list_streams() -> list[str]:
    """Names of all streams this user can read, sorted."""
    return _native.list_streams()


def purge(
    *, include_cuda_orphans: bool = False, prefix: str = "", dry_run: bool = False
) -> list[str]:
    """Remove all streams, and whatever processes that died have left of others.

    Streams of pipelines that are running are kept.

    Args:
        include_cuda_orphans: also remove the files in which CUDA shares memory between processes
            (`/dev/shm/cuda.shm.*`) of this user's processes that have ended.
        prefix: only streams whose names begin with it.
        dry_run: remove nothing, only tell.

    Returns:
        The names of the removed streams, sorted.

    Raises:
        OSError: some could not be removed; the message tells which and why. All others are gone.
    """
    removed, failures = _native.purge(prefix, dry_run)
    if removed and not dry_run:
        _log.info("purged streams: %s", ", ".join(map(repr, removed)))
    if include_cuda_orphans and not dry_run:
        failures += _remove_cuda_orphans()
    if failures:
        raise OSError("; ".join(failures))
    return removed


# User and process in hexadecimal digits, and a number.
_CUDA_FILE: Final = re.compile(r"cuda\.shm\.([0-9a-f]+)\.([0-9a-f]+)\.[0-9a-f]+")


def _remove_cuda_orphans(folder: Path = Path("/dev/shm")) -> list[str]:
    """Remove files of CUDA whose processes have ended; what prevented it for others."""
    failures = []
    for path in folder.glob("cuda.shm.*"):
        parts = _CUDA_FILE.fullmatch(path.name)
        if parts is None or int(parts[1], 16) != os.geteuid() or _is_running(int(parts[2], 16)):
            continue
        try:
            path.unlink(missing_ok=True)
        except OSError as problem:
            failures.append(f"cannot remove {path}: {problem.strerror}")
    return failures


def _is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
