"""What the measured Python programs have in common: requests, samples, shared-memory streams.

A program reads requests from standard input, one per line, and answers each with one line, either
`ok name=value ...` or `error: ...`. `cargo xtask bench` asks; so can anybody at a terminal.
"""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

Answer = Mapping[str, float]
Handler = Callable[..., Answer]


def serve(handlers: Mapping[str, Handler]) -> None:
    """Answer requests until standard input ends."""
    for line in sys.stdin:
        try:
            name, *arguments = line.split()
            answer = handlers[name](*arguments)
            reply = " ".join(["ok", *(f"{key}={value}" for key, value in answer.items())])
        except Exception as problem:  # told to whoever asked, and the next request may succeed
            text = f"{type(problem).__name__}: {problem}".replace("\n", "; ")
            reply = f"error: {text}"
        print(reply, flush=True)


class Party:
    """Another process of the same program, asked in the same way."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, sys.argv[0], *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self, request: str) -> None:
        """Send a request; the answer is for `end`."""
        assert self._process.stdin is not None
        print(request, file=self._process.stdin, flush=True)

    def end(self) -> dict[str, float]:
        """Wait for the answer."""
        assert self._process.stdout is not None
        reply = self._process.stdout.readline().strip()
        verdict, *pairs = reply.split() or ["ended"]
        if verdict != "ok":
            raise RuntimeError(f"the partner: {reply or verdict}")
        return {name: float(value) for name, _, value in (pair.partition("=") for pair in pairs)}

    def ask(self, request: str) -> dict[str, float]:
        """Send a request and wait for its answer."""
        self.begin(request)
        return self.end()

    def close(self) -> None:
        """Let the process end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def times_ns(work: Callable[[], object], count: int, batch: int = 1) -> NDArray[np.float64]:
    """Durations of `count` calls, in batches too long for the clock to matter; a tenth warms up."""
    for _ in range(max(count // 10, batch)):
        work()
    samples = []
    for _ in range(max(count // batch, 1)):
        began = perf_counter_ns()
        for _ in range(batch):
            work()
        samples.append((perf_counter_ns() - began) / batch)
    return np.array(samples)


def calls_of(count: int, batch: int = 1) -> int:
    """Calls that `times_ns` makes in all."""
    return max(count // 10, batch) + max(count // batch, 1) * batch


def in_us(samples: NDArray[np.float64]) -> dict[str, float]:
    """Median and 99th percentile of durations in ns, in us."""
    p50, p99 = np.quantile(samples, [0.5, 0.99]) / 1000
    return {"p50_us": round(float(p50), 3), "p99_us": round(float(p99), 3)}


def load(library: str) -> Any:
    """A library that is measured."""
    return importlib.import_module(library)


def create_stream(library: Any, name: str, shape: tuple[int, ...], notify: bool = True) -> Any:
    """A stream of float32; `notify`: one that wakes its readers, where that has to be asked for."""
    options = {}
    if "notify" in inspect.signature(library.create).parameters:
        options["notify"] = notify
    return library.create(name, shape=shape, dtype=np.float32, **options)


def pin(index: int) -> None:
    """Run on one CPU only: the one of this index among those allowed."""
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpus[index % len(cpus)]})
