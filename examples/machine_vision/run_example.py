"""Find 24 coins on a tray, check every stage against NumPy, and draw a map.

    python examples/machine_vision/run_example.py [--coins 24] [--picture coins.png]

Needs scikit-image, which brings the photograph and Pillow. Exit status 0 when all stages agree with
NumPy and every coin is where scikit-image finds one, 1 otherwise.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from coin_map import CoinMap
from thalweg import PipelineConfig, PipelineManager, get_default_registry
from tray import NOMINAL_POSITIONS, Array, Position, Tray, aperture, reference

WATCHDOG_S = 30.0
# Looks at one coin at most. Each view is centred on what the one before it found.
LOOKS = 12
# In grey levels, pixels, and, for the area, square pixels out of some 2000.
TOLERANCES = {
    "subtracted": 1e-4,
    "weights": 1e-5,
    "offset": 1e-4,
    "coin_position": 1e-4,
    "coin_area": 1e-2,
}
# From the middle of the light to the middle of the outline, in pixels. One coin is wider than the
# circle it is looked at through, and has a relief that is brighter on one side.
LARGEST_DISTANCE = 4.0


class Gantry:
    """Moves the camera, and has the pipeline look."""

    def __init__(self, manager: PipelineManager, tray: Tray) -> None:
        self._tray = tray
        names = ("view", "background", "camera_position", "marked", *TOLERANCES)
        self._streams = {name: manager.get_stream(name) for name in names}
        self.looks = 0

    def look(self, number: int, position: Position) -> dict[str, Array]:
        """What the streams hold after one look from a position (row, column).

        Raises:
            TimeoutError: a stage or the sink does not answer.
            ArithmeticError: a stream deviates from NumPy.
        """
        view, background = self._tray.view(position)
        # What the stages read beside their input comes first.
        self._streams["background"].write(background)
        self._streams["camera_position"].write(position)
        self._streams["view"].write(view, frame_id=number)
        # Two ends: the sink, and the stage that measures the area.
        self._streams["marked"].read_new(timeout=WATCHDOG_S)
        area = self._streams["coin_area"].read_new(timeout=WATCHDOG_S)
        self.looks += 1
        found = {name: self._streams[name].read() for name in TOLERANCES if name != "coin_area"}
        found["coin_area"] = area
        for name, expected in reference(view, background, position).items():
            if not np.allclose(found[name], expected, rtol=1e-5, atol=TOLERANCES[name]):
                deviation = float(np.abs(found[name] - expected).max())
                raise ArithmeticError(
                    f"coin {number} from {position}, stream {name!r}: off by {deviation:.2g} from "
                    f"NumPy (tolerance {TOLERANCES[name]})"
                )
        return found

    def find(self, number: int, nominal: Position) -> tuple[Array, float]:
        """Position (row, column) and area of a coin that should be near `nominal`."""
        position = nominal
        for _ in range(LOOKS):
            found = self.look(number, position)
            row, column = (round(float(way)) for way in found["offset"])
            if row == column == 0:
                break
            position = (position[0] + row, position[1] + column)
        return found["coin_position"], float(found["coin_area"][0])


def run(coins: int, picture: Path) -> int:
    """Find the first `coins` coins; the exit status."""
    config = PipelineConfig.from_yaml(Path(__file__).with_name("pipeline.yaml"))
    [sink] = config.sinks
    sink = dataclasses.replace(sink, parameters={"picture": str(picture.absolute())})
    config = dataclasses.replace(config, sinks=(sink,))
    registry = get_default_registry().extended(sinks=(CoinMap,))
    tray = Tray()
    blobs = np.array(tray.blobs())
    try:
        with PipelineManager(config, registry=registry) as manager:
            manager.build()
            manager.get_stream("aperture").write(aperture())
            manager.start()
            gantry = Gantry(manager, tray)
            found = [
                gantry.find(number, nominal)
                for number, nominal in enumerate(NOMINAL_POSITIONS[:coins], start=1)
            ]
            manager.stop()  # Closes the sink, which writes the map.
    except ArithmeticError as deviation:
        print(deviation, file=sys.stderr)
        return 1
    distances = print_coins(found, blobs)
    print(f"{len(found)} coins in {gantry.looks} looks, every stage agrees with NumPy")
    print(
        f"distance to what scikit-image finds in the whole photograph: "
        f"median {np.median(distances):.2f}, largest {max(distances):.2f} pixels"
    )
    print(f"map: {picture}")
    if max(distances) > LARGEST_DISTANCE:
        print(f"a coin is off by more than {LARGEST_DISTANCE} pixels", file=sys.stderr)
        return 1
    return 0


def print_coins(found: Sequence[tuple[Array, float]], blobs: Array) -> list[float]:
    """A table of the coins; how far each is from the next blob."""
    distances = []
    print(f"{'coin':>4}{'row':>9}{'column':>9}{'area':>8}{'distance':>10}")
    for number, (position, area) in enumerate(found, start=1):
        distances.append(float(np.hypot(*(blobs - position).T).min()))
        row, column = position
        print(f"{number:>4}{row:>9.2f}{column:>9.2f}{area:>8.0f}{distances[-1]:>10.2f}")
    return distances


def count(text: str) -> int:
    """A number of coins, for argparse."""
    number = int(text)
    if not 1 <= number <= len(NOMINAL_POSITIONS):
        raise argparse.ArgumentTypeError(
            f"expected a number from 1 to {len(NOMINAL_POSITIONS)}, found {text}"
        )
    return number


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description="Find coins on a tray.")
    parser.add_argument("--coins", type=count, default=24, help="coins to look for (24)")
    parser.add_argument(
        "--picture", type=Path, default=Path("coins.png"), help="file of the map (coins.png)"
    )
    arguments = parser.parse_args()
    return run(arguments.coins, arguments.picture)


if __name__ == "__main__":
    raise SystemExit(main())
