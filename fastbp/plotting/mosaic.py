"""Many small images in one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_GAP = 0.12  # between images, as a share of an image's side
_POINTS = 9.0  # size of titles
_LINE = 1.25  # distance of their lines, in sizes
_LETTER = 0.58  # width of a letter on average, in sizes
_SHORT = 10  # letters; images whose titles are longer stand as far apart as the titles need


class Grid:
    """Where many images of one height and width, with a title above each or none, stand beside each other.

    Parameters
    ----------
    n_images : int
        How many there are.
    height, width : int
        Of each, in pixels, which are the units of everything here.
    titles : sequence of str
        Of one line or several.
    """

    def __init__(self, n_images: int, height: int, width: int, titles: Sequence[str]) -> None:
        self._n_lines = max((1 + title.count("\n") for title in titles), default=0)
        longest = max((len(line) for title in titles for line in title.split("\n")), default=0)
        self._line = (0.28 if longest <= _SHORT else 0.18) * height  # of an image's height, for each line
        self.above = self._line * self._n_lines
        needed = (longest + 2) * _LETTER * self._line / _LINE if longest > _SHORT else 0.0
        self.step_x, self.step_y = max(width * (1 + _GAP), needed), height * (1 + _GAP) + self.above
        ratio = 1.4 * (1.0 if longest <= _SHORT else self.step_y / self.step_x)  # a little wider than high, as figures
        self.n_columns = max(1, math.ceil(math.sqrt(ratio * n_images)))
        self.n_rows = max(1, math.ceil(n_images / self.n_columns))
        beside = (self.step_x - width * (1 + _GAP)) / 2  # of a title that is wider than its image
        self.x = (-_GAP * width - beside, self.n_columns * self.step_x - beside)
        self.y = (self.n_rows * self.step_y, -_GAP * height - self.above)

    def figure_size(self) -> tuple[float, float]:
        """Return inches of a figure in which the titles have their size."""
        unit = _POINTS * _LINE / 72 / self._line  # inches
        wide, high = (self.x[1] - self.x[0]) * unit + 0.2, (self.y[0] - self.y[1]) * unit + 0.5
        return max(6.0, wide), max(4.0, high)

    def title_size(self, ax: Any) -> float:
        """Return the size in points that a title has room for in these axes, whose limits are set."""
        box = ax.get_window_extent()
        unit = min(box.width / (self.x[1] - self.x[0]), box.height / (self.y[0] - self.y[1])) * 72 / ax.figure.dpi
        return float(np.clip(unit * self._line / _LINE, 4.0, _POINTS))


def as_images(rows: NDArray[Any], shape: tuple[int, int] | None) -> NDArray[Any]:
    """Return rows of pixels as images (n, height, width)."""
    n_pixels = rows.shape[1]
    side = math.isqrt(n_pixels)
    height, width = (side, side) if shape is None else shape
    if height * width != n_pixels:
        what = "square" if shape is None else f"{shape}"
        raise ValueError(f"`shape` must be (height, width) with {n_pixels} pixels in all; {what} does not fit.")
    return rows.reshape(-1, height, width)


def draw_images(
    ax: Any, images: NDArray[Any], cmap: str, limits: tuple[float, float], titles: Sequence[str] = ()
) -> list[Any]:
    """Draw images in rows into one pair of axes, and return them."""
    height, width = images.shape[1:]
    grid = Grid(len(images), height, width, titles)
    size = grid.title_size(ax) if titles else _POINTS
    drawn = []
    for number, image in enumerate(images):
        row, column = divmod(number, grid.n_columns)
        left, top = column * grid.step_x, row * grid.step_y
        extent = (left, left + width, top + height, top)
        drawn.append(ax.imshow(image, cmap=cmap, vmin=limits[0], vmax=limits[1], extent=extent))
        if titles:
            ax.text(left + width / 2, top - 0.04 * height, titles[number], ha="center", va="bottom", fontsize=size)
    ax.set_xlim(grid.x)
    ax.set_ylim(grid.y)
    ax.set_axis_off()
    return drawn
