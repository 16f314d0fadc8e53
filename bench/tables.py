"""The tables of pyshmem's page, by either library: `python bench/tables.py LIBRARY`.

All in one process, with square float32 frames. Requests:

    round_trip SIDE COUNT [out]            a frame written, then read; `out`: into the same array
    product SIDE COUNT in_place|copied     a vector written and read, the matrix of a stream times
                                           it, the product written. `in_place`: the matrix lies in
                                           the stream; `copied`: it is read into an array each time
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from party import Answer, create_stream, in_us, load, pin, serve, times_ns


class Tables:
    """Streams of one process, made on first use."""

    def __init__(self, library: str) -> None:
        self._module = load(library)
        self._prefix = f"bench-tables-{os.getpid()}"
        self._streams: dict[tuple[int, ...], Any] = {}
        pin(0)

    def _stream(self, *shape: int) -> Any:
        if shape not in self._streams:
            name = "-".join([self._prefix, *map(str, shape)])
            self._streams[shape] = create_stream(self._module, name, shape)
        return self._streams[shape]

    def round_trip(self, side: str, count: str, use: str = "new") -> Answer:
        """Write and read."""
        n = int(side)
        stream = self._stream(n, n)
        frame = np.ones((n, n), np.float32)
        out = np.empty_like(frame) if use == "out" else None

        def exchange() -> None:
            stream.write(frame)
            stream.read(out=out)

        samples = times_ns(exchange, int(count))
        # Two copies: bytes written and bytes read, as the page counts them.
        gb_per_s = 2 * frame.nbytes / float(np.median(samples))
        return {**in_us(samples), "gb_per_s": round(gb_per_s, 3)}

    def product(self, side: str, count: str, use: str) -> Answer:
        """Multiply a matrix that lies in a stream."""
        n = int(side)
        matrix, vector, result = self._stream(n, n), self._stream(n), self._stream(1, n)
        matrix.write(np.full((n, n), 1 / n, np.float32))
        sent = np.linspace(-1, 1, n, dtype=np.float32)
        received, product = np.empty_like(sent), np.empty((1, n), np.float32)
        copy = np.empty((n, n), np.float32) if use == "copied" else None

        def step() -> None:
            vector.write(sent)
            vector.read(out=received)
            if copy is None:
                with in_place(matrix) as array:
                    np.dot(array, received, out=product[0])
            else:
                np.dot(matrix.read(out=copy), received, out=product[0])
            result.write(product)

        samples = times_ns(step, int(count))
        gflop_per_s = 2 * n * n / float(np.median(samples))
        return {**in_us(samples), "gflop_per_s": round(gflop_per_s, 3)}

    def close(self) -> None:
        """Leave nothing behind."""
        for stream in self._streams.values():
            stream.unlink()


@contextmanager
def in_place(stream: Any) -> Iterator[NDArray[Any]]:
    """The newest frame where it lies: borrowed, or live under the lock where one cannot borrow."""
    if hasattr(stream, "borrow"):
        with stream.borrow() as frame:
            yield frame.array
    else:
        with stream.locked():
            yield stream.read(safe=False)


if __name__ == "__main__":
    tables = Tables(sys.argv[1])
    try:
        serve({"round_trip": tables.round_trip, "product": tables.product})
    finally:
        tables.close()
