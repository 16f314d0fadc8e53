"""Run the basic loop in lock-step and check all five stages against NumPy.

    python examples/basic_ao_system/run_example.py [--frames 3000] [--seed 1]

Exit status 0 when all stages agree with the reference, 1 when one deviates.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from basic_ao import STAGES, Calibration, Reference, images, positive, tile_size_of
from thalweg import PipelineConfig, PipelineManager

TOLERANCE = 1e-5


def run(frames: int, seed: int) -> int:
    """Run `frames` frames; the exit status."""
    rng = np.random.default_rng(seed)
    config = PipelineConfig.from_yaml(Path(__file__).with_name("pipeline.yaml"))
    calibration = Calibration.synthetic(config, rng)
    reference = Reference(calibration, tile_size_of(config))
    largest = dict.fromkeys(STAGES, 0.0)

    with PipelineManager(config) as manager:
        manager.build()
        calibration.publish(manager)
        manager.start()
        camera = manager.get_stream("wavefront_image")
        streams = {stage: manager.get_stream(stage) for stage in STAGES}
        for number, image in enumerate(images(config, frames, rng), start=1):
            camera.write(image)
            # The last stage has answered, so every stream holds this frame.
            found = {"commands": streams["commands"].read_new(timeout=30.0)}
            found |= {stage: streams[stage].read() for stage in STAGES if stage != "commands"}
            for stage, expected in reference.stages(image).items():
                if not np.allclose(found[stage], expected, rtol=TOLERANCE, atol=TOLERANCE):
                    print(
                        f"frame {number}, stream {stage!r}: found\n{found[stage]}\n"
                        f"NumPy says\n{expected} (tolerance {TOLERANCE})",
                        file=sys.stderr,
                    )
                    return 1
                deviation = float(np.abs(found[stage] - expected).max())
                largest[stage] = max(largest[stage], deviation)
        manager.stop()

    print(f"{frames} frames, every stage agrees with NumPy")
    print(f"{'stage':<20}{'largest deviation':>20}{'tolerance':>12}")
    for stage in STAGES:
        print(f"{stage:<20}{largest[stage]:>20.2e}{TOLERANCE:>12.0e}")
    return 0


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description="Check the basic loop against NumPy.")
    parser.add_argument("--frames", type=positive, default=3000, help="frames to run (3000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of all arrays (1)")
    arguments = parser.parse_args()
    return run(arguments.frames, arguments.seed)


if __name__ == "__main__":
    raise SystemExit(main())
