"""The tray: a photograph of coins, the views a camera has of it, and where the coins are.

The photograph is `skimage.data.coins()`, Greek coins from Pompeii, which scikit-image brings along.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import data, measure

HALF_VIEW = 40
"""Pixels of a view on each side of its middle."""
APERTURE_RADIUS = 29.0
THRESHOLD = 25.0
THRESHOLD_WIDTH = 20.0

# Where somebody who put the coins down would say they are: (row, column), to ten pixels.
NOMINAL_POSITIONS = (
    *((50, 50), (50, 100), (50, 150), (50, 220), (50, 280), (40, 340)),
    *((120, 50), (130, 100), (130, 150), (120, 210), (120, 270), (120, 340)),
    *((200, 40), (200, 100), (200, 150), (190, 210), (190, 270), (190, 350)),
    *((260, 50), (270, 110), (260, 170), (260, 240), (260, 300), (270, 360)),
)

Array = NDArray[np.floating[Any]]
Position = tuple[int, int]


def photograph() -> NDArray[np.uint8]:
    """The whole tray, 303 x 384 grey levels."""
    image: NDArray[np.uint8] = data.coins()
    return image


class Tray:
    """What a camera above the photograph sees.

    The empty tray is what is left of the photograph when everything smaller than 65 pixels and
    brighter than its surroundings is taken away.
    """

    def __init__(self) -> None:
        image = photograph().astype(np.float32)
        darkest = ndimage.grey_opening(
            ndimage.gaussian_filter(image, 2.0), size=(65, 65), mode="nearest"
        )
        self.image: Array = image
        self.background: Array = ndimage.gaussian_filter(darkest, 16.0, mode="nearest")
        # A camera above the rim sees the rim go on.
        self._wide_image = np.pad(self.image, HALF_VIEW, mode="edge")
        self._wide_background = np.pad(self.background, HALF_VIEW, mode="edge")

    def view(self, position: Position) -> tuple[Array, Array]:
        """What the camera sees at a position (row, column), and the empty tray there."""
        window = tuple(slice(middle, middle + 2 * HALF_VIEW + 1) for middle in position)
        return (
            np.ascontiguousarray(self._wide_image[window]),
            np.ascontiguousarray(self._wide_background[window]),
        )

    def blobs(self) -> list[tuple[float, float]]:
        """Where scikit-image finds coins in the whole photograph: threshold, fill, label."""
        above = self.image - self.background > THRESHOLD + THRESHOLD_WIDTH
        closed = ndimage.binary_closing(above, iterations=2)
        filled = ndimage.binary_opening(ndimage.binary_fill_holes(closed), iterations=2)
        regions = measure.regionprops(measure.label(filled))
        return [tuple(region.centroid) for region in regions if region.area > 500]


def aperture() -> Array:
    """1 in a circle around the middle of a view, 0 outside."""
    pixel = np.arange(-HALF_VIEW, HALF_VIEW + 1)
    distance = np.hypot(pixel[:, np.newaxis], pixel)
    return (distance <= APERTURE_RADIUS).astype(np.float32)


def reference(view: Array, background: Array, position: Position) -> dict[str, Array]:
    """What every stream of the pipeline has to hold, in double precision."""
    subtracted = view.astype(np.float64) - background.astype(np.float64)
    weights = np.clip((subtracted - THRESHOLD) / THRESHOLD_WIDTH, 0.0, 1.0) * aperture()
    pixel = np.arange(-HALF_VIEW, HALF_VIEW + 1)
    area = weights.sum()
    offset = np.array([weights.sum(axis=1) @ pixel, weights.sum(axis=0) @ pixel]) / area
    return {
        "subtracted": subtracted,
        "weights": weights,
        "offset": offset,
        "coin_position": offset + position,
        "coin_area": area.reshape(1),
    }
