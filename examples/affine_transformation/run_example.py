"""Send random vectors through `y = A x + b` in lock-step and check each against NumPy.

    python examples/affine_transformation/run_example.py [--vectors 5000] [--seed 1]

Exit status 0 when all results agree, 1 when one deviates.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from thalweg import PipelineConfig, PipelineManager

TOLERANCE = 1e-5

Array = NDArray[np.floating]


def transformed(matrix: Array, offset: Array, vector: Array) -> Array:
    """The reference, in double precision."""
    return matrix.astype(np.float64) @ vector.astype(np.float64) + offset.astype(np.float64)


def run(vectors: int, seed: int) -> int:
    """Send `vectors` vectors; the exit status."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(2, 3)).astype(np.float32)
    offset = rng.normal(size=2).astype(np.float32)
    questions = rng.normal(size=(vectors, 3)).astype(np.float32)
    answers = np.empty((vectors, 2), np.float32)

    config = PipelineConfig.from_yaml(Path(__file__).with_name("pipeline.yaml"))
    with PipelineManager(config) as manager:
        manager.build()
        # Before the start, so that the first vector finds them in place.
        manager.get_stream("transform_matrix").write(matrix)
        manager.get_stream("offset_vector").write(offset)
        manager.start()
        input_vector = manager.get_stream("input_vector")
        output_vector = manager.get_stream("output_vector")
        began = time.perf_counter()
        for question, answer in zip(questions, answers, strict=True):
            input_vector.write(question)
            output_vector.read_new(timeout=30.0, out=answer)
        elapsed_s = time.perf_counter() - began
        manager.stop()

    largest = 0.0
    for number, (question, answer) in enumerate(zip(questions, answers, strict=True), start=1):
        expected = transformed(matrix, offset, question)
        if not np.allclose(answer, expected, rtol=TOLERANCE, atol=TOLERANCE):
            print(
                f"vector {number}, {question.tolist()}: found {answer.tolist()}, "
                f"NumPy says {expected.tolist()} (tolerance {TOLERANCE})",
                file=sys.stderr,
            )
            return 1
        largest = max(largest, float(np.abs(answer - expected).max()))
    print(f"{vectors} vectors, every result agrees with NumPy (largest deviation {largest:.1e})")
    print(f"{vectors / elapsed_s:.0f} vectors/s, one at a time")
    return 0


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text}")
    return number


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description="Check y = A x + b against NumPy.")
    parser.add_argument("--vectors", type=positive, default=5000, help="vectors to send (5000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of all arrays (1)")
    arguments = parser.parse_args()
    return run(arguments.vectors, arguments.seed)


if __name__ == "__main__":
    raise SystemExit(main())
