"""Places for the numbers on a network's arrows, where none covers another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_CANDIDATES = 41  # places along an arrow that are tried
_SWEEPS = 6  # over all arrows; each improves on the last, and more change nothing on networks that a page has room for
_PARTS = 5  # points that stand for a number, along its arrow
_OTHER_ARROW = 0.4  # what it costs to stand upon another arrow, when covering another number costs 1
_OFF_CENTRE = 0.15  # and to stand at one end of the arrow


def number_places(
    starts: NDArray[np.float64],
    ends: NDArray[np.float64],
    widths: NDArray[np.float64],
    height: float,
    margin: float,
) -> NDArray[np.float64]:
    """Return how far along each arrow its number stands, from 0 to 1.

    One after the other the numbers take the place that costs least beside all others, again and again.

    Parameters
    ----------
    starts, ends : ndarray, shape (n_arrows, 2)
        Where the arrows begin and end.
    widths : ndarray, shape (n_arrows,)
        How long the numbers are, written along their arrows.
    height : float
        How high they are.
    margin : float
        What must stay free at both ends of an arrow.

    Returns
    -------
    ndarray, shape (n_arrows,)
        The places.

    Examples
    --------
    Two arrows cross in their middles, where neither number can stand.

    >>> cross = np.array([[0.0, 0.0], [0.0, 1.0]]), np.array([[2.0, 1.0], [2.0, 0.0]])
    >>> places = number_places(*cross, np.array([0.4, 0.4]), 0.15, 0.3)
    >>> (abs(places - 0.5) > 0.1).all()
    np.True_
    """
    lengths = np.linalg.norm(ends - starts, axis=1)
    least = np.minimum((margin + widths / 2) / lengths, 0.5)
    along = least[:, None] + (1 - 2 * least[:, None]) * np.linspace(0, 1, _CANDIDATES)
    offsets = np.linspace(-0.5, 0.5, _PARTS) * (1 - height / np.maximum(widths, height))[:, None]
    parts = along[:, :, None] + (offsets * (widths / lengths)[:, None])[:, None, :]
    points = starts[:, None, None] + parts[..., None] * (ends - starts)[:, None, None]  # (arrow, place, part, 2)
    fixed = _costs_alone(points, starts, ends, along, height)
    chosen = fixed.argmin(axis=1)
    everyone = np.arange(len(starts))
    for _ in range(_SWEEPS):
        for arrow in everyone:
            others = points[everyone != arrow, chosen[everyone != arrow]].reshape(-1, 2)
            apart = np.linalg.norm(points[arrow][:, :, None] - others, axis=-1)
            covered = np.maximum(0, 1 - apart / height).sum(axis=(1, 2))
            chosen[arrow] = (fixed[arrow] + covered).argmin()
    places: NDArray[np.float64] = along[everyone, chosen]
    return places


def _costs_alone(
    points: NDArray[np.float64],
    starts: NDArray[np.float64],
    ends: NDArray[np.float64],
    along: NDArray[np.float64],
    height: float,
) -> NDArray[np.float64]:
    """Return what each place on each arrow costs, whatever the other numbers do."""
    costs = _OFF_CENTRE * np.abs(2 * along - 1)
    steps = ends - starts
    squares = (steps**2).sum(axis=1)
    for arrow in range(len(starts)):
        others = np.arange(len(starts)) != arrow
        relative = points[arrow][:, :, None] - starts[others]
        share = np.clip((relative * steps[others]).sum(axis=-1) / squares[others], 0, 1)
        apart = np.linalg.norm(relative - share[..., None] * steps[others], axis=-1)
        costs[arrow] += _OTHER_ARROW * np.maximum(0, 1 - apart / height).max(axis=1).sum(axis=-1)
    return costs
