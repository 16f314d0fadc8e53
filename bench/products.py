"""Matrix-vector products with NumPy's BLAS: `OPENBLAS_NUM_THREADS=1 python bench/products.py`.

Requests:

    open STREAM       take the matrix that is the newest frame of a thalweg stream
    shared COUNT      multiply it where it lies, in the stream
    own COUNT         multiply a copy of it in an array of NumPy's own
    close             let it go
"""

from __future__ import annotations

from typing import Any

import numpy as np
import thalweg
from numpy.typing import NDArray
from party import Answer, in_us, serve, times_ns


class Products:
    """One matrix and a vector to multiply it with."""

    def open(self, name: str) -> Answer:
        """Attach."""
        self._stream = thalweg.open(name)
        self._frame = self._stream.borrow()
        self._copy: NDArray[Any] | None = None
        rows, columns = self._frame.array.shape
        self._vector = np.linspace(-1, 1, columns, dtype=np.float32)
        self._product = np.empty(rows, np.float32)
        return {"rows": rows, "columns": columns}

    def shared(self, count: str) -> Answer:
        """Without a copy."""
        return self._multiply(self._frame.array, int(count))

    def own(self, count: str) -> Answer:
        """With one, in the pages NumPy asks the system for."""
        if self._copy is None:
            self._copy = self._frame.array.copy()
        return self._multiply(self._copy, int(count))

    def _multiply(self, matrix: NDArray[Any], count: int) -> Answer:
        samples = times_ns(lambda: np.dot(matrix, self._vector, out=self._product), count)
        gb_per_s = matrix.nbytes / float(np.median(samples))
        return {**in_us(samples), "gb_per_s": round(gb_per_s, 3)}

    def close(self) -> Answer:
        """Detach."""
        self._copy = None
        self._frame.release()
        self._stream.close()
        return {}


if __name__ == "__main__":
    products = Products()
    serve(
        {
            "open": products.open,
            "shared": products.shared,
            "own": products.own,
            "close": products.close,
        }
    )
