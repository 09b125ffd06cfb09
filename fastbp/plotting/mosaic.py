"""Many small images in one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

_GAP = 0.12  # between images, as a share of an image's side
_TITLE = 0.28  # height of a title, as a share of an image's height


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
    n_images = len(images)
    n_columns = max(1, math.ceil(math.sqrt(1.4 * n_images)))  # a little wider than high, as figures are
    height, width = images.shape[1:]
    step_x, step_y = width * (1 + _GAP), height * (1 + _GAP + (_TITLE if titles else 0.0))
    drawn = []
    for number, image in enumerate(images):
        row, column = divmod(number, n_columns)
        left, top = column * step_x, row * step_y
        extent = (left, left + width, top + height, top)
        drawn.append(ax.imshow(image, cmap=cmap, vmin=limits[0], vmax=limits[1], extent=extent))
        if titles:
            ax.text(left + width / 2, top - 0.04 * height, titles[number], ha="center", va="bottom", fontsize=9)
    n_rows = math.ceil(n_images / n_columns)
    ax.set_xlim(-_GAP * width, max(1, n_columns) * step_x)
    ax.set_ylim(max(1, n_rows) * step_y, -(_GAP + (_TITLE if titles else 0.0)) * height)
    ax.set_axis_off()
    return drawn
