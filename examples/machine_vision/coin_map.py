"""The sink of this example: a map of the tray with every coin that was found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from thalweg import Sink
from tray import photograph

SCALE = 3
"""Pixels of the map for one of the photograph."""
CROSS_COLOUR = (255, 40, 40)


class CoinMap(Sink):
    """Draws where the camera found coins, and answers each position in its output `marked`.

    A position (row, column) comes with the number of its coin as frame id. The last position of a
    coin is the best. The map is written when the pipeline stops, into the file of the parameter
    `picture`.
    """

    kind = "example.coin_map"

    def open(self) -> None:
        """Begin an empty map."""
        self.positions: dict[int, tuple[float, float]] = {}

    def consume_publication(self, publication: Any, writers: Mapping[str, Any]) -> None:
        """Note one position."""
        row, column = map(float, publication.payload)
        self.positions[publication.frame_id] = (row, column)
        writers["marked"].write(publication.payload, frame_id=publication.frame_id)

    def close(self) -> None:
        """Write the map."""
        parameters = self.context.config.parameters
        picture = Path(self.context.config_base_dir or ".") / parameters["picture"]
        image = Image.fromarray(photograph()).convert("RGB")
        image = image.resize((image.width * SCALE, image.height * SCALE), Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(image)
        for number, position in self.positions.items():
            x, y = on_map(position)
            draw.line([(x - 12, y), (x + 12, y)], fill=CROSS_COLOUR, width=3)
            draw.line([(x, y - 12), (x, y + 12)], fill=CROSS_COLOUR, width=3)
            draw.text((x + 8, y + 6), str(number), fill=CROSS_COLOUR, font_size=20)
        image.save(picture)

    def plugin_metrics(self) -> dict[str, Any]:
        """Shown in the status of the pipeline."""
        return {"coins": len(self.positions)}


def on_map(position: tuple[float, float]) -> tuple[int, int]:
    """Where the middle of a pixel (row, column) of the photograph is on the map, as (x, y)."""
    row, column = position
    return round((column + 0.5) * SCALE), round((row + 0.5) * SCALE)
